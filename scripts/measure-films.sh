#!/usr/bin/env bash
# Measures models/spotter-tiny on drawn films, by the way of the program: decoded, grounded, recorded, compared with the
# truth. measure-films.sh RECIPE [OPTIONS OF `spotter train --film`]; the films are numbered from 0 to 24.
set -euo pipefail
cd "$(dirname "$0")/.."
spotter=${CARGO_TARGET_DIR:-target}/release/spotter
recipe=$1
shift
films=out/films
rm -rf "$films"
pairs=()
for number in $(seq 0 24); do
  film=$films/$number
  "$spotter" --quiet train "$recipe" --film 6 --film-number "$number" "$@" --out "$film"
  # The first sentence is about what comes and goes.
  query=$(python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).readline())["phrase"])' "$film/film.jsonl")
  "$spotter" --quiet run --source "$film/film.mp4" --query "$query" \
    --model models/spotter-tiny --out "jsonl:$film/said.jsonl"
  pairs+=("$film/film.jsonl" "$film/said.jsonl")
done
python3 scripts/compare-film.py "${pairs[@]}"
