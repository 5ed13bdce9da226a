#!/usr/bin/env bash
# The main job with the built-in model: drawn things move in front of a real clip, two sentences ask for two of them, one
# of which comes and goes. Every frame is compared with the truth; the videos and a contact sheet are there to be looked at.
set -euo pipefail
cd "$(dirname "$0")/.."
spotter=${CARGO_TARGET_DIR:-target}/release/spotter
rm -rf out/film out/demo-*
mkdir -p out

"$spotter" --quiet train configs/train/shapes.toml --film 10 --film-number 14 --film-over media/bikes.mp4 --out out/film
mapfile -t queries < <(python3 - <<'PYTHON'
import json

phrases = list(dict.fromkeys(json.loads(line)["phrase"] for line in open("out/film/film.jsonl")))
print("\n".join(phrases[:2]))
PYTHON
)
for i in 1 2; do
  "$spotter" run --source out/film/film.mp4 --query "${queries[i - 1]}" \
    --out "jsonl:out/demo-$i.jsonl" --out "mp4:out/demo-$i.mp4"
done
# Four moments of each video.
moments="select='not(mod(n-20,62))',scale=480:-2,tile=4x1"
ffmpeg -v error -y -i out/demo-1.mp4 -i out/demo-2.mp4 \
  -filter_complex "[0]${moments}[a];[1]${moments}[b];[a][b]vstack" -frames:v 1 out/demo-sheet.png

python3 - <<'PYTHON'
import json


def overlap(a, b):
    w = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    h = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    both = max(w, 0) * max(h, 0)
    return both / (a["w"] * a["h"] + b["w"] * b["h"] - both)


for number in (1, 2):
    said = [r for r in map(json.loads, open(f"out/demo-{number}.jsonl")) if r["schema"] == "spotter.frame/1"]
    query = said[0]["query"]
    truth = [t for t in map(json.loads, open("out/film/film.jsonl")) if t["phrase"] == query]
    assert len(truth) == len(said) == 250, f"{len(truth)} frames in, {len(said)} records out"
    here = [r["status"] == "box" and overlap(t["box"], r["box"]) >= 0.5 for t, r in zip(truth, said) if t["box"]]
    gone = [r["status"] == "absent" for t, r in zip(truth, said) if t["clear"] and not t["box"]]
    print()
    print(f"query     {query}")
    print(f"found     right on {sum(here)} of {len(here)} frames where it is there")
    if gone:
        print(f"absent    said so on {sum(gone)} of {len(gone)} frames where it is not")
    print(f"records   out/demo-{number}.jsonl, video out/demo-{number}.mp4")
print()
print("Eight frames to look at: out/demo-sheet.png")
PYTHON
