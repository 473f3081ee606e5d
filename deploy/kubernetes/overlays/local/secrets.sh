#!/usr/bin/env bash
# Make the Secrets of the local overlay out of random passwords, once: those that are there stay.
set -euo pipefail

namespace=asgard
random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
has() { kubectl --namespace "$namespace" get secret "$1" >/dev/null 2>&1; }

kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
if has asgard-secrets && has asgard-engines; then
  # Those of an earlier release have no keys of services and sessions.
  known=$(kubectl --namespace "$namespace" get secret asgard-secrets --output 'jsonpath={.data.service-key}')
  if [ -z "$known" ]; then
    kubectl --namespace "$namespace" patch secret asgard-secrets --patch-file /dev/stdin <<END
stringData:
  service-key: $(random)
  session-key: $(random)
END
  fi
  echo "the Secrets are there"
  exit 0
fi
postgres=$(random) redis=$(random)
# From standard input, so that no password is in the list of processes.
kubectl --namespace "$namespace" apply -f - <<END
apiVersion: v1
kind: Secret
metadata:
  name: asgard-engines
stringData:
  postgres-password: $postgres
  redis-password: $redis
---
apiVersion: v1
kind: Secret
metadata:
  name: asgard-secrets
stringData:
  database-url: postgresql://asgard:$postgres@postgres:5432/asgard
  redis-url: redis://:$redis@redis:6379/0
  s3-access-key: asgard-$(random | head -c 8)
  s3-secret-key: $(random)
  service-key: $(random)
  session-key: $(random)
END
