"""Bounds of I_k(v)/I_0(v), the modified Bessel functions of the first kind, in integers and in doubles.

Three ways, each rigorous: the three-term recurrence backwards for moderate arguments, Hankel's expansion with its
remainder for large ones, and for doubles the integral at its saddle point.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb, isqrt
from typing import Final

import numpy as np

from securefed.dp.noise.bounds import Interval
from securefed.dp.noise.law import Integers, Weights

__all__ = ["LARGE", "by_hankel", "by_recurrence", "saddle_point"]

LARGE: Final = 2**14
"""From this argument on Hankel's expansion and the saddle point are used, below it the recurrence."""

_GUARD_BITS: Final = 32
_LIBRARY_ERROR: Final = 2.0**-38
"""Relative, of a weight below: some operations in doubles and one exponential, its argument at most 745, each within
a few units of 2^-53. Generous by a factor of some hundred."""
_SADDLE: Final = [(-1) ** n * comb(2 * n, n) / (4**n * (2 * n + 1) * (2 * n + 2)) for n in range(8)]
_WIDEST: Final = 0.125


def by_recurrence(v: Fraction, bits: int) -> list[Interval]:
    """Bounds of 2^bits·I_k(v)/I_0(v) for k = 0, 1, … up to where they vanish, or nearly.

    The ratio r_k = I_(k+1)/I_k lies in [0, 1] and obeys r_(k−1) = 1/(2k/v + r_k) (DLMF 10.29.1). From any such
    start the bounds close in on each other on the way down, since each step shrinks their distance r_(k−1)·r_k times.
    """
    work = bits + _GUARD_BITS
    n, d = v.numerator, v.denominator
    # I_k/I_0 is about exp(-k²/2v), and for small v less than 2^-k.
    k = isqrt(int(2 * v * work)) + work + 2
    low, high, one = 0, 1 << work, 1 << 2 * work
    ratios = []
    while k > 0:
        low, high = n * one // ((2 * k * d << work) + n * high), -(-n * one // ((2 * k * d << work) + n * low))
        k -= 1
        ratios.append((low, high))
    weight = 1 << work, 1 << work
    weights = [(1 << bits, 1 << bits)]
    for low, high in reversed(ratios):
        weight = weight[0] * low >> work, -(-weight[1] * high >> work)
        weights.append((weight[0] >> _GUARD_BITS, -(-weight[1] >> _GUARD_BITS)))
    return weights


def by_hankel(k: int, v: Fraction, bits: int) -> Interval:
    """Bounds of 2^bits·√(2πv)·e^(−v)·I_k(v), for v ≥ `LARGE`.

    I_k(v) is the real part of i/π·K_k(v·e^(πi)) (DLMF 10.34.2 for integer k), and Hankel's expansion of K with the
    remainder of DLMF 10.40(iii) on |ph z| = π gives Σ_{j<l} (−1)^j·a_j(k)/v^j within
    2·χ(l)·|a_l(k)|/v^l·exp(χ(1)·|k² − 1/4|/v), where χ(l) ≤ l + 1 and χ(1) = π/2 < 11/7.

    Raises:
        ArithmeticError: the expansion cannot be that sharp; it can for all k with I_k/I_0 above 2^-1000.
    """
    n, d = v.numerator, v.denominator
    spread = 4 * k * k + 1
    remainder_bits = -(-33 * spread * d // (56 * n)) + 1  # exp(11/7·spread/(4v)) in powers of two, 3/2 to the e
    work = bits + _GUARD_BITS + 2 * remainder_bits
    term = total = 1 << work
    slack = term_slack = j = 0
    while True:
        j += 1
        factor, divisor = (4 * k * k - (2 * j - 1) ** 2) * d, 8 * j * n
        term = -(term * factor // divisor)
        term_slack = -(-term_slack * abs(factor) // divisor) + 1
        largest = abs(term) + term_slack
        if (2 * (j + 1) * largest << remainder_bits) >> (work - bits - 8) == 0:
            break
        if 2 * j > 2 * k + 1 and 2 * abs(factor) > divisor:
            raise ArithmeticError(f"Hankel's expansion is not sharp enough for {bits} bits at order {k}")
        total += term
        slack += term_slack
    slack += 2 * (j + 1) * largest << remainder_bits
    drop = work - bits
    return (total - slack) >> drop, -(-(total + slack) >> drop)


def saddle_point(k: Integers, v: Fraction) -> Weights:
    """I_k(v)/I_0(v) in doubles for v ≥ `LARGE`, and a bound of the error.

    With the path of e^(−v)·I_k(v) = 1/2π·∫ exp(v·(cos θ − 1) + ikθ) dθ moved to its saddle point, s = √(v² + k²):

        e^(−v)·I_k(v) = exp(v·φ(k/v))·J,  φ(x) = √(1 + x²) − 1 − x·asinh x,
        J = 1/2π·∫ exp(−s·(1 − cos θ))·cos(k·(θ − sin θ)) dθ.

    Since 1 − y²/2 ≤ cos y ≤ 1, J lies between A − k²/4π·∫ exp(−s·(1 − cos θ))·(θ − sin θ)² dθ and A = e^(−s)·I_0(s).
    With θ − sin θ ≤ θ³/6, and 1 − cos θ ≥ 47/96·θ² up to θ = 1/2, the integral is at most 0.23·k²/s³ of A. Hankel's
    expansion of A (DLMF 10.40(iii), three terms) is within 0.36/s³. Where k > v/8 the weight is below e^-127.
    """
    order = np.abs(k).astype(np.float64)
    argument = float(v)
    x = order / argument
    square = np.minimum(x, _WIDEST) ** 2
    series = np.zeros_like(x)
    for coefficient in reversed(_SADDLE):
        series = series * square + coefficient
    s = argument * np.sqrt(1 + square)
    value = np.exp(-order * x * series) * np.sqrt(argument / s)
    value *= (1 + (0.125 + 0.0703125 / s) / s) / (1 + (0.125 + 0.0703125 / argument) / argument)
    half = 0.115 * (order / s) ** 2 / s
    value *= 1 - half
    error = value * (1.01 * half + 0.75 / argument**3 + _LIBRARY_ERROR) + 1e-300
    far = x > _WIDEST
    value[far] = error[far] = np.exp(-127.0)
    return Weights(value, error)
