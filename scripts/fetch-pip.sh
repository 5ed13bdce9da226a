#!/usr/bin/env bash
# Fetches a Python package that a test uses into target/NAME (ignored by git), by version, once:
#   fetch-pip.sh NAME PACKAGE==VERSION
# Prints the folder, which is to be put on PYTHONPATH.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=target/$1
package=$2

if [ "$(cat "$folder/.version" 2>/dev/null)" != "$package" ]; then
  mkdir -p target
  staged=$(mktemp -d "target/.$1-XXXXXX")
  trap 'rm -rf "$staged"' EXIT
  echo "fetch: $package" >&2
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
    --only-binary=:all: --target "$staged" "$package" >&2
  echo "$package" >"$staged/.version"
  rm -rf "$folder"
  mv "$staged" "$folder"
fi
echo "$PWD/$folder"
