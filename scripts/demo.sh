#!/usr/bin/env bash
# The main job with the built-in model: a film whose truth is known, every frame grounded, a video with the box drawn
# in; then a real clip, which this small model has never seen the like of.
set -euo pipefail
cd "$(dirname "$0")/.."
spotter=${CARGO_TARGET_DIR:-target}/release/spotter
mkdir -p out

"$spotter" --quiet train configs/train/shapes.toml --film 10 --film-number 9 --out out/film
query=$(python3 -c 'import json; print(json.loads(open("out/film/film.jsonl").readline())["phrase"])')
"$spotter" run --source out/film/film.mp4 --query "$query" --out jsonl:out/demo.jsonl --out mp4:out/demo.mp4

python3 - out/film/film.jsonl out/demo.jsonl <<'PYTHON'
import json, sys

truth = [json.loads(line) for line in open(sys.argv[1])]
said = [r for r in map(json.loads, open(sys.argv[2])) if r["schema"] == "spotter.frame/1"]
assert len(truth) == len(said), f"{len(truth)} frames in, {len(said)} records out"


def overlap(a, b):
    w = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    h = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    both = max(w, 0) * max(h, 0)
    return both / (a["w"] * a["h"] + b["w"] * b["h"] - both)


here = [r["status"] == "box" and overlap(t["box"], r["box"]) >= 0.5 for t, r in zip(truth, said) if t["box"]]
gone = [r["status"] == "absent" for t, r in zip(truth, said) if t["clear"] and not t["box"]]
print()
print(f"query     {truth[0]['phrase']}")
print(f"records   {len(said)} in out/demo.jsonl, video in out/demo.mp4")
print(f"found     right on {sum(here)} of {len(here)} frames where it is there")
print(f"absent    said so on {sum(gone)} of {len(gone)} frames where it is not")
PYTHON

"$spotter" --quiet run --source media/bikes.mp4 --query "the red bicycle" \
  --out jsonl:out/bikes.jsonl --out mp4:out/bikes.mp4
records=$(grep -c '"schema":"spotter.frame/1"' out/bikes.jsonl)
frames=$(ffprobe -v error -count_frames -select_streams v -show_entries stream=nb_read_frames -of csv=p=0 out/bikes.mp4)
echo "real clip $records records and $frames frames from media/bikes.mp4 (the built-in model knows drawn things only)"
[ "$records" -eq 250 ] && [ "$frames" -eq 250 ] || {
  echo "demo: expected 250 records and 250 frames" >&2
  exit 1
}
