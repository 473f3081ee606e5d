#!/usr/bin/env bash
# Write deploy/.env with random throw-away passwords for compose.yaml, once: one that is there stays,
# as the databases made with it know no other. Git ignores the file.
set -euo pipefail
cd "$(dirname "$0")"

if [ -e .env ]; then
  echo "deploy/.env is there already"
  exit 0
fi
random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
umask 077
cat >.env.new <<END
POSTGRES_PASSWORD=$(random)
REDIS_PASSWORD=$(random)
MINIO_USER=asgard-$(random | head -c 8)
MINIO_PASSWORD=$(random)
END
mv .env.new .env
echo "wrote deploy/.env"
