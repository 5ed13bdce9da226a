#!/usr/bin/env bash
# The main job with the built-in model: three questions about a real clip, one of them about what is not in it. The answers
# are compared with boxes that were drawn by hand into thirty frames (examples/bikes); videos and a contact sheet are there
# to be looked at.
set -euo pipefail
cd "$(dirname "$0")/.."
spotter=${CARGO_TARGET_DIR:-target}/release/spotter
clip=media/bikes.mp4
unset SPOTTER_MODEL
rm -rf out/demo-*
mkdir -p out

queries=("the man in the suit" "a bicycle" "a dog")
for i in 1 2 3; do
  "$spotter" run --source "$clip" --query "${queries[i - 1]}" \
    --out "jsonl:out/demo-$i.jsonl" --out "mp4:out/demo-$i.mp4"
done
# Six moments of each video, a row for each question.
moments="select='eq(n,18)+eq(n,34)+eq(n,40)+eq(n,126)+eq(n,150)+eq(n,228)',scale=426:-2,tile=6x1"
ffmpeg -v error -y -i out/demo-1.mp4 -i out/demo-2.mp4 -i out/demo-3.mp4 \
  -filter_complex "[0]${moments}[a];[1]${moments}[b];[2]${moments}[c];[a][b][c]vstack=inputs=3" \
  -frames:v 1 -update 1 out/demo-sheet.png

echo
"$spotter" --quiet eval examples/bikes/sets.toml \
  --records out/demo-1.jsonl --records out/demo-2.jsonl --records out/demo-3.jsonl
echo
echo "Asked of $clip: ${queries[0]}; ${queries[1]}; ${queries[2]} (there is none)."
echo "Videos: out/demo-1.mp4 to out/demo-3.mp4; eighteen frames to look at: out/demo-sheet.png"
