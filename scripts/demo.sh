#!/usr/bin/env bash
# The main job on a real clip: every frame grounded, one record each, and a video with the box drawn in.
set -euo pipefail
cd "$(dirname "$0")/.."
spotter=${CARGO_TARGET_DIR:-target}/release/spotter
mkdir -p out

# No trained weights ship yet: a small random model shows the way that frames take, not where things are.
"$spotter" --quiet convert --random 7 --config small --out out/demo-model --force
"$spotter" run --source media/bikes.mp4 --query "the man on the bicycle" --model out/demo-model \
  --out jsonl:out/demo.jsonl --out mp4:out/demo.mp4

records=$(grep -c '"schema":"spotter.frame/1"' out/demo.jsonl)
frames=$(ffprobe -v error -count_frames -select_streams v -show_entries stream=nb_read_frames -of csv=p=0 out/demo.mp4)
echo
echo "records   $records in out/demo.jsonl"
echo "video     $frames frames in out/demo.mp4"
echo "weights   UNTRAINED (random, seed 7): the boxes mean nothing yet"
[ "$records" -eq 250 ] && [ "$frames" -eq 250 ] || {
  echo "demo: expected 250 records and 250 frames" >&2
  exit 1
}
