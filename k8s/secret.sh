#!/bin/sh
# Makes the Secret of the service: random passwords and the first token. One that is there stays.
set -eu

kubectl apply --filename "$(dirname "$0")/namespace.yaml"
if [ -n "$(kubectl --namespace products get secret products --ignore-not-found --output name)" ]; then
  if [ -z "$(kubectl --namespace products get secret products --output 'jsonpath={.data.OWNER_PASSWORD}')" ]; then
    echo "The secret products has no OWNER_PASSWORD: see docs/deploy.md, Roles of the database." >&2
    exit 1
  fi
  echo "The secret products is there and stays as it is."
  exit
fi

random() {
  od -An -N 32 -t x1 /dev/urandom | tr -d ' \n'
}

# By standard input: what is an argument can be seen by everybody on the machine.
password=$(random)
owner_password=$(random)
kubectl create --filename - <<END
apiVersion: v1
kind: Secret
metadata:
  name: products
  namespace: products
  labels:
    app.kubernetes.io/name: products
stringData:
  DATABASE_URI: postgresql+psycopg://products:$password@postgresql:5432/products
  OWNER_DATABASE_URI: postgresql+psycopg://products_owner:$owner_password@postgresql:5432/products
  OWNER_PASSWORD: $owner_password
  POSTGRES_PASSWORD: $(random)
  PRODUCTS_PASSWORD: $password
  tokens: |
    admin=$(random)
END
