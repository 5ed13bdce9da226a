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

echo
python3 scripts/compare-film.py out/film/film.jsonl out/demo-1.jsonl out/film/film.jsonl out/demo-2.jsonl
echo "Videos: out/demo-1.mp4 and out/demo-2.mp4; eight frames to look at: out/demo-sheet.png"
