#!/bin/sh
# Checks what must be there before k8s-ha is applied, and makes the Secrets of the roles of the
# database: random passwords. Secrets that are there stay.
set -eu
cd "$(dirname "$0")"

refuse() {
  echo "$1: see docs/deploy.md, High availability." >&2
  exit 1
}

has_secret() {
  [ -n "$(kubectl --namespace products get secret "$1" --ignore-not-found --output name)" ]
}

if grep -n 's3\.example\.com\|203\.0\.113\.' -- *.yaml; then
  refuse "The object store of the backups is not set"
fi
kubectl get customresourcedefinitions --output name \
  clusters.postgresql.cnpg.io objectstores.barmancloud.cnpg.io prometheusrules.monitoring.coreos.com \
  > /dev/null || refuse "An operator is missing"
../k8s/secret.sh
has_secret products-backups || refuse "The secret products-backups is missing"

# By standard input: what is an argument can be seen by everybody on the machine.
for role in products_owner products; do
  name=database-$(echo "$role" | tr _ -)
  has_secret "$name" || kubectl create --filename - <<END
apiVersion: v1
kind: Secret
metadata:
  name: $name
  namespace: products
  labels:
    app.kubernetes.io/name: products
    # The operator gives a new password to the role.
    cnpg.io/reload: "true"
type: kubernetes.io/basic-auth
stringData:
  username: $role
  password: $(od -An -N 32 -t x1 /dev/urandom | tr -d ' \n')
END
done
