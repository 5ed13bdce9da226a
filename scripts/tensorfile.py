"""Writes safetensors files whose bytes follow from their content (the library writes metadata in any order)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def save(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """f32 tensors by name, and `__metadata__`; the folder is made."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    parts, at = [], 0
    for name, tensor in sorted(tensors.items()):
        part = np.ascontiguousarray(tensor, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(part)]}
        parts.append(part)
        at += len(part)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.part")
    staged.write_bytes(b"".join([len(head).to_bytes(8, "little"), head, *parts]))
    staged.replace(path)
