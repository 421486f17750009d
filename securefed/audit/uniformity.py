"""Whether bytes look like noise: statistics with false-alarm rates that are bounds, not estimates of them.

Each rejects uniform bytes with probability at most `FALSE_ALARM / TESTS`, so that all tests of one suite together
raise a false alarm at most once in 10^9 runs. The bound of the chi-square distribution is Laurent and Massart,
*Adaptive estimation of a quadratic functional by model selection*, Annals of Statistics 2000, lemma 1; that Pearson's
statistic has this distribution needs enough bytes in each cell (`LEAST_BYTES`: 128). Bits: Hoeffding, JASA 1963.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["FALSE_ALARM", "LEAST_BYTES", "TESTS", "chi_square_bounds", "not_uniform", "told_apart"]

FALSE_ALARM: Final = 1e-9
TESTS: Final = 64
"""More than any suite makes: eleven or twelve for each of two inputs, and their comparison."""
LEAST_BYTES: Final = 256 * 128

_LOG: Final = math.log(2 * TESTS / FALSE_ALARM)
"""Of one over the probability allowed to each of the two sides of a test."""


def chi_square_bounds(freedom: int) -> tuple[float, float]:
    """What a chi-square variable of this freedom is below and above with probability at most e^−_LOG each."""
    spread = 2 * math.sqrt(freedom * _LOG)
    return freedom - spread, freedom + spread + 2 * _LOG


def _counts(data: bytes) -> npt.NDArray[np.int64]:
    return np.bincount(np.frombuffer(data, np.uint8), minlength=256)


def not_uniform(samples: Sequence[bytes]) -> str | None:
    """What tells these bytes from noise; None where nothing does.

    Args:
        samples: what fresh runs gave, of one length; at least two, and `LEAST_BYTES` in all.
    """
    rows = np.array([np.frombuffer(sample, np.uint8) for sample in samples])
    if rows.size < LEAST_BYTES:
        raise ValueError(f"{rows.size} bytes are too few, {LEAST_BYTES} are needed")
    # Each row used once: a sum of overlapping differences would not be a sum of independent ones.
    pairs = rows[: len(rows) // 2 * 2].reshape(-1, 2, rows.shape[1])
    differences = pairs[:, 0] - pairs[:, 1]
    for what, data in (("bytes", rows), ("differences between runs", differences)):
        statistic = _pearson(data)
        low, high = chi_square_bounds(255)
        if not low < statistic < high:
            return f"{what}: chi-square {statistic:.0f} is not in {low:.0f} … {high:.0f}"
    for bit in range(8):
        ones, of = int(np.count_nonzero(rows >> bit & 1)), rows.size
        allowed = math.sqrt(of * _LOG / 2)
        if abs(ones - of / 2) > allowed:
            return f"bit {bit} of the bytes is set in {ones} of {of}, more than {allowed:.0f} from a half"
    return None


def _pearson(data: npt.NDArray[np.uint8]) -> float:
    expected = data.size / 256
    return float(((_counts(data.tobytes()) - expected) ** 2 / expected).sum())


def told_apart(one: bytes, other: bytes) -> str | None:
    """What tells two samples of bytes from each other; None where nothing does. The chi-square of a 2 × 256 table."""
    table = np.array([_counts(one), _counts(other)], np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    used = expected > 0
    statistic = float(((table - expected)[used] ** 2 / expected[used]).sum())
    high = chi_square_bounds(255)[1]
    return None if statistic < high else f"chi-square of the two, {statistic:.0f}, is over {high:.0f}"
