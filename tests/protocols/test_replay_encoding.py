"""The encoding reference replays its vectors."""

import math
import struct
from typing import Any

import pytest

from protocols.encoding import bfloat16
from protocols.encoding import reference as encoding
from protocols.encoding.layout import Layout, TensorSpec
from protocols.encoding.reference import Parameters, Tensor, Update
from protocols.notation import RuleBroken
from protocols.vector_files import load


def vectors(name: str) -> list[dict[str, Any]]:
    return load("encoding", name)["vectors"]


def parameters_from(vector: dict[str, Any]) -> Parameters:
    return Parameters(vector["cohort"], vector["bits"], float(vector["clip"]), vector["greatest_weight"])


def layout_from(vector: dict[str, Any]) -> Layout:
    tensors = tuple(TensorSpec(t["name"], t["dtype"], tuple(t["shape"])) for t in vector["tensors"])
    return Layout(tensors, tuple(vector["scalars"]))


def tensors_from(tensors: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(t["name"], t["dtype"], tuple(t["shape"]), tuple(float(x) for x in t["values"])) for t in tensors
    )


def update_from(vector: dict[str, Any]) -> Update:
    metrics = {name: float(x) for name, x in vector["metrics"].items()}
    return Update(bytes.fromhex(vector["model"]), tensors_from(vector["tensors"]), vector["weight"], metrics)


def encoded(vector: dict[str, Any], client: dict[str, Any]) -> list[int]:
    return encoding.encode_update(
        update_from(client["update"]),
        layout_from(vector["layout"]),
        bytes.fromhex(vector["model"]),
        parameters_from(vector),
        bytes.fromhex(client["rounding_key"]),
        vector["round"],
    )


def test_layouts():
    for vector in vectors("layouts"):
        layout = layout_from(vector["layout"])
        assert layout.values == vector["values"]
        assert encoding.layout_digest(layout).hex() == vector["digest"]


def test_quantisation():
    for vector in vectors("quantisation"):
        parameters = parameters_from(vector)
        random_words = encoding.rounding_words(
            bytes.fromhex(vector["rounding_key"]), vector["round"], len(vector["values"])
        )
        assert random_words == vector["random_words"]
        lane_values = [
            encoding.quantise(x, vector["weight"], r, parameters)
            for x, r in zip(vector["values"], random_words, strict=True)
        ]
        assert lane_values == vector["lane_values"]
        assert all(0 <= value <= 2 ** vector["bits"] - 2 for value in lane_values)


def test_a_vector_needs_the_lower_clamp():
    """−c·(Q/c) rounds under −Q there, and one random word is too small to lift it: the floor is −Q − 1."""
    vector = next(v for v in vectors("quantisation") if v["name"] == "below the least")
    Q, c = 2**31 - 1, vector["clip"]
    floors = [int((-c * (Q / c) + r / 2**32) // 1) for r in vector["random_words"]]
    assert -Q - 1 in floors


def test_bfloat16():
    """Widening is the upper half of a float32; the nearest of a value that is one is that one."""
    for vector in vectors("bfloat16"):
        if "mean" in vector:
            assert bfloat16.nearest(vector["mean"]) == vector["bits"]
            continue
        bits, value = vector["bits"], float(vector["value"])
        upper = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
        assert value == upper or (value != value and upper != upper)
        assert math.copysign(1.0, bfloat16.value(bits)) == (-1.0 if bits >> 15 and value == value else 1.0)
        assert value != value or bfloat16.nearest(bfloat16.value(bits)) == bits


def test_scalars():
    for vector in vectors("scalars"):
        if "digits" in vector:
            assert encoding.digits(vector["scalar"], vector["bits"]) == vector["digits"]
            assert encoding.from_digits(vector["digits"], vector["bits"]) == vector["scalar"]
        else:
            assert encoding.metric_scalar(vector["metric"], vector["weight"]) == vector["scalar"]


def test_lanes():
    for vector in vectors("lanes"):
        ring = encoding.ring_of(vector["cohort"], vector["bits"])
        assert (ring.lane_bits, ring.lanes, ring.bits) == (
            vector["lane_bits"],
            vector["lanes_per_word"],
            vector["ring_bits"],
        )
        assert encoding.to_ring_words(vector["lanes"], ring) == vector["ring_words"]
        assert encoding.to_lanes(vector["ring_words"], ring) == vector["lanes"] + [0] * vector["padding"]


def test_packing():
    for vector in vectors("packing"):
        ring_words, bits = vector["ring_words"], vector["ring_bits"]
        assert encoding.pack(ring_words, bits) == vector["wire_words"]
        assert encoding.unpack(vector["wire_words"], len(ring_words), bits) == ring_words
        assert bytes.fromhex(vector["body"]) == b"".join(w.to_bytes(8, "little") for w in vector["wire_words"])


@pytest.mark.parametrize("vector", vectors("aggregates"), ids=lambda vector: vector["name"])
def test_aggregate(vector):
    parameters, layout = parameters_from(vector), layout_from(vector["layout"])
    for client in vector["clients"]:
        assert encoded(vector, client) == client["ring_words"]
    mean = encoding.decode_sum(vector["sum"], len(vector["clients"]), layout, parameters)
    assert mean.tensors == tensors_from(vector["mean"]["tensors"])
    assert mean.weight == vector["mean"]["weight"] == sum(c["update"]["weight"] for c in vector["clients"])
    assert mean.metrics == vector["mean"]["metrics"]


@pytest.mark.parametrize("vector", vectors("aggregates"), ids=lambda vector: vector["name"])
def test_aggregate_is_near_the_mean_of_the_clipped_updates(vector):
    c, W = vector["clip"], vector["greatest_weight"]
    clients = [client["update"] for client in vector["clients"]]
    weight = sum(update["weight"] for update in clients)
    quantum = c / (2 ** (vector["bits"] - 1) - 1)
    for t, tensor in enumerate(vector["mean"]["tensors"]):
        for i, value in enumerate(tensor["values"]):
            shares = [u["tensors"][t]["values"][i] * u["weight"] / W for u in clients]
            exact = sum(max(-c, min(c, share)) for share in shares) * W / weight
            # Two dtypes of tensors are coarser than the rest: float16 and bfloat16.
            rounding = 2 ** (-8 if tensor["dtype"] == "bfloat16" else -10) * abs(exact) + 2**-24
            assert abs(value - exact) <= len(clients) * quantum * W / weight + rounding


@pytest.mark.parametrize("vector", [pytest.param(v, id=f"{v['rule']} {v['name']}") for v in vectors("refused")])
def test_refused(vector):
    with pytest.raises(RuleBroken) as broken:
        attempt(vector)
    assert broken.value.rule == vector["rule"]


def attempt(vector: dict[str, Any]) -> None:
    match vector["operation"]:
        case "encode":
            encoded(vector, vector)
        case "configure":
            encoding.check_parameters(parameters_from(vector))
        case "layout":
            encoding.layout_digest(layout_from(vector["layout"]))
        case "decode":
            layout, parameters = layout_from(vector["layout"]), parameters_from(vector)
            encoding.decode_sum(vector["sum"], vector["clients"], layout, parameters)
