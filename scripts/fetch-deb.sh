#!/usr/bin/env bash
# fetch-deb.sh FOLDER PACKAGE PATH [PACKAGE PATH ...]: takes single files out of Debian's packages into target/FOLDER (ignored by
# git), once. PATH may be a pattern, in quotes: names of libraries hold a version that differs between releases of Debian. The packages
# themselves are not installed: they would start servers. Says where the folder is.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=target/$1
shift
missing=()
while [ $# -gt 0 ]; do
  compgen -G "$folder/$(basename "$2")" >/dev/null || missing+=("$1" "$2")
  shift 2
done
if [ "${#missing[@]}" -gt 0 ]; then
  mkdir -p target
  staged=$(mktemp -d "$PWD/target/.deb-XXXXXX")
  trap 'rm -rf "$staged"' EXIT
  set -- "${missing[@]}"
  while [ $# -gt 0 ]; do
    echo "fetch: $(basename "$2") of $1" >&2
    # Without lists of packages, or with old ones, there is nothing to download; they are renewed then.
    if ! (cd "$staged" && apt-get -o APT::Sandbox::User=root download -qq "$1" 2>/dev/null); then
      as_root=()
      [ "$(id -u)" -eq 0 ] || as_root=(sudo)
      "${as_root[@]}" apt-get update -qq
      (cd "$staged" && apt-get -o APT::Sandbox::User=root download -qq "$1")
    fi
    # Where nothing fits the pattern, tar says so.
    dpkg-deb --fsys-tarfile "$staged/$1"_*.deb | tar -x -C "$staged" --wildcards ".$2"
    mkdir -p "$folder"
    while IFS= read -r file; do
      mv "$file" "$folder/"
    done < <(compgen -G "$staged$2")
    shift 2
  done
fi
echo "$PWD/$folder"
