"""What the vectors of protocols/ say, in the types of securefed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet

from securefed.aggregation import ClientIdentity, Policy, Update
from securefed.encoding.layout import Layout, TensorSpec
from securefed.encoding.quantize import Numbers
from securefed.encoding.tensors import BFLOAT16, BFloat16
from tests.rounds import OPEN

_PROTOCOLS = Path(__file__).parents[2] / "protocols"


def load(protocol: str, name: str) -> dict[str, Any]:
    """One file of vectors, read without the code that wrote it."""
    path = _PROTOCOLS / protocol / "vectors" / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def named(protocol: str, name: str) -> list[ParameterSet]:
    """The vectors as parameters, marked with the rule that a bad one breaks."""
    return [
        pytest.param(
            vector,
            id=f"{vector.get('rule', '')} {vector.get('name', number)}".strip(),
            marks=[pytest.mark.rule(vector["rule"])] if "rule" in vector else [],
        )
        for number, vector in enumerate(load(protocol, name)["vectors"])
    ]


def layout_from(vector: dict[str, Any]) -> Layout:
    """The first scalar is the weight, which our layouts always have."""
    weight, *metrics = vector["scalars"]
    assert weight == "weight"
    return Layout(
        tuple(TensorSpec(t["name"], tuple(t["shape"]), t["dtype"]) for t in vector["tensors"]), tuple(metrics)
    )


def numbers_from(vector: dict[str, Any]) -> Numbers:
    return Numbers(vector["cohort"], vector["bits"], float(vector["clip"]), vector["greatest_weight"])


def array_from(tensor: dict[str, Any]) -> Any:
    """An array, or a `BFloat16`."""
    values = np.array([float(x) for x in tensor["values"]]).reshape(tensor["shape"])
    return BFloat16.nearest(values) if tensor["dtype"] == BFLOAT16 else values.astype(tensor["dtype"])


def update_from(vector: dict[str, Any]) -> Update:
    tensors = {t["name"]: array_from(t) for t in vector["tensors"]}
    metrics = {name: float(value) for name, value in vector["metrics"].items()}
    return Update(tensors, bytes.fromhex(vector["model"]), vector["weight"], metrics)


def identity_from(client: int, layout: Layout, rounding_key: str, policy: Policy = OPEN) -> ClientIdentity:
    return ClientIdentity(client, layout, policy, bytes.fromhex(rounding_key))
