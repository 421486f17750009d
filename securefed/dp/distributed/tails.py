"""How far integer noise reaches: explicit tail bounds, from which the range of all noisy integers follows.

Both are Chernoff bounds on the moment generating function, so they hold for every deviation and every range, not only
in the limit.
"""

from __future__ import annotations

import math
from enum import StrEnum

__all__ = ["Kind", "log2_tail", "reach"]


class Kind(StrEnum):
    """The noise of one client."""

    SKELLAM = "skellam"
    """The difference of two Poisson numbers. A sum of them is a Skellam number again, whatever the number of terms."""
    DISCRETE_GAUSSIAN = "discrete-gaussian"
    """N_Z(0, σ²). A sum of them is close to one, and the accounting knows how close."""


def log2_tail(kind: Kind, variance: float, reach: int) -> float:
    """Base-2 logarithm of a bound on the probability that one noise number is beyond ±reach.

    Skellam of variance v: E exp(λX) = exp(v·(cosh λ − 1)), least at sinh λ = r/v with r = reach + 1, so
    P(|X| ≥ r) ≤ 2·exp(v·(√(1 + (r/v)²) − 1) − r·asinh(r/v)).
    Discrete Gaussian: E exp(λX) = exp(λ²σ²/2)·Σ exp(−(x − λσ²)²/2σ²)/Σ exp(−x²/2σ²) over the integers, and the shifted
    sum is never the greater one (Canonne, Kamath, Steinke 2020, arXiv 2004.00010), so P(|X| ≥ r) ≤ 2·exp(−r²/(2σ²)).

    Args:
        kind: of noise.
        variance: of one number: v, or the parameter σ² of the discrete Gaussian.
        reach: integer, ≥ 0.
    """
    r = reach + 1
    ratio = r / variance
    if kind is Kind.DISCRETE_GAUSSIAN:
        exponent = -r * ratio / 2
    else:
        # √(1 + x²) − 1 = x²/(1 + √(1 + x²)) without cancellation where x is small.
        exponent = r * (ratio / (1 + math.hypot(1, ratio)) - math.asinh(ratio))
    return 1 + exponent / math.log(2)


def reach(kind: Kind, variance: float, numbers: int, bits: float) -> int:
    """The least range in which `numbers` noise numbers all stay but for a probability of 2^−bits, by `log2_tail`."""
    needed = -bits - math.log2(numbers)
    low, high = -1, 1
    while log2_tail(kind, variance, high) > needed:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if log2_tail(kind, variance, middle) <= needed else (middle, high)
    return high
