"""What the vectors of protocols/ say, in the types of securefed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet

from securefed.aggregation import Adversary, ClientIdentity, Credentials, MemoryRecord, Policy, SigningKey, Update
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


def adversary_from(vector: dict[str, Any]) -> Adversary:
    """Thousandths there are shares here."""
    shares = {name: vector[name] / 1000 for name in ("corrupt", "dropouts")}
    return Adversary(**(vector | shares))


def identities_from(vector: dict[str, Any]) -> dict[int, bytes]:
    return {entry["id"]: bytes.fromhex(entry["key"]) for entry in vector["identities"]}


def policy_from(vector: dict[str, Any], schemes: frozenset[str] = OPEN.schemes) -> Policy:
    weakest = {"corrupt": vector["least_corrupt"], "dropouts": 0, "security": vector["least_security"]}
    return Policy(
        schemes,
        adversary_from({"server": vector["least_server"]} | weakest),
        least_cohort=vector["least_cohort"],
        least_sum=vector["least_sum"],
        greatest_clip=vector["greatest_clip"],
        least_bits=vector["least_bits"],
    )


def identity_from(client: int, layout: Layout, rounding_key: str) -> ClientIdentity:
    """A client that encodes, and takes part in no round."""
    return ClientIdentity(client, layout, OPEN, bytes.fromhex(rounding_key))


def participant_from(
    client: dict[str, Any],
    layout: Layout,
    identities: dict[int, bytes],
    policy: Policy = OPEN,
    last_input: int | None = None,
) -> ClientIdentity:
    """The client of a vector, with a record that holds an input for that round."""
    record, key = MemoryRecord(), client["identity_key"]
    if last_input is not None:
        record.claim("input", last_input, bytes(32))
    credentials = Credentials(SigningKey(bytes.fromhex(key)), identities) if key else None
    rounding_key = bytes.fromhex(client["rounding_key"])
    return ClientIdentity(client["id"], layout, policy, rounding_key, credentials, record)
