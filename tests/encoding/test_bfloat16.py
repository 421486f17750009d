"""bfloat16, which numpy lacks: against the reference for every bit pattern, against torch, and in whole updates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.encoding import bfloat16 as reference
from protocols.encoding import layout as their_layout
from protocols.encoding import reference as encoding
from securefed.encoding.layout import Layout, TensorSpec
from securefed.encoding.quantize import Numbers
from securefed.encoding.tensors import BFloat16
from securefed.encoding.vector import PIECE_WORDS, VectorEncoding
from tests.rounds import MODEL, identity_of, seed
from tests.rules import case, refused

ALL_BITS = np.arange(2**16, dtype=np.uint16)
NUMBERS = Numbers(4, 16, 0.5, 100)
LAYOUT = Layout((TensorSpec("q_proj", (2, 3), "bfloat16"), TensorSpec("norm", (2,)), TensorSpec("s", (), "bfloat16")))
QUIET, SIGNALLING, INFINITY = 0x7FC0, 0x7F81, 0x7F80


def bits_of(values: Any) -> list[int]:
    found: list[int] = BFloat16.nearest(np.asarray(values, np.float64)).bits.tolist()
    return found


def words_of(layout: Layout, tensors: Any, weight: int = 100) -> np.ndarray:
    return np.concatenate(list(VectorEncoding(layout, NUMBERS).encode(tensors, weight, {}, identity_of(2).rounding(9))))


def test_every_pattern_widens_to_its_value() -> None:
    wide = BFloat16(ALL_BITS).widened()
    theirs = np.array([reference.value(bits) for bits in range(2**16)])
    assert wide.dtype == np.float32
    assert np.array_equal(wide, theirs, equal_nan=True)
    finite = ~np.isnan(theirs)
    assert (np.signbit(wide) == np.signbit(theirs))[finite].all()
    assert bits_of(theirs[finite]) == ALL_BITS[finite].tolist(), "what is one already is rounded to itself"


def between(least: int) -> st.SearchStrategy[float]:
    """Two neighbours' middle, and a little beside it, where rounding twice errs."""
    low, high = reference.value(least), reference.value(least + 1) if least < 0x7F7F else 2.0**128
    middle = low + (high - low) / 2
    beside = [math.nextafter(middle, high), math.nextafter(middle, low), middle + (high - low) * 2.0**-30]
    return st.sampled_from([middle, -middle, *beside, *(-value for value in beside), low, -low])


@given(st.lists(st.one_of(st.floats(allow_nan=False), st.integers(0, 0x7F7F).flatmap(between)), min_size=1))
def test_the_nearest_is_that_of_the_reference(values: list[float]) -> None:
    assert bits_of(values) == [reference.nearest(value) for value in values]


def test_a_float32_on_the_way_would_round_twice() -> None:
    """The very case that the vectors hold: just over a tie, and a float32 is the tie itself."""
    value = 1.0 + 2.0**-8 + 2.0**-52
    assert float(np.float32(value)) == 1.0 + 2.0**-8
    assert bits_of([value, -value]) == [0x3F81, 0xBF81]


def test_a_nan_stays_one_whatever_its_bits() -> None:
    patterns = np.array([0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0x7FF8000000000000], "<u8").view("<f8")
    assert np.isnan(BFloat16.nearest(patterns).widened()).all()


def test_torch_has_the_same_numbers() -> None:
    """From float32, which both round once."""
    torch = pytest.importorskip("torch")
    theirs = torch.from_numpy(ALL_BITS.copy()).view(torch.bfloat16).float().numpy()
    assert np.array_equal(BFloat16(ALL_BITS).widened(), theirs, equal_nan=True)
    patterns = np.random.default_rng(0).integers(0, 2**32, 200_000, "<u4")
    values = np.concatenate([patterns.view("<f4"), np.arange(0x3F800000, 0x3F840000, dtype="<u4").view("<f4")])
    values = values[~np.isnan(values)]
    rounded = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
    assert (BFloat16.nearest(values).bits == rounded).all()


Patterns = st.integers(0, 2**16 - 1).filter(lambda bits: bits & 0x7F80 != 0x7F80)
"""Finite ones: signed zeros and subnormals among them."""


@given(
    patterns=st.lists(st.lists(Patterns, min_size=7, max_size=7), min_size=1, max_size=4),
    near=st.booleans(),
    data=st.data(),
)
def test_updates_encode_and_decode_as_in_the_reference(patterns: list[list[int]], near: bool, data: Any) -> None:
    parameters = encoding.Parameters(4, 16, 0.5, 100)
    theirs = their_layout.Layout(
        tuple(their_layout.TensorSpec(t.name, t.dtype, t.shape) for t in LAYOUT.tensors), LAYOUT.scalars
    )
    assert LAYOUT.digest == their_layout.layout_digest(theirs)
    total: np.ndarray | None = None
    for client, pattern in enumerate(patterns, start=1):
        # Any finite number, or one near the clip.
        bits = np.array([0x3D00 | p & 0x8000 | p & 0x1FF if near else p for p in pattern], np.uint16)
        norm = np.float32([0.25, -0.0])
        weight = data.draw(st.integers(1, 100))
        ours = {"q_proj": BFloat16(bits[:6].reshape(2, 3)), "norm": norm, "s": BFloat16(bits[6:].reshape(()))}
        pieces = VectorEncoding(LAYOUT, NUMBERS).encode(ours, weight, {}, identity_of(client).rounding(9))
        words = np.concatenate(list(pieces))
        values = [reference.value(b) for b in bits.tolist()]
        update = encoding.Update(
            MODEL,
            (
                encoding.Tensor("q_proj", "bfloat16", (2, 3), tuple(values[:6])),
                encoding.Tensor("norm", "float32", (2,), tuple(norm.tolist())),
                encoding.Tensor("s", "bfloat16", (), (values[6],)),
            ),
            weight,
            {},
        )
        key = seed(f"rounding {client}")
        assert words.tolist() == encoding.encode_update(update, theirs, MODEL, parameters, key, 9)
        total = words if total is None else total + words
    assert total is not None
    total &= NUMBERS.lanes.ring_mask
    decoded = VectorEncoding(LAYOUT, NUMBERS).decode(total, len(patterns))
    mean = encoding.decode_sum(total.tolist(), len(patterns), theirs, parameters)
    for tensor in mean.tensors:
        found = decoded.tensors[tensor.name]
        assert found.shape == tensor.shape
        wide = found.widened() if isinstance(found, BFloat16) else found
        assert isinstance(found, BFloat16) == (tensor.dtype == "bfloat16")
        assert wide.ravel().tolist() == list(tensor.values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", ["C", "F", "strided", "reversed", "read-only"])
def test_bits_of_any_memory_order_are_read_in_c_order(order: str, form: str) -> None:
    plain = BFloat16.nearest(np.random.default_rng(5).uniform(-0.4, 0.4, (4, 6))).bits
    bits = plain.astype(plain.dtype.newbyteorder(order))
    if form == "F":
        bits = np.asfortranarray(bits)
    elif form == "strided":
        bits = np.repeat(np.repeat(bits, 2, axis=0), 3, axis=1)[::2, ::3]
    elif form == "reversed":
        bits = bits[::-1, ::-1].copy()[::-1, ::-1]
    elif form == "read-only":
        bits.flags.writeable = False
    tensor = BFloat16(bits)
    layout = Layout((TensorSpec("a", (4, 6), "bfloat16"),))
    assert Layout.of({"a": tensor}) == layout
    wide = words_of(Layout((TensorSpec("a", (4, 6)),)), {"a": BFloat16(plain).widened()})
    assert words_of(layout, {"a": tensor}).tolist() == wide.tolist(), "the same words as the same values in float32"
    assert (bits == plain).all(), "the client's own tensor is not written to"


@pytest.mark.parametrize("pattern", [0x0000, 0x8000, 0x0001, 0x8001, 0x007F, 0x807F])
def test_signed_zeros_and_subnormals_are_accepted(pattern: int) -> None:
    layout = Layout((TensorSpec("a", (4,), "bfloat16"),))
    words = words_of(layout, {"a": BFloat16(np.full(4, pattern, np.uint16))})
    lanes = NUMBERS.lanes.unpack(words)[:4].astype(np.int64) - NUMBERS.greatest
    assert set(lanes.tolist()) <= ({0} if pattern in (0x0000, 0x8000) else {-1, 0})


@pytest.mark.rule("V1")
@pytest.mark.parametrize("pattern", [QUIET, SIGNALLING, 0xFFFF, INFINITY, 0x8000 | INFINITY])
@pytest.mark.parametrize("at", [0, PIECE_WORDS * 3 - 1, PIECE_WORDS * 3, -1])
def test_v1_wherever_in_a_long_tensor(pattern: int, at: int) -> None:
    """And without a warning, which a signalling NaN would give where it is widened."""
    layout = Layout((TensorSpec("long", (PIECE_WORDS * 3 + 17,), "bfloat16"),))
    bits = np.zeros(layout.size, np.uint16)
    bits[at] = pattern
    with refused("V1") as caught:
        words_of(layout, {"long": BFloat16(bits)})
    assert "'long'" in str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_signalling_nan_of_another_dtype_is_refused_without_a_warning(dtype: str) -> None:
    pattern = np.array([0x7C01] if dtype == "float16" else [0x7F800001], "<u2" if dtype == "float16" else "<u4")
    with refused("V1"):
        words_of(Layout((TensorSpec("a", (1,), dtype),)), {"a": pattern.view(dtype)})


@pytest.mark.parametrize(
    ("rule", "tensor"),
    [
        case("V4", "float32", np.zeros(4, np.float32)),
        case("V4", "float16", np.zeros(4, np.float16)),
        case("V4", "its bits alone", np.zeros(4, np.uint16)),
        case("V4", "its bits as int16", np.zeros(4, np.int16)),
        case("V3", "another shape", BFloat16(np.zeros((2, 2), np.uint16))),
    ],
)
def test_what_is_no_bfloat16_tensor_of_the_layout(rule: str, tensor: Any) -> None:
    with refused(rule) as caught:
        words_of(Layout((TensorSpec("a", (4,), "bfloat16"),)), {"a": tensor})
    assert "'a'" in str(caught.value)


@pytest.mark.rule("V4")
@pytest.mark.parametrize("bits", [np.zeros(2, np.int16), np.zeros(2, np.float16), np.zeros(2, "u4"), [0, 1], 7])
def test_v4_bits_that_are_not_uint16(bits: Any) -> None:
    with refused("V4"):
        BFloat16(bits)


def test_a_repr_shows_no_values() -> None:
    assert repr(BFloat16(np.full((2, 1), 0x3F80, np.uint16))) == "BFloat16(shape=(2, 1))"


def test_a_mean_beyond_bfloat16_is_an_infinity() -> None:
    """A wide clip and a great weight reach it; without a warning."""
    layout = Layout((TensorSpec("a", (2,), "bfloat16"),))
    encoding = VectorEncoding(layout, Numbers(1, 16, 2.0**120, 2**20))
    largest = np.array([reference.value(0x7F7F), -reference.value(0x7F7F)])
    words = np.concatenate(list(encoding.encode({"a": BFloat16.nearest(largest)}, 1, {}, identity_of(2).rounding(0))))
    lanes = encoding.numbers.lanes.unpack(words)
    lanes[:2] = (2 * 32767, 0)
    decoded = encoding.decode(encoding.numbers.lanes.pack(lanes), 1).tensors["a"]
    assert decoded.bits.tolist() == [INFINITY, 0x8000 | INFINITY]
