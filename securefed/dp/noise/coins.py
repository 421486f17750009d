"""Coins of a rational probability, exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from securefed.dp.noise.cells import count
from securefed.dp.noise.law import rational
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError

__all__ = ["bernoulli"]


def bernoulli(source: Source, probability: float | Fraction, size: int) -> npt.NDArray[np.bool_]:
    """Independent coins that are true with exactly this probability.

    A uniform real number is compared with it, digit by digit as far as needed: 64 binary digits, and 64 further ones
    where they agree (`protocols/distributed_noise`, Samplers).

    Args:
        source: of the digits.
        probability: 0 … 1, exactly as given; a `Fraction` where it is no double.
        size: how many coins.

    Raises:
        ConfigError: N1, a probability or size outside these bounds.
    """
    exact = rational("probability", probability)
    if not 0 <= exact <= 1:
        raise ConfigError("", "[N1] a probability must be in 0 … 1")
    size = count(size)
    digits = source.words(size, "<u8")
    whole, rest = divmod(exact.numerator << 64, exact.denominator)
    if whole >> 64:
        return np.ones(size, np.bool_)
    heads = digits < np.uint64(whole)
    if rest:
        for at in np.flatnonzero(digits == np.uint64(whole)):
            heads[at] = _settled(source, Fraction(rest, exact.denominator))
    return heads


def _settled(source: Source, remaining: Fraction) -> bool:
    """Whether a further uniform number is below what is left of the probability, 64 digits at a time."""
    while True:
        whole, rest = divmod(remaining.numerator << 64, remaining.denominator)
        digits = int(source.words(1, "<u8")[0])
        if digits != whole or not rest:
            return digits < whole
        remaining = Fraction(rest, remaining.denominator)
