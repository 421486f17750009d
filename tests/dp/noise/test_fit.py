"""Every sampler follows its law; samplers that nearly do are caught at the same sample sizes."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import numpy.typing as npt
import pytest

from protocols.vector_files import seed
from securefed.dp.noise import Source, discrete_gaussian, gaussian, skellam
from securefed.dp.noise.cells import Cells
from securefed.dp.noise.discrete_gaussian import DiscreteGaussian
from securefed.dp.noise.law import Integers, rational
from tests.dp.noise.fit import (
    blamed,
    chi_square,
    dependence,
    gaussian_law,
    normal_bins,
    skellam_law,
)

SEEDS = 6
SIZE = 2**20

Sampler = Callable[[Source, int], Integers]

SMALL = [
    *((f"gaussian {s}", lambda source, n, s=s: discrete_gaussian(source, s, n), gaussian_law(s))
      for s in (0.3, 1, 10, 200, 1000)),
    *((f"skellam {v}", lambda source, n, v=v: skellam(source, v, n), skellam_law(v))
      for v in (0.01, 0.09, 1, 100, 200, 16000, 17000, 40000, 10**6)),
]  # fmt: skip
LARGE = [
    *((f"gaussian 2^{b}", lambda source, n, b=b: discrete_gaussian(source, 2.0**b, n), 2.0**b) for b in (16, 24, 40)),
    *((f"skellam 2^{2 * b}", lambda source, n, b=b: skellam(source, 4.0**b, n), 2.0**b) for b in (16, 24, 40)),
]  # fmt: skip


def drawn(sampler: Sampler, name: str) -> list[Integers]:
    return [sampler(Source(seed(f"fit/{name}/{at}")), SIZE) for at in range(SEEDS)]


def against_law(samples: list[Integers], law: npt.NDArray[np.float64]) -> list[float]:
    """χ² of each seed and of all together, and their means and variances."""
    k = len(law) // 2
    counts = [np.bincount(np.clip(values, -k, k) + k, minlength=len(law)).astype(float) for values in samples]
    shown = [chi_square(seen, law * SIZE) for seen in counts]
    together, size = sum(counts), SIZE * len(samples)
    shown.append(chi_square(together, law * size))
    x = np.arange(-k, k + 1, dtype=float)
    second, fourth = (law * x**2).sum(), (law * x**4).sum()
    shown.append(float((together * x).sum() / size / sqrt(second / size)))
    shown.append(float(((together * x**2).sum() / size - second) / sqrt((fourth - second**2) / size)))
    eighth = (law * x**8).sum()
    shown.append(float(((together * x**4).sum() / size - fourth) / sqrt((eighth - fourth**2) / size)))
    # what lies beyond 3 and 4 deviations: where tails are put together.
    for beyond in (3, 4):
        far = np.abs(x) > beyond * sqrt(second)
        hoped = law[far].sum() * size
        if hoped > 50:
            shown.append(float((together[far].sum() - hoped) / sqrt(hoped)))
    return shown


def against_normal(samples: list[npt.NDArray[np.number]], deviation: float) -> list[float]:
    """The same where the grid is so fine that the normal law is the law: relative differences are below 2^-30."""
    edges = np.linspace(-4.8, 4.8, 121)
    law = normal_bins(edges)
    scaled = [values / deviation for values in samples]
    counts = [np.bincount(np.searchsorted(edges, values, "right"), minlength=len(law)).astype(float)
              for values in scaled]  # fmt: skip
    shown = [chi_square(seen, law * SIZE) for seen in counts]
    shown.append(chi_square(sum(counts), law * SIZE * len(samples)))
    together = np.concatenate(scaled).astype(np.float64)
    shown.append(float(together.mean() * sqrt(len(together))))
    shown.append(float((np.square(together).mean() - 1) * sqrt(len(together) / 2)))
    shown.append(float((together**4 - 3).mean() * sqrt(len(together) / 96)))
    return shown


def low_bits(samples: list[Integers]) -> list[float]:
    """The last four bits of values from a fine grid are uniform."""
    return [chi_square(np.bincount(values & 15, minlength=16).astype(float), np.full(16, SIZE / 16))
            for values in samples]  # fmt: skip


def neighbours(samples: list[npt.NDArray[np.number]]) -> list[float]:
    return [z for values in samples[:2] for lag in (1, 2, 3, 32768) for z in dependence(values, lag)]


@pytest.mark.parametrize(("name", "sampler", "law"), SMALL, ids=[name for name, *_ in SMALL])
def test_integers(name: str, sampler: Sampler, law: npt.NDArray[np.float64]) -> None:
    samples = drawn(sampler, name)
    assert not blamed(against_law(samples, law) + neighbours(samples))


@pytest.mark.parametrize(("name", "sampler", "deviation"), LARGE, ids=[name for name, *_ in LARGE])
def test_wide_integers(name: str, sampler: Sampler, deviation: float) -> None:
    samples = drawn(sampler, name)
    assert not blamed(against_normal(samples, deviation) + low_bits(samples) + neighbours(samples))


def test_floats() -> None:
    samples = [gaussian(Source(seed(f"fit/floats/{at}")), SIZE) for at in range(SEEDS)]
    assert not blamed(against_normal(samples, 1.0) + neighbours(samples))


def test_a_sum_of_skellam_values_is_one() -> None:
    """Closed under sums: what the noise of clients who add theirs before masking relies on."""
    parts = [drawn(lambda s, n: skellam(s, 2.5, n), f"part {at}") for at in range(4)]
    sums = [sum(values) for values in zip(*parts, strict=True)]
    assert not blamed(against_law(sums, skellam_law(10.0)))


def rounded_normal(sigma: float) -> Sampler:
    return lambda source, n: np.rint(gaussian(source, n) * sigma).astype(np.int64)


def tampered(sigma: float, change: Callable[[Cells], None]) -> Sampler:
    cells = Cells(DiscreteGaussian(rational("sigma", sigma) ** 2))
    change(cells)
    return cells.draw


def move_cells(cells: Cells) -> None:
    """One in 16 table entries a step to the right."""
    cells._starts[::16] += 1


def drop_tails(cells: Cells) -> None:
    """Tail cells are empty: nothing beyond R."""
    cells.table.first_empty = cells.table.first_tail


def double_tails(cells: Cells) -> None:
    """A tail block counts twice as likely as it is."""
    cells.table.height *= 2


def take_open_cells(cells: Cells) -> None:
    """Whatever is proposed is taken."""
    cells._taken = lambda source, proposed: np.ones(len(proposed.x), bool)  # type: ignore[method-assign]


MUTANTS = [
    ("rounded normal 0.3", rounded_normal(0.3), gaussian_law(0.3)),
    ("rounded normal 1", rounded_normal(1), gaussian_law(1)),
    ("rounded normal 3", rounded_normal(3), gaussian_law(3)),
    ("moved entries", tampered(10, move_cells), gaussian_law(10)),
    ("no tails", tampered(10, drop_tails), gaussian_law(10)),
    ("no tails, wide", tampered(1000, drop_tails), gaussian_law(1000)),
    ("open cells too likely", tampered(10, double_tails), gaussian_law(10)),
    ("open cells always taken", tampered(200, take_open_cells), gaussian_law(200)),
    ("Gaussian for Skellam", lambda s, n: discrete_gaussian(s, 1.0, n), skellam_law(1.0)),
    ("Gaussian for Skellam, 25", lambda s, n: discrete_gaussian(s, 5, n), skellam_law(25.0)),
    ("one Poisson too many", lambda s, n: np.abs(skellam(s, 9.0, n)), skellam_law(9.0)),
    ("1 % too narrow", lambda s, n: discrete_gaussian(s, 9.9, n), gaussian_law(10)),
    ("0.2 % too wide", lambda s, n: discrete_gaussian(s, 10.02, n), gaussian_law(10)),
]


@pytest.mark.parametrize(("name", "mutant", "law"), MUTANTS, ids=[name for name, *_ in MUTANTS])
def test_what_is_nearly_right_is_caught(name: str, mutant: Sampler, law: npt.NDArray[np.float64]) -> None:
    assert blamed(against_law(drawn(mutant, name), law))


@pytest.mark.parametrize(
    ("name", "deviation", "change"),
    [
        ("too few uniform bits", 2.0**24, lambda x: x & ~np.int64(1)),
        ("a wrong deviation", 2.0**24, lambda x: (x * 1.002).astype(np.int64)),
        ("a shift", 2.0**24, lambda x: x + 2**16),
        ("cut at 4", 2.0**24, lambda x: np.clip(x, -(2**26), 2**26)),
        ("every batch like the one before", 2.0**24, lambda x: np.tile(x[:32768], len(x) // 32768)),
    ],
)
def test_what_is_nearly_normal_is_caught(name: str, deviation: float, change: Callable[[Integers], Integers]) -> None:
    samples = [change(values) for values in drawn(lambda s, n: discrete_gaussian(s, deviation, n), name)]
    assert blamed(against_normal(samples, deviation) + low_bits(samples) + neighbours(samples))
