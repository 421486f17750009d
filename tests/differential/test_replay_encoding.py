"""The vectors of protocols/encoding, good and bad, through our encoding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securefed.aggregation import ClientIdentity
from securefed.encoding.lanes import Lanes, pack_bits, unpack_bits
from securefed.encoding.quantize import Numbers
from securefed.encoding.scalars import metric_to_integer, sum_of_digits, to_digits
from securefed.encoding.tensors import BFloat16
from securefed.encoding.vector import VectorEncoding
from tests.differential.reading import (
    array_from,
    identity_from,
    layout_from,
    load,
    named,
    numbers_from,
    update_from,
)
from tests.rounds import spec_of
from tests.rules import refused


def encoded(vector: dict[str, Any], update: dict[str, Any], rounding_key: str) -> list[int]:
    """As a session does it: the update must be of the round's model."""
    layout, ours = layout_from(vector["layout"]), update_from(update)
    identity: ClientIdentity = identity_from(1, layout, rounding_key)
    identity.check_model(replace(spec_of(), model=bytes.fromhex(vector["model"])), ours.model)
    pieces = VectorEncoding(layout, numbers_from(vector)).encode(
        ours.tensors, ours.weight, ours.metrics, identity.rounding(vector["round"])
    )
    return np.concatenate(list(pieces)).tolist()


@pytest.mark.parametrize("vector", named("encoding", "layouts"))
def test_layouts(vector: dict[str, Any]) -> None:
    layout = layout_from(vector["layout"])
    assert (layout.size, layout.digest.hex()) == (vector["values"], vector["digest"])


@pytest.mark.parametrize("vector", named("encoding", "quantisation"))
def test_quantisation(vector: dict[str, Any]) -> None:
    layout = layout_from({"tensors": [{"name": "x", "dtype": "float64", "shape": [1]}], "scalars": ["weight"]})
    draw = identity_from(1, layout, vector["rounding_key"]).rounding(vector["round"])
    randomness = draw(len(vector["values"]))
    assert randomness.tolist() == vector["random_words"]
    lanes = numbers_from(vector).quantize(np.array(vector["values"]), vector["weight"], randomness)
    assert lanes.tolist() == vector["lane_values"]


def test_bfloat16() -> None:
    for vector in load("encoding", "bfloat16")["vectors"]:
        if "mean" in vector:
            assert BFloat16.nearest(np.array([vector["mean"]])).bits.tolist() == [vector["bits"]]
        else:
            value = BFloat16(np.array([vector["bits"]], np.uint16)).widened()
            np.testing.assert_array_equal(value, np.array([float(vector["value"])]), strict=False)
            assert np.signbit(value[0]) == bool(vector["bits"] >> 15)


def test_scalars() -> None:
    for vector in load("encoding", "scalars")["vectors"]:
        if "digits" in vector:
            bits = vector["bits"]
            assert to_digits(vector["scalar"], bits - 1, Numbers(2, bits, 1.0).digits).tolist() == vector["digits"]
            assert sum_of_digits(vector["digits"], bits - 1) == vector["scalar"]
        else:
            assert metric_to_integer("m", vector["metric"], vector["weight"]) == vector["scalar"]


def test_lanes() -> None:
    for vector in load("encoding", "lanes")["vectors"]:
        lanes = Lanes(vector["cohort"], 2 * (2 ** (vector["bits"] - 1) - 1))
        geometry = (lanes.width, lanes.per_word, lanes.ring_bits)
        assert geometry == (vector["lane_bits"], vector["lanes_per_word"], vector["ring_bits"])
        words = lanes.pack(np.array(vector["lanes"], "<u8"))
        assert words.tolist() == vector["ring_words"]
        assert lanes.unpack(words).tolist() == vector["lanes"] + [0] * vector["padding"]


def test_packing() -> None:
    for vector in load("encoding", "packing")["vectors"]:
        words = np.array(vector["ring_words"], "<u8")
        packed = pack_bits(words, vector["ring_bits"])
        assert packed.tolist() == vector["wire_words"]
        assert packed.tobytes().hex() == vector["body"]
        assert unpack_bits(packed, len(words), vector["ring_bits"]).tolist() == vector["ring_words"]


@pytest.mark.parametrize("vector", named("encoding", "aggregates"))
def test_aggregates(vector: dict[str, Any]) -> None:
    encoding = VectorEncoding(layout_from(vector["layout"]), numbers_from(vector))
    total = np.zeros(encoding.words, "<u8")
    for client in vector["clients"]:
        words = encoded(vector, client["update"], client["rounding_key"])
        assert words == client["ring_words"]
        total += np.array(words, "<u8")
    total &= encoding.numbers.lanes.ring_mask
    assert total.tolist() == vector["sum"]
    decoded, mean = encoding.decode(total, len(vector["clients"])), vector["mean"]
    for tensor in mean["tensors"]:
        ours = decoded.tensors[tensor["name"]]
        assert ours.dtype == tensor["dtype"]
        bits, theirs = (t.bits if isinstance(t, BFloat16) else t for t in (ours, array_from(tensor)))
        assert bits.tolist() == theirs.tolist()
    assert (decoded.weight, decoded.metrics) == (mean["weight"], mean["metrics"])


@pytest.mark.parametrize("vector", named("encoding", "refused"))
def test_refused(vector: dict[str, Any]) -> None:
    with refused(vector["rule"]):
        match vector["operation"]:
            case "encode":
                encoded(vector, vector["update"], vector["rounding_key"])
            case "configure":
                numbers_from(vector)
            case "layout":
                _ = layout_from(vector["layout"]).digest
            case "decode":
                encoding = VectorEncoding(layout_from(vector["layout"]), numbers_from(vector))
                encoding.decode(np.array(vector["sum"], "<u8"), vector["clients"])
