"""Weights and metrics as exact integers in the same lanes, so that nothing about one client travels in clear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from securefed.encoding.lanes import Words
from securefed.errors import LocalProtocolError

__all__ = ["metric_from_sum", "metric_to_integer", "sum_of_digits", "to_digits"]

_FRACTION_BITS: Final = 24
_OFFSET: Final = 2**62
GREATEST_METRIC: Final = 2**37
"""Greatest |metric · weight|: 2^61 after scaling, so that with the offset it stays a positive 63-bit integer."""


def metric_to_integer(name: str, value: float, weight: int) -> int:
    """A metric times its weight in fixed point, as a non-negative integer.

    Raises:
        LocalProtocolError: V6, where the product is not finite or over 2^37.
    """
    product = value * weight
    if not (math.isfinite(product) and abs(product) <= GREATEST_METRIC):
        raise LocalProtocolError("V6", f"metric {name!r} times the weight must be finite and at most 2^37")
    return math.floor(product * 2.0**_FRACTION_BITS + 0.5) + _OFFSET


def metric_from_sum(total: int, survivors: int, total_weight: int) -> float:
    """The weighted mean of a metric from the sum of its integers."""
    return float(total - survivors * _OFFSET) / 2.0**_FRACTION_BITS / total_weight


def to_digits(value: int, digit_bits: int, digits: int) -> Words:
    """A non-negative integer below 2^64 in digits, least significant first."""
    mask = (1 << digit_bits) - 1
    return np.array([value >> (digit_bits * at) & mask for at in range(digits)], "<u8")


def sum_of_digits(sums: Sequence[int], digit_bits: int) -> int:
    """The sum of integers from the sums of their digits; exact, the digits' sums may exceed a digit."""
    return sum(total << (digit_bits * at) for at, total in enumerate(sums))
