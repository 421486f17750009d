"""Clipping of whole updates: what leaves is within its bound, in the numbers that leave."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from securefed.dp.central.groups import Groups
from securefed.dp.central.update_clip import UpdateClip, rounded_sensitivity
from securefed.encoding.quantize import Numbers
from securefed.encoding.tensors import BFloat16, in_floats
from tests.rules import case, refused

NAMES = ("model.embed", "model.layers.0.q", "model.layers.0.k", "model.layers.1.q", "model.layers.10.q", "head")
Bounds = st.floats(-100, 100).map(lambda e: 2.0**e)


def squares(*tensors: Any) -> Fraction:
    """Σx² over the reals."""
    return sum((Fraction(float(x)) ** 2 for tensor in tensors for x in np.ravel(in_floats(tensor))), Fraction())


def random_update(dtype: str, scale: float, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    drawn = {name: rng.standard_normal((3, at + 1)) * scale for at, name in enumerate(NAMES)}
    return {n: BFloat16.nearest(x) if dtype == "bfloat16" else x.astype(dtype) for n, x in drawn.items()}


def test_groups_by_tensor_layer_and_all_together() -> None:
    layers = Groups.each_layer(NAMES)
    assert layers.tensors == {
        "outside layers": ("model.embed", "head"),
        "model.layers.0": ("model.layers.0.q", "model.layers.0.k"),
        "model.layers.1": ("model.layers.1.q",),
        "model.layers.10": ("model.layers.10.q",),
    }
    assert Groups.each_tensor(NAMES).names == NAMES
    assert Groups.flat(NAMES).tensors == {"all": NAMES}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("kind", [Groups.flat, Groups.each_layer, Groups.each_tensor])
def test_every_group_is_within_its_bound(dtype: str, scale: float, kind: Any) -> None:
    update = random_update(dtype, scale)
    clip = UpdateClip(kind(NAMES), 0.7)
    clipped = clip.clip(update)
    for within, (group, names) in zip(clipped.within, clip.groups.tensors.items(), strict=True):
        before, after = squares(*(update[n] for n in names)), squares(*(clipped.tensors[n] for n in names))
        bound = Fraction(clip.bounds[group])
        assert after <= bound**2
        assert within == (before <= (bound * Fraction(1 - 2.0**-20)) ** 2)
        if within:
            assert all(clipped.tensors[n] is update[n] for n in names)
        else:
            # Not shorter than it needs to be, but for half a unit in the last place of a narrow dtype.
            assert after > (bound * Fraction(0.99 if dtype in ("bfloat16", "float16") else 1 - 2.0**-18)) ** 2
    assert squares(*clipped.tensors.values()) <= Fraction(clip.total) ** 2
    assert {n: (x.dtype, x.shape) for n, x in clipped.tensors.items()} == {
        n: (x.dtype, x.shape) for n, x in update.items()
    }


@given(
    hnp.arrays(np.float64, st.integers(1, 6), elements=st.floats(allow_nan=False, allow_infinity=False)),
    hnp.arrays(np.float32, st.integers(1, 6), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)),
    Bounds,
)
def test_any_finite_update_is_within_its_bound(a: np.ndarray, b: np.ndarray, bound: float) -> None:
    """Greatest doubles, subnormals and zeros among them."""
    clip = UpdateClip(Groups.flat(("a", "b")), bound)
    with np.errstate(all="raise", under="ignore"):
        clipped = clip.clip({"a": a, "b": b})
    assert squares(*clipped.tensors.values()) <= Fraction(bound) ** 2
    assert clipped.within[0] == (squares(a, b) <= Fraction(bound * (1 - 2.0**-20)) ** 2)


@given(
    hnp.arrays(np.float32, (2, 5), elements=st.floats(-3, 3, width=32)),
    hnp.arrays(np.float32, 5, elements=st.floats(-3, 3, width=32)),
)
def test_a_sum_moves_by_no_more_than_the_total_when_a_client_is_left_out(others: np.ndarray, one: np.ndarray) -> None:
    clip = UpdateClip(Groups.each_tensor(("a", "b")), {"a": 0.5, "b": 0.25})
    named = [{"a": x[:3], "b": x[3:]} for x in (*others, one)]
    sums = [
        np.sum([np.concatenate(list(clip.clip(u).tensors.values())).astype(np.float64) for u in us], axis=0)
        for us in (named, named[:-1])
    ]
    assert np.linalg.norm(sums[0] - sums[1]) <= clip.total * (1 + 1e-12)
    assert clip.total == pytest.approx(math.hypot(0.5, 0.25))


@pytest.mark.parametrize("kind", [Groups.flat, Groups.each_layer, Groups.each_tensor])
def test_a_total_is_the_total_of_its_groups(kind: Any) -> None:
    clip = UpdateClip(kind(NAMES), 0.7)
    assert clip.total == pytest.approx(0.7, rel=1e-12)
    assert squares(list(clip.bounds.values())) <= Fraction(clip.total) ** 2
    assert len(set(clip.bounds.values())) == 1


@pytest.mark.parametrize("scale", [2.0**-99, 2.0**-60, 1.0, 2.0**60, 2.0**99, 2.0**500, 2.0**1000])
@pytest.mark.parametrize("bound", [2.0**-100, 1e-9, 1.0, 2.0**100])
def test_bounds_hold_at_any_scale(scale: float, bound: float) -> None:
    update = {"a": np.array([scale, -scale / 2])}
    clipped = UpdateClip(Groups.flat(update), bound).clip(update)
    assert clipped.within[0] == (scale * math.sqrt(1.25) < bound)
    wanted = min(bound, scale * math.sqrt(1.25))
    assert squares(clipped.tensors["a"]) <= Fraction(bound) ** 2
    assert float(np.linalg.norm(clipped.tensors["a"])) == pytest.approx(wanted, rel=2e-6)


def test_directions_are_kept() -> None:
    update = {"a": np.array([3.0, 4.0], np.float32)}
    clipped = UpdateClip(Groups.flat(update), 1.0).clip(update)
    np.testing.assert_allclose(clipped.tensors["a"], [0.6, 0.8], rtol=2e-6)


def test_tensors_longer_than_a_piece() -> None:
    update = {"a": np.ones((3, 2**16 + 5), np.float32), "b": np.ones(7, np.float32)}
    clipped = UpdateClip(Groups.flat(update), 2.0).clip(update)
    size = 3 * (2**16 + 5) + 7
    np.testing.assert_allclose(clipped.tensors["a"], np.full_like(update["a"], 2 / math.sqrt(size)), rtol=3e-6)
    assert sum(float((t.astype(np.float64) ** 2).sum()) for t in clipped.tensors.values()) <= 4


def test_a_strided_big_endian_tensor() -> None:
    values = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    clipped = UpdateClip(Groups.flat(["a"]), 1.0).clip({"a": values})
    np.testing.assert_allclose(clipped.tensors["a"], values / np.linalg.norm(values), rtol=2e-6)


@pytest.mark.parametrize(
    ("rule", "bounds"),
    [
        case("U1", "nan", float("nan")),
        case("U1", "zero", 0.0),
        case("U1", "negative", -1.0),
        case("U1", "infinite", float("inf")),
        case("U1", "too small", 2.0**-101),
        case("U1", "too great", 2.0**102),
        case("U1", "missing group", {"a": 1.0}),
        case("U1", "unknown group", {"a": 1.0, "b": 1.0, "c": 1.0}),
        case("U1", "one bad bound", {"a": 1.0, "b": float("nan")}),
    ],
)
def test_bounds_refused(rule: str, bounds: Any) -> None:
    with refused(rule):
        UpdateClip(Groups.each_tensor(("a", "b")), bounds)


@pytest.mark.rule("U1")
def test_no_tensors_are_refused() -> None:
    with refused("U1"):
        Groups.flat([])


@pytest.mark.parametrize(
    ("rule", "update"),
    [
        case("U2", "missing tensor", {"a": np.zeros(2)}),
        case("U2", "unknown tensor", {"a": np.zeros(2), "b": np.zeros(2), "c": np.zeros(2)}),
        case("V1", "nan", {"a": np.zeros(2), "b": np.array([0, np.nan])}),
        case("V1", "infinity", {"a": np.zeros(2), "b": np.array([0, -np.inf], np.float32)}),
        case("V1", "signalling bfloat16", {"a": np.zeros(2), "b": BFloat16(np.array([0x7F81], np.uint16))}),
        case("V4", "integers", {"a": np.zeros(2), "b": np.zeros(2, np.int64)}),
    ],
)
def test_updates_refused(rule: str, update: dict[str, Any]) -> None:
    with refused(rule) as caught:
        UpdateClip(Groups.each_tensor(("a", "b")), 1.0).clip(update)
    if rule == "V1":
        assert "'b'" in str(caught.value)


@given(st.integers(2, 20), st.floats(0.01, 10), st.integers(0, 2**32))
def test_rounding_to_integers_moves_an_update_by_less_than_accounted(bits: int, clip: float, seed: int) -> None:
    """The encoding's stochastic rounding, against the sensitivity that is claimed behind it."""
    numbers, rng = Numbers(1, bits, clip), np.random.default_rng(seed)
    update = {"a": rng.standard_normal(50) * clip / 7}
    bound = float(np.linalg.norm(update["a"])) * 0.9
    clipped = UpdateClip(Groups.flat(update), bound).clip(update).tensors["a"]
    words = numbers.quantize(clipped.copy(), 1, rng.integers(0, 2**32, 50, dtype=np.uint32))
    rounded = (words.astype(np.int64) - numbers.greatest) * numbers.step
    assert np.linalg.norm(rounded) <= rounded_sensitivity(bound, 50, numbers.step)


def test_rounding_can_go_beyond_the_clip_bound() -> None:
    """Why it is accounted for: a coordinate just above a step may go a whole step up, all of them together."""
    numbers = Numbers(1, 8, 1.0)
    update = np.full(10_000, numbers.step * 1.01 - 1e-9)
    bound = float(np.linalg.norm(update))
    words = numbers.quantize(update.copy(), 1, np.full(10_000, 2**32 - 1, np.uint32))
    norm = float(np.linalg.norm((words.astype(np.int64) - numbers.greatest) * numbers.step))
    assert 1.9 * bound < norm <= rounded_sensitivity(bound, 10_000, numbers.step)
    assert rounded_sensitivity(bound, 10_000, 0.0) == pytest.approx(bound)


@given(st.integers(1, 50), st.integers(0, 2**32))
def test_holding_a_sum_as_float32_moves_it_by_less_than_accounted(clients: int, seed: int) -> None:
    """Two neighbouring sums, one client's vector of norm C apart, each rounded by itself."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-0.5, 0.5, (clients, 200))
    total, fewer = values.sum(axis=0), values[1:].sum(axis=0)
    bound = float(np.linalg.norm(values[0]))
    held = [x.astype(np.float32).astype(np.float64) for x in (total, fewer)]
    moved = float(np.linalg.norm(held[0] - held[1]))
    assert moved <= rounded_sensitivity(bound, 200, clients * 0.5 * 2.0**-23)
