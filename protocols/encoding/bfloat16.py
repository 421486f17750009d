"""bfloat16, which has the sign, the exponents and the upper 7 fraction bits of a float32."""

import math
from bisect import bisect_right
from fractions import Fraction

SIGN = 0x8000
INFINITY = 0x7F80
"""Bits of +∞: all exponent bits. Below it lie the finite values that are not negative, in their order."""


def value(bits: int) -> float:
    """The number that 16 bits stand for. Pre-condition: 0 ≤ bits < 2^16."""
    sign = -1.0 if bits & SIGN else 1.0
    exponent, fraction = bits >> 7 & 0xFF, bits & 0x7F
    if exponent == 0xFF:
        return math.nan if fraction else sign * math.inf
    if exponent == 0:
        return sign * fraction * 2.0**-133
    return sign * (128 + fraction) * 2.0 ** (exponent - 134)


def nearest(x: float) -> int:
    """The bits of the nearest bfloat16, of two the one whose last bit is 0. Pre-condition: x is not NaN.

    Infinity is as near as the number that would follow the greatest one.
    """
    sign = SIGN if math.copysign(1.0, x) < 0 else 0
    if math.isinf(x):
        return sign | INFINITY
    below = bisect_right(range(INFINITY), abs(x), key=value) - 1
    above = below + 1
    following = Fraction(2) ** 128 if above == INFINITY else Fraction(value(above))
    less, more = Fraction(abs(x)) - Fraction(value(below)), following - Fraction(abs(x))
    return sign | (below if less < more or (less == more and below % 2 == 0) else above)
