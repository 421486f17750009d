"""Conditional rounding: random, unbiased but for a small probability, and never longer than its bound.

Random rounding can lengthen a vector; the sensitivity would then be a matter of luck. So it is repeated until the
integers themselves, squared and added without error, are within the bound (Kairouz, Liu, Steinke 2021, arXiv
2102.06387, section 4). The bound is chosen so that a repetition is rare; that they are within it needs no proof.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["ATTEMPTS", "REPEATED", "l1_bound", "l2_squared_bound", "round_at_random", "sum_of_squares"]

REPEATED: Final = 2.0**-20
"""Most that a rounding fails with, so that it is repeated (β of the paper)."""
ATTEMPTS: Final = 64
"""More roundings than honest randomness ever takes: all fail with a probability below 2^−1280."""
_RANDOM_UNIT: Final = 2.0**-32

Floats = npt.NDArray[np.float64]


def l2_squared_bound(grid: int, length: int) -> int:
    """N: most that the squares of a client's integers add up to.

    floor(min(s² + d/4 + √(2·ln(1/β))·(s + √d/2), (s + √d)²)), the paper's Δ₂² in steps of the grid: a vector of norm at
    most s rounds to one within it with a probability of at least 1 − β; always within the second.

    Args:
        grid: s, the clip bound in steps of the grid.
        length: d, coordinates with padding.
    """
    slack = math.sqrt(2 * math.log(1 / REPEATED)) * (grid + math.sqrt(length) / 2)
    return math.floor(min(grid**2 + length / 4 + slack, (grid + math.sqrt(length)) ** 2))


def l1_bound(l2_squared: int, length: int) -> int:
    """Most that the magnitudes of integers add up to whose squares add up to at most N: min(N, ⌈√(d·N)⌉).

    |z| ≤ z² for an integer, and Cauchy–Schwarz.
    """
    return min(l2_squared, math.isqrt(l2_squared * length - 1) + 1)


def round_at_random(values: Floats, randomness: npt.NDArray[np.uint32]) -> Floats:
    """⌊y + r/2^32⌋: a neighbour of y, on average y to 32 bits: whole numbers as float64, shape of `values`.

    In doubles, without error that matters: below 2^21 the sum of a whole number K and (2^32 − 1)/2^32 is exact, so what
    is in [−K, K] stays there.

    Args:
        values: float64, shape [m], magnitudes below 2^21.
        randomness: uint32, shape [m], uniform.
    """
    whole: Floats = np.multiply(randomness, _RANDOM_UNIT, dtype=np.float64)
    whole += values
    np.floor(whole, out=whole)
    return whole


def sum_of_squares(values: Floats) -> float:
    """Σ x², shape [m]: exact for whole numbers while it is below 2^53.

    Not by `np.dot`, whose library wakes threads up for a vector of this length: that costs ten times what is computed.
    """
    return float(np.einsum("i,i->", values, values))
