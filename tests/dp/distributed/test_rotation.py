"""The rotation keeps norms, is undone by its inverse, and flattens every vector as far as is claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.distributed import Rotation
from securefed.dp.distributed.rotation import Signs, hadamard
from tests.dp.distributed.cases import DIRECTIONS, SEED, direction
from tests.rounds import seed
from tests.rules import refused

Blocks = st.integers(0, 16).map(lambda power: 2**power)


def forward(rotation: Rotation, values: np.ndarray, signs: Signs, scale: float = 1.0) -> np.ndarray:
    pieces = [rotation.forward(values[p.start : p.stop], p, signs, scale) for p in rotation.pieces()]
    return np.concatenate(pieces)


def back(rotation: Rotation, values: np.ndarray, signs: Signs, scale: float = 1.0) -> np.ndarray:
    return np.concatenate([rotation.back(values[p.start : p.stop], p, signs, scale) for p in rotation.pieces()])


@pytest.mark.parametrize("size", [2**power for power in range(17)])
def test_the_transform_is_the_matrix_of_sylvester(size: int) -> None:
    """H[i, j] = (−1)^(number of ones that i and j share), whatever the factors it is computed by."""
    rows = np.random.default_rng(size).normal(size=(2, size))
    found = hadamard(rows.copy())
    for i in {0, 1 % size, size // 2, size - 1}:
        column = np.array([1 - 2 * ((i & j).bit_count() % 2) for j in range(size)])
        np.testing.assert_allclose(found[:, i], rows @ column, rtol=0, atol=1e-9 * size)
    np.testing.assert_allclose(hadamard(found), rows * size, rtol=0, atol=1e-9 * size)


@given(dimension=st.integers(1, 10**9), block=Blocks)
def test_blocks_cover_a_vector_with_little_padding(dimension: int, block: int) -> None:
    rotation = Rotation(dimension, block)
    runs = list(rotation.runs())
    sizes = [run.size for run in runs]
    assert sizes == sorted(set(sizes), reverse=True)
    assert all(size & (size - 1) == 0 and size <= block for size in sizes)
    assert [run.start for run in runs] == [0, *(run.stop for run in runs[:-1])]
    assert runs[-1].stop == rotation.length
    assert rotation.smallest == sizes[-1]
    padding = rotation.length - dimension
    assert 0 <= padding < max(1, dimension / 64)
    assert sizes[-1] >= min(block, 2 ** math.floor(math.log2(max(1, dimension // 64))))


@given(dimension=st.integers(1, 5000), block=Blocks, number=st.integers(0, 2**32))
def test_a_rotation_keeps_norms_and_is_undone(dimension: int, block: int, number: int) -> None:
    rotation = Rotation(dimension, block)
    values, signs = np.random.default_rng(number).normal(size=dimension), Signs(seed(str(number)), rotation.length)
    rotated = forward(rotation, values, signs, 3.0)
    assert len(rotated) == rotation.length
    assert np.linalg.norm(rotated) == pytest.approx(3 * np.linalg.norm(values), rel=1e-12)
    undone = back(rotation, rotated, signs, 1 / 3)
    np.testing.assert_allclose(undone[:dimension], values, rtol=0, atol=1e-12 * np.abs(values).max())
    np.testing.assert_allclose(undone[dimension:], 0, rtol=0, atol=1e-12 * np.abs(values).max())


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("dimension", [64, 1000, 40_000])
def test_no_vector_stays_uneven(kind: str, dimension: int) -> None:
    """Over 50 seeds no coordinate is beyond the bound for 2^-20."""
    rotation = Rotation(dimension)
    values, bound = direction(kind, dimension, 17), rotation.flatness(2.0**-20)
    greatest = [np.abs(forward(rotation, values, Signs(seed(f"flat {at}"), rotation.length))).max() for at in range(50)]
    assert max(greatest) <= bound


def test_a_spike_in_the_smallest_block_is_the_worst_case() -> None:
    rotation = Rotation(40_000)
    worst = direction("spike", 40_000, 39_999)
    rotated = forward(rotation, worst, Signs(SEED, rotation.length))
    assert np.abs(rotated).max() == pytest.approx(rotation.smallest**-0.5, rel=1e-12)
    assert np.count_nonzero(rotated) == rotation.smallest


def test_signs_differ_from_seed_to_seed_and_are_balanced() -> None:
    rotation = Rotation(2**16)
    (piece,) = [p for p in rotation.pieces() if p.start == 0]
    first, second = (Signs(seed(name), rotation.length).of(piece).reshape(-1) for name in ("one", "two"))
    assert abs(first.mean()) < 0.05
    assert abs((first * second).mean()) < 0.05


@pytest.mark.rule("N5")
@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with refused("N5"):
        Signs(bytes(length), 10)
