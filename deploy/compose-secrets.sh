#!/usr/bin/env bash
# Write deploy/.env with random throw-away passwords for compose.yaml, once: one that is there stays,
# as the databases made with it know no other. Git ignores the file.
set -euo pipefail
cd "$(dirname "$0")"

random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
umask 077
touch .env
said="deploy/.env is there already"
# Name by name: one of an earlier release gets those that are new.
for line in "POSTGRES_PASSWORD=$(random)" "REDIS_PASSWORD=$(random)" \
  "MINIO_USER=asgard-$(random | head -c 8)" "MINIO_PASSWORD=$(random)" \
  "SERVICE_KEY=$(random)" "SESSION_KEY=$(random)"; do
  if ! grep -q "^${line%%=*}=" .env; then
    echo "$line" >>.env
    said="wrote deploy/.env"
  fi
done
echo "$said"
