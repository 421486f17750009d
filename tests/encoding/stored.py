"""Safetensors files written by hand, as the format's text says."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from securefed.encoding.tensors import BFloat16

GOOD = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}


def file_of(header: Any, body: bytes = bytes(12), length: int | None = None) -> bytes:
    """A file with this header, as JSON or in raw, and this body; `length` to lie about the header's."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + body


def two(first: list[int], second: list[int]) -> dict[str, Any]:
    """A header of two tensors with these extents."""
    return {
        name: {"dtype": "F32", "shape": [(extent[1] - extent[0]) // 4], "data_offsets": extent}
        for name, extent in (("a", first), ("b", second))
    }


def update() -> dict[str, Any]:
    """All four dtypes, a scalar, and a tensor without values."""
    rng = np.random.default_rng(0)
    return {
        "layers.0.q_proj": BFloat16.nearest(rng.normal(0, 0.3, (40, 70))),
        "layers.0.norm": rng.normal(0, 0.3, 70).astype(np.float32),
        "layers.1.q_proj": BFloat16.nearest(rng.normal(0, 0.3, (40, 70))),
        "layers.1.norm": rng.normal(0, 0.3, 70).astype(np.float16),
        "head": rng.normal(0, 0.3, (5, 2, 3)),
        "scale": np.array(0.25, np.float32),
        "none": np.zeros((0, 4), np.float32),
    }


CODES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}


def write(path: Path, tensors: dict[str, Any]) -> None:
    """One file of these tensors."""
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        raw = (tensor.bits if isinstance(tensor, BFloat16) else tensor).tobytes()
        dtype = CODES[str(tensor.dtype)]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    path.write_bytes(file_of(json.dumps(header).encode() + b"  ", body))


def shards(folder: Path, tensors: dict[str, Any], *cuts: int) -> Path:
    """Several files and their index."""
    names = list(tensors)
    weight_map = {}
    edges = [0, *cuts, len(names)]
    for number, (first, last) in enumerate(pairwise(edges), start=1):
        file = f"model-{number:05}-of-{len(cuts) + 1:05}.safetensors"
        write(folder / file, {name: tensors[name] for name in names[first:last]})
        weight_map |= dict.fromkeys(names[first:last], file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index
