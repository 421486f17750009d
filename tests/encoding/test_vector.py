"""A whole update to ring words, and the mean back from a sum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.encoding.layout import Layout, TensorSpec
from securefed.encoding.quantize import Numbers
from securefed.encoding.vector import VectorEncoding
from tests.rounds import LAYOUT, encoded, identity_of, spec_of, update_of
from tests.rules import case, refused

NUMBERS = Numbers(4, 16, 0.5, 100)


def encode(encoding: VectorEncoding, tensors: dict[str, np.ndarray], weight: Any, client: int = 2) -> np.ndarray:
    metrics = dict.fromkeys(encoding.layout.metrics, 0.5 * client)
    pieces = encoding.encode(tensors, weight, metrics, identity_of(client).rounding(0))
    return np.concatenate(list(pieces))


@given(
    cohort=st.integers(1, 9),
    bits=st.integers(2, 32),
    clip=st.sampled_from([0.07, 0.5, 3.0]),
    greatest=st.sampled_from([1, 7, 2**32 - 1]),
    data=st.data(),
)
def test_a_sum_decodes_to_the_weighted_mean(
    cohort: int, bits: int, clip: float, greatest: int, data: st.DataObject
) -> None:
    """Each client errs by less than a step of its own, so m clients by m·step·W/Σw; dtypes are float64 here."""
    layout = Layout((TensorSpec("a", (3, 2), "float64"), TensorSpec("b", (), "float64")), ("loss", "hits"))
    encoding = VectorEncoding(layout, Numbers(cohort, bits, clip, greatest))
    survivors = data.draw(st.integers(1, cohort))
    total, weights, exact = np.zeros(encoding.words, "<u8"), 0, np.zeros(7)
    for client in range(1, survivors + 1):
        weight = data.draw(st.integers(1, greatest))
        reach = 1.5 * clip * greatest / weight
        flat = np.array(data.draw(st.lists(st.floats(-reach, reach), min_size=7, max_size=7)))
        tensors = {"a": flat[:6].reshape(3, 2), "b": flat[6].reshape(())}
        total += encode(encoding, tensors, weight, client)
        exact += np.clip(flat * (weight / greatest), -clip, clip) * greatest
        weights += weight
    decoded = encoding.decode(total & encoding.numbers.lanes.ring_mask, survivors)
    mean = np.concatenate([decoded.tensors["a"].ravel(), decoded.tensors["b"].ravel()])
    step = encoding.numbers.step * greatest / weights
    assert np.abs(mean - exact / weights).max() <= survivors * step * (1 + 1e-9)
    assert decoded.weight == weights
    assert set(decoded.metrics) == {"loss", "hits"}


@settings(max_examples=settings().max_examples // 4)
@given(st.integers(-2, 2), st.sampled_from([2, 12, 16, 30]))
def test_vectors_around_the_length_of_a_piece(more: int, bits: int) -> None:
    """The scalars may lie in the last piece, in one of their own, or across two."""
    numbers = Numbers(3, bits, 1.0, 5)
    piece_words = VectorEncoding(LAYOUT, numbers).piece_words
    per_piece = piece_words * numbers.lanes.per_word
    for size in (per_piece + more, per_piece - 2 * numbers.digits + more):
        layout = Layout((TensorSpec("a", (size,), "float64"),), ("loss",))
        encoding = VectorEncoding(layout, numbers)
        values = np.random.default_rng(size).uniform(-1, 1, size)
        pieces = list(encoding.encode({"a": values}, 5, {"loss": 0.25}, identity_of(2).rounding(0)))
        assert all(len(piece) == piece_words for piece in pieces[:-1])
        words = np.concatenate(pieces)
        assert len(words) == encoding.words
        decoded = encoding.decode(words, 1)
        assert np.abs(decoded.tensors["a"] - values).max() <= numbers.step
        assert (decoded.weight, decoded.metrics) == (5, {"loss": 0.25})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", ["C", "F", "strided", "reversed", "read-only"])
def test_arrays_of_any_memory_order_are_read_in_c_order(dtype: str, order: str, form: str) -> None:
    plain = np.random.default_rng(5).uniform(-0.4, 0.4, (4, 6)).astype(dtype)
    array = plain.astype(plain.dtype.newbyteorder(order))
    if form == "F":
        array = np.asfortranarray(array)
    elif form == "strided":
        array = np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3]
    elif form == "reversed":
        array = array[::-1, ::-1].copy()[::-1, ::-1]
    elif form == "read-only":
        array.flags.writeable = False
    layout = Layout((TensorSpec("a", (4, 6), dtype),))
    encoding = VectorEncoding(layout, NUMBERS)
    assert Layout.of({"a": array}) == layout
    words = encode(encoding, {"a": array}, 100)
    assert words.tolist() == encode(encoding, {"a": plain}, 100).tolist()
    assert (array == plain).all(), "the client's own tensor is not written to"
    mean = encoding.decode(words, 1).tensors["a"]
    assert mean.dtype == np.dtype(dtype)
    assert np.abs(mean.astype("<f8") - plain.astype("<f8")).max() <= 2 * NUMBERS.step + 2e-4 * (dtype == "float16")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_signed_zeros_and_subnormals_are_accepted(dtype: str) -> None:
    least = np.finfo(dtype).smallest_subnormal
    values = np.array([-0.0, 0.0, least, -least], dtype)
    encoding = VectorEncoding(Layout((TensorSpec("a", (4,), dtype),)), NUMBERS)
    lanes = NUMBERS.lanes.unpack(encode(encoding, {"a": values}, 100))[:4].astype(np.int64) - NUMBERS.greatest
    assert lanes[:2].tolist() == [0, 0]
    assert np.abs(lanes).max() <= 1


def test_scalar_and_empty_tensors_have_their_place() -> None:
    layout = Layout((TensorSpec("none", (0, 3), "float32"), TensorSpec("one", (), "float32")))
    words = encode(VectorEncoding(layout, NUMBERS), {"none": np.zeros((0, 3), "f4"), "one": np.float32(0.25)[()]}, 100)
    decoded = VectorEncoding(layout, NUMBERS).decode(words, 1)
    assert decoded.tensors["none"].shape == (0, 3)
    assert float(decoded.tensors["one"]) == pytest.approx(0.25, abs=NUMBERS.step)


def test_the_same_update_in_the_same_round_encodes_to_the_same_words() -> None:
    """Whatever the session; another round or another client rounds otherwise."""
    one = encoded(spec_of(), 2).tolist()
    assert one == encoded(replace(spec_of(), nonce=bytes(32)), 2).tolist()
    assert one != encoded(replace(spec_of(), round=8), 2).tolist()


def total(lanes: dict[int, int] | None = None, weight: int = 30, survivors: int = 3) -> tuple[np.ndarray, int]:
    """A sum of three clients, with some lanes set to other values."""
    used = LAYOUT.size + 2 * NUMBERS.digits
    values = np.zeros(NUMBERS.words(LAYOUT.size, 2) * NUMBERS.lanes.per_word, "<u8")
    values[: LAYOUT.size] = survivors * NUMBERS.greatest
    for at in range(NUMBERS.digits):
        values[LAYOUT.size + at] = weight >> (15 * at) & 0x7FFF
        values[LAYOUT.size + NUMBERS.digits + at] = survivors * 2**62 >> (15 * at) & 0x7FFF
    assert used < len(values), "there is a padding lane"
    for lane, value in (lanes or {}).items():
        values[lane % used if lane < 0 else lane] = value
    return NUMBERS.lanes.pack(values), used


def test_a_sum_within_its_bounds_is_decoded() -> None:
    decoded = VectorEncoding(LAYOUT, NUMBERS).decode(total()[0], 3)
    assert not decoded.tensors["lora_A"].any()
    assert (decoded.weight, decoded.metrics) == (30, {"loss": 0.0})


BOUND = 3 * 2 * NUMBERS.greatest


@pytest.mark.parametrize(
    ("rule", "lanes", "weight"),
    [
        case("V11", "first lane over its bound", {0: BOUND + 1}, 30),
        case("V11", "last parameter over its bound", {LAYOUT.size - 1: BOUND + 1}, 30),
        case("V11", "a digit over its bound", {-1: BOUND + 1}, 30),
        case("V11", "1 in the first padding lane", {LAYOUT.size + 2 * NUMBERS.digits: 1}, 30),
        case("V11", "no weight", {}, 0),
        case("V11", "less than 1 each", {}, 2),
        case("V11", "more than W each", {}, 301),
        case("V11", "a weight in a high digit", {LAYOUT.size + 4: 1}, 30),
    ],
)
def test_v11_sums_that_no_inputs_have(rule: str, lanes: dict[int, int], weight: int) -> None:
    words, _ = total(lanes, weight)
    with refused(rule):
        VectorEncoding(LAYOUT, NUMBERS).decode(words, 3)


@pytest.mark.rule("V11")
def test_v11_noise_is_refused() -> None:
    """A mask that is left on: one lane over its bound is enough, and 2^18 − 1 over 3·2Q leaves every lane a quarter."""
    encoding = VectorEncoding(LAYOUT, NUMBERS)
    rng = np.random.default_rng(1)
    for _ in range(100):
        with refused("V11"):
            encoding.decode(rng.integers(0, 2**64, encoding.words, "<u8") & NUMBERS.lanes.ring_mask, 3)


def test_the_update_of_the_shared_round_decodes() -> None:
    spec, update = spec_of(), update_of(2)
    decoded = VectorEncoding(LAYOUT, spec.numbers).decode(encoded(spec, 2), 1)
    assert decoded.weight == update.weight
    assert decoded.metrics["loss"] == pytest.approx(update.metrics["loss"], abs=1e-6)


def test_a_mean_beyond_its_dtype_is_an_infinity() -> None:
    """As the text says, and without a warning: a small weight makes the reach of a mean W times the clip."""
    layout = Layout((TensorSpec("a", (2,), "float16"),))
    encoding = VectorEncoding(layout, Numbers(2, 16, 0.5, 2**20))
    words = encode(encoding, {"a": np.array([60_000, -60_000], "f2")}, 1)
    lanes = encoding.numbers.lanes.unpack(words)
    lanes[:2] = (2 * 32767, 0)
    total = encoding.numbers.lanes.pack(lanes)
    assert encoding.decode(total, 1).tensors["a"].tolist() == [np.inf, -np.inf]
