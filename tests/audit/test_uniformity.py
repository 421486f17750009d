"""The statistics: what they accept and reject, and that their bounds are bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from securefed.audit.uniformity import FALSE_ALARM, LEAST_BYTES, TESTS, chi_square_bounds, not_uniform, told_apart

RUNS, BYTES = 16, LEAST_BYTES // 16


def noise(seed: int) -> list[bytes]:
    generator = np.random.default_rng(seed)
    return [generator.bytes(BYTES) for _ in range(RUNS)]


def changed(samples: list[bytes], change: object) -> list[bytes]:
    rows = np.array([np.frombuffer(sample, np.uint8) for sample in samples])
    return [row.tobytes() for row in change(rows)]  # type: ignore[operator]


def test_noise_is_accepted() -> None:
    assert all(not_uniform(noise(seed)) is None for seed in range(50))
    assert all(told_apart(b"".join(noise(seed)), b"".join(noise(seed + 100))) is None for seed in range(50))


WEAK = {
    "zeros": np.zeros_like,
    "the same in every run": lambda rows: np.broadcast_to(rows[0], rows.shape),
    "the same but for a counter": lambda rows: rows[0] + np.arange(RUNS, dtype=np.uint8)[:, None],
    "one byte in ten in clear": lambda rows: np.where(np.arange(BYTES) % 10 == 0, np.uint8(7), rows),
    "a bit that is set too often": lambda rows: np.where(np.arange(BYTES) % 8 == 0, rows | 4, rows),
    "each value equally often": lambda rows: np.arange(rows.size, dtype=np.uint8).reshape(rows.shape),
    "a period of sixteen bytes": lambda rows: np.tile(rows[:, :16], BYTES // 16),
}


@pytest.mark.parametrize("change", WEAK.values(), ids=WEAK)
def test_what_is_not_noise_is_rejected(change: object) -> None:
    assert all(not_uniform(changed(noise(seed), change)) is not None for seed in range(5))


def test_what_follows_the_input_is_told_apart() -> None:
    one = b"".join(noise(0))
    assert told_apart(one, b"".join(changed(noise(1), WEAK["one byte in ten in clear"]))) is not None


def test_too_little_is_not_judged() -> None:
    with pytest.raises(ValueError, match="too few"):
        not_uniform([bytes(100)] * 2)


@pytest.mark.parametrize("freedom", [2, 8, 254, 256, 1000])
def test_the_bounds_of_the_chi_square_distribution_hold(freedom: int) -> None:
    """Against its exact tails, which for an even freedom are those of a Poisson variable of half of it."""
    low, high = chi_square_bounds(freedom)
    allowed = FALSE_ALARM / TESTS / 2
    assert poisson_below(freedom // 2, high / 2) <= allowed
    assert low <= 0 or 1 - poisson_below(freedom // 2, low / 2) <= allowed + 1e-15


def poisson_below(count: int, mean: float) -> float:
    """P[N < count], the chi-square's upper tail at twice the mean."""
    return math.fsum(math.exp(-mean + at * math.log(mean) - math.lgamma(at + 1)) for at in range(count))
