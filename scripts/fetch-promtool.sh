#!/usr/bin/env bash
# Takes promtool out of Debian's package `prometheus` into target/promtool (ignored by git), once. The package itself is
# not installed: it would start a server.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=target/promtool
if [ ! -x "$folder/promtool" ]; then
  mkdir -p target
  staged=$(mktemp -d "$PWD/target/.promtool-XXXXXX")
  trap 'rm -rf "$staged"' EXIT
  echo "fetch: promtool" >&2
  # Without lists of packages, or with old ones, there is nothing to download; they are renewed then.
  if ! (cd "$staged" && apt-get download -qq prometheus 2>/dev/null); then
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    (cd "$staged" && apt-get download -qq prometheus)
  fi
  dpkg-deb --fsys-tarfile "$staged"/prometheus_*.deb | tar -x -C "$staged" ./usr/bin/promtool
  mkdir -p "$folder"
  mv "$staged/usr/bin/promtool" "$folder/promtool"
fi
echo "$PWD/$folder/promtool"
