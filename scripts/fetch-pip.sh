#!/usr/bin/env bash
# Fetches Python packages that a test uses into target/NAME (ignored by git), by version, once:
#   fetch-pip.sh NAME [--no-deps] PACKAGE==VERSION…
# Prints the folder, which is to be put on PYTHONPATH. With UP_TO=3.12 in the environment nothing is fetched for a newer Python, of which
# there are no wheels; it says so.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=target/$1
shift

if [ -n "${UP_TO:-}" ] && ! python3 -c "import sys; sys.exit(sys.version_info[:2] > tuple(map(int, '$UP_TO'.split('.'))))"; then
  echo "fetch: $(basename "$folder") is left out: there are packages for Python $UP_TO at most, and python3 is" \
    "$(python3 -c 'import platform; print(platform.python_version())'). Tests that need it say so; with an older python3 first" \
    "in PATH they run." >&2
  exit 0
fi

if [ "$(cat "$folder/.version" 2>/dev/null)" != "$*" ]; then
  mkdir -p target
  staged=$(mktemp -d "$PWD/target/.pip-XXXXXX")
  trap 'rm -rf "$staged"' EXIT
  echo "fetch: $*" >&2
  # A folder of their own: what else is installed need not fit them.
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
    --only-binary=:all: --target "$staged" "$@" 2> >(grep -v -e 'dependency resolver' -e 'which is incompatible' >&2)
  echo "$*" >"$staged/.version"
  rm -rf "$folder"
  mv "$staged" "$folder"
fi
echo "$PWD/$folder"
