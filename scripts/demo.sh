#!/usr/bin/env bash
# The main job with the built-in model: three questions about a real clip at once, one of them about what is not in it. The
# answers are compared with boxes that were drawn by hand into thirty frames (examples/bikes); the video and a contact sheet
# are there to be looked at.
set -euo pipefail
cd "$(dirname "$0")/.."
spotter=${CARGO_TARGET_DIR:-target}/release/spotter
clip=media/bikes.mp4
unset SPOTTER_MODEL
rm -rf out/demo*
mkdir -p out

"$spotter" run --source "$clip" --query "the man in the suit" --query "a bicycle" --query "a dog" \
  --out jsonl:out/demo.jsonl --out mp4:out/demo.mp4
# Six moments of the video.
moments="select='eq(n,18)+eq(n,34)+eq(n,40)+eq(n,126)+eq(n,150)+eq(n,228)',tile=2x3"
ffmpeg -v error -y -i out/demo.mp4 -vf "$moments" -frames:v 1 -update 1 out/demo-sheet.png

echo
"$spotter" --quiet eval examples/bikes/sets.toml --records out/demo.jsonl
echo
echo "Asked of $clip: the man in the suit; a bicycle; a dog (there is none)."
echo "The video: out/demo.mp4; six frames of it to look at: out/demo-sheet.png"
echo "On the fourth the man is another one, and the bicycle a motorcycle; on the fifth a bicycle behind a fence is missed."
