#!/bin/sh
# Names the cluster to which kubectl talks; asks before anything is done to another than the one in $1.
set -eu

context=$(kubectl config current-context)
echo "The kube context is $context."
if [ "$context" = "$1" ] || [ "$context" = "${CONTEXT:-}" ]; then
  exit
fi
if [ ! -t 0 ]; then
  echo "It is not $1, and there is no terminal to ask at: confirm it with CONTEXT=$context." >&2
  exit 1
fi
printf 'Is this the cluster that you mean? [y/N] '
read -r answer
case $answer in
  [yY]*) ;;
  *) echo "Nothing was done." >&2; exit 1 ;;
esac
