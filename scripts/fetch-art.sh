#!/usr/bin/env bash
# Fetches the emoji art that scenes are drawn with into media/art/ (ignored by git): npm packages, by version and
# checksum, once. Only training and the evaluation of emoji scenes need it.
# Licences: noto, noto-v1 and fxemoji Apache-2.0; fluent-emoji-flat MIT; emojione and twemoji CC-BY-4.0.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p media/art

declare -A wanted=(
  [noto@1.2.9]=3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad
  [fluent-emoji-flat@1.2.6]=7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175
  [noto-v1@1.2.5]=2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37
  [fxemoji@1.2.2]=f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef
  [emojione@1.2.3]=26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e
  [twemoji@1.2.5]=19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7
)

missing=()
for package in "${!wanted[@]}"; do
  # The version stands in a file of its own: a newer pin fetches anew.
  [ "$(cat "media/art/${package%@*}/VERSION" 2>/dev/null)" = "${package#*@}" ] || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

if ! command -v npm >/dev/null; then
  echo "fetch-art: installing npm" >&2
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >&2
fi

staged=$(mktemp -d media/.fetch-XXXXXX)
trap 'rm -rf "$staged"' EXIT
for package in "${missing[@]}"; do
  name=${package%@*}
  echo "fetch-art: $package" >&2
  file=$(npm pack --silent --pack-destination "$staged" "@iconify-json/$package")
  found=$(sha256sum "$staged/$file" | cut -d' ' -f1)
  [ "$found" = "${wanted[$package]}" ] || {
    echo "fetch-art: $package has SHA-256 $found, expected ${wanted[$package]}" >&2
    exit 1
  }
  mkdir "$staged/$name"
  tar -xzf "$staged/$file" -C "$staged/$name" --strip-components=1 package/icons.json package/info.json
  echo "${package#*@}" >"$staged/$name/VERSION"
  rm -rf "media/art/$name"
  mv "$staged/$name" "media/art/$name"
done
