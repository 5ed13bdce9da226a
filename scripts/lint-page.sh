#!/usr/bin/env bash
# Checks the page's scripts with eslint, out of npm into target/eslint (ignored by git), where node and npm are there; says so where they
# are not. What eslint itself needs is as it was on one day.
set -euo pipefail
cd "$(dirname "$0")/.."

version=9.39.2
day=2026-11-01
folder=target/eslint

for program in node npm; do
  command -v "$program" >/dev/null || { echo "SKIPPED: the page's scripts are not checked: $program is not there"; exit 0; }
done
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 18 || (a === 18 && b >= 18) ? 0 : 1)' || {
  echo "SKIPPED: the page's scripts are not checked: node is $(node --version), eslint wants 18.18 or newer"
  exit 0
}
if [ "$(cat "$folder/.version" 2>/dev/null)" != "$version $day" ]; then
  mkdir -p target
  staged=$(mktemp -d "$PWD/target/.eslint-XXXXXX")
  trap 'rm -rf "$staged"' EXIT
  echo "fetch: eslint $version" >&2
  npm install --prefix "$staged" --before "$day" --ignore-scripts --no-audit --no-fund --silent "eslint@$version"
  echo "$version $day" >"$staged/.version"
  rm -rf "$folder"
  mv "$staged" "$folder"
fi
"$folder/node_modules/.bin/eslint" --max-warnings 0 --config scripts/eslint.config.mjs src/page/assets
