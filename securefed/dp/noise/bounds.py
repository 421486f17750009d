"""Two-sided bounds in integers: what settles a comparison that doubles leave open."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

__all__ = ["Bounds", "Interval", "ceiling", "exponential", "floor"]

Interval = tuple[int, int]
Bounds = Callable[[int, int], Interval]
"""(x, bits) to (low, high) with low ≤ 2^bits·w(x) ≤ high, which meet as the bits grow."""

_FIRST_BITS = 128
_MOST_BITS = 1 << 16
_GUARD_BITS = 64


def exponential(exponent: Fraction, bits: int) -> Interval:
    """Integers that enclose 2^bits·exp(−exponent), for an exponent ≥ 0.

    The exponent is halved until it is below 1/2, its alternating series summed until a term vanishes, and the result
    squared as often; every division is rounded down for the lower bound and up for the upper one.
    """
    if exponent == 0:
        return 1 << bits, 1 << bits
    halvings = max(0, (exponent.numerator // exponent.denominator).bit_length() + 1)
    if halvings > bits.bit_length() + 8:
        return 0, 1  # exp(−2^(halvings − 2)) is far below 2^-bits
    work = bits + halvings + _GUARD_BITS
    scaled = (exponent.numerator << work) // (exponent.denominator << halvings)
    low, high = _series(scaled + 1, work)[0], _series(scaled, work)[1]
    for _ in range(halvings):
        low, high = low * low >> work, -(-high * high >> work)
    drop = work - bits
    return low >> drop, -(-high >> drop)


def _series(scaled: int, work: int) -> Interval:
    """Bounds of 2^work·exp(−scaled/2^work), for an argument below 1/2 + 2^-work."""
    total, term, order = 1 << work, 1 << work, 0
    while term:
        order += 1
        term = (term * scaled >> work) // order
        total += -term if order % 2 else term
    # Each of the terms is too small by less than 3, all those left out are below 1 together.
    slack = 3 * (order + 1)
    return total - slack, total + slack


def ceiling(bounds: Bounds, x: int, factor: int) -> int:
    """⌈factor·w(x)⌉, exactly."""
    return _rounded(bounds, x, factor, up=True)


def floor(bounds: Bounds, x: int, factor: int) -> int:
    """⌊factor·w(x)⌋, exactly."""
    return _rounded(bounds, x, factor, up=False)


def _rounded(bounds: Bounds, x: int, factor: int, *, up: bool) -> int:
    bits = _FIRST_BITS
    while bits <= _MOST_BITS:
        low, high = (-(-factor * end >> bits) if up else factor * end >> bits for end in bounds(x, bits))
        if low == high:
            return low
        bits *= 2
    raise ArithmeticError(f"the weight of {x} is not settled by {_MOST_BITS} bits")
