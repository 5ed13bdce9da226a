#!/usr/bin/env bash
# Fetches TensorBoard into target/tensorboard (ignored by git), by version, once: a test lets its own reader read what we
# write. Prints the folder, which is to be put on PYTHONPATH.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.20.0
folder=target/tensorboard

if [ "$(cat "$folder/.version" 2>/dev/null)" != "$version" ]; then
  mkdir -p target
  staged=$(mktemp -d target/.tensorboard-XXXXXX)
  trap 'rm -rf "$staged"' EXIT
  echo "fetch: tensorboard $version" >&2
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
    --only-binary=:all: --target "$staged" "tensorboard==$version" >&2
  echo "$version" >"$staged/.version"
  rm -rf "$folder"
  mv "$staged" "$folder"
fi
echo "$PWD/$folder"
