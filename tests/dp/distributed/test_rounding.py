"""Whatever a client's vector is, its integers before the noise are within their bounds; their mean is the vector."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.distributed import Mechanism, Parameters
from securefed.dp.distributed.rotation import Signs
from securefed.dp.distributed.rounding import REPEATED, l1_bound, l2_squared_bound, round_at_random, sum_of_squares
from tests.dp.distributed.cases import DIRECTIONS, SEED, Listed, direction, mechanism, source
from tests.rounds import seed
from tests.rules import refused


def assert_within(ours: Mechanism, vector: np.ndarray, name: str) -> None:
    """The two sensitivities, as the accountant is told them."""
    p = ours.parameters
    z = ours.rounded(vector, source(name), seed(name))
    noise, _ = p.planned
    assert noise.relation == "zero-out"
    assert int(z @ z) <= p.l2_squared
    assert math.sqrt(int(z @ z)) <= noise.l2
    assert int(np.abs(z).sum()) <= noise.l1
    assert int(np.abs(z).max()) <= p.signal_bound


@given(
    kind=st.sampled_from(DIRECTIONS),
    dimension=st.integers(1, 700),
    grid=st.integers(1, 2000),
    norm=st.sampled_from([0.0, 1e-300, 1e-3, 0.5, 1 - 2.0**-53, 1.0, 1 + 2.0**-52, 1.5, 1e100]),
    block=st.sampled_from([1, 4, 64, 2**14]),
    single=st.booleans(),
    at=st.integers(0, 2**31),
)
def test_any_update_stays_within_the_bounds(
    kind: str, dimension: int, grid: int, norm: float, block: int, single: bool, at: int
) -> None:
    ours = mechanism(dimension=dimension, grid=grid, block=block, bits=22, variance=1.0)
    vector = direction(kind, dimension, at) * (norm * ours.parameters.clip)
    if single:
        with np.errstate(over="ignore"):
            vector = vector.astype(np.float32)
        if not np.isfinite(vector).all():
            vector = np.where(np.isfinite(vector), vector, np.float32(3e38))
    assert_within(ours, vector, f"{kind} {at}")


@given(values=st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=80), at=st.integers(0, 99))
def test_any_numbers_stay_within_the_bounds(values: list[float], at: int) -> None:
    assert_within(mechanism(dimension=len(values), grid=11), np.array(values), f"any {at}")


@pytest.mark.rule("N8")
def test_a_vector_that_rounding_makes_longer_is_rounded_again() -> None:
    """Halves just above whole numbers: all of them rounded up would be too long, and such words are not taken."""
    ours = mechanism(dimension=150, grid=500, block=64)
    sign = 1.0 if ours.rounded(spike(150), source("sign"), SEED)[0] > 0 else -1.0
    length = ours.length
    up, down = [2**32 - 1] * length, [0] * length
    z = ours.rounded(sign * spike(150), Listed(up + up + down), SEED)
    assert set(z[:64].tolist()) == {62}
    with refused("N8"):
        ours.rounded(sign * spike(150), Listed([2**32 - 1]), SEED)


def spike(dimension: int) -> np.ndarray:
    return np.eye(1, dimension)[0] * 0.5


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("grid", [3, 40, 1000])
def test_a_repetition_is_rare(kind: str, grid: int) -> None:
    """None in 200 updates of full length; β = 2^-20 allows one in a million."""
    ours = mechanism(dimension=500, grid=grid, bits=16)
    for at in range(200):
        vector = direction(kind, 500, at) * ours.parameters.clip
        used = source(f"rare {at}")
        ours.rounded(vector, used, seed(f"rare {at}"))
        assert repr(used) == f"Source({4 * ours.length} bytes used)"


@given(length=st.integers(1, 10**8), grid=st.integers(1, 2**24))
def test_the_bounds_are_those_of_the_paper(length: int, grid: int) -> None:
    squared = l2_squared_bound(grid, length)
    assert grid**2 <= squared <= (grid + math.sqrt(length)) ** 2 < 2**53
    likely = grid**2 + length / 4 + math.sqrt(-2 * math.log(REPEATED)) * (grid + math.sqrt(length) / 2)
    assert squared == math.floor(min(likely, (grid + math.sqrt(length)) ** 2))
    l1 = l1_bound(squared, length)
    assert l1 == squared or (l1 - 1) ** 2 < squared * length <= l1**2


@given(
    st.lists(st.integers(-9, 9), min_size=1, max_size=30),
)
def test_the_l1_bound_holds_for_any_integers(z: list[int]) -> None:
    squared = sum(i * i for i in z)
    if squared:
        assert sum(map(abs, z)) <= l1_bound(squared, len(z))


def test_an_update_that_is_made_for_the_signs_is_clamped_before_the_noise() -> None:
    """The signs are public: the range holds for a vector that they do not flatten, too."""
    ours = mechanism(dimension=2**14, block=2**14, grid=1000)
    p = ours.parameters
    (piece,) = p.rotation.pieces()
    spike = np.zeros(2**14)
    spike[[5, 6]] = 0.4, -0.3
    vector = p.rotation.back(spike, piece, Signs(SEED, ours.length), 1.0)
    z = ours.rounded(vector, source("made"), SEED)
    assert p.signal_bound < 100
    assert z[[5, 6]].tolist() == [p.signal_bound, -p.signal_bound]
    assert np.abs(np.delete(z, [5, 6])).max() <= 1


def test_rounding_is_to_a_neighbour_and_unbiased() -> None:
    rng = np.random.default_rng(5)
    y = np.repeat(rng.uniform(-3, 3, 50), 4000)
    z = round_at_random(y, rng.integers(0, 2**32, len(y), np.uint32))
    assert (np.abs(z - y) < 1).all()
    assert (z == np.rint(z)).all()
    means, fractions = z.reshape(50, -1).mean(1) - y.reshape(50, -1)[:, 0], y.reshape(50, -1)[:, 0] % 1
    deviation = np.sqrt(fractions * (1 - fractions) / 4000) + 1e-9
    assert np.abs(means / deviation).max() < 4.5


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=50))
def test_squares_of_whole_numbers_add_up_without_error(values: list[int]) -> None:
    assert sum_of_squares(np.array(values, np.float64)) == sum(v * v for v in values)


def test_squares_just_below_the_greatest_sum_are_exact() -> None:
    many = np.full(2**15, 2.0**18 + 1)
    many[0] = 1.0
    assert sum_of_squares(many) == (2**15 - 1) * (2**18 + 1) ** 2 + 1 < 2**53


def test_a_zero_update_is_zero_whatever_is_drawn() -> None:
    """Or the neighbouring relation would not be what it is."""
    for word in (0, 2**32 - 1):
        assert not mechanism().rounded(np.zeros(300), Listed([word]), SEED).any()


def test_the_greatest_grid_keeps_sums_of_squares_exact() -> None:
    p = Parameters(1, 1, 0, 10**9, 1.0, 1, 22, 1.0)
    assert (2**24 + math.sqrt(p.length)) ** 2 < 2**53
    assert l2_squared_bound(2**24, 2**40) < 2**53
