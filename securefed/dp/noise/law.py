"""What the sampler has to know of a symmetric law on the integers, and the bounds of its variance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from math import isfinite
from typing import ClassVar, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from securefed.dp.noise.bounds import Interval
from securefed.errors import ConfigError

__all__ = ["Doubles", "Integers", "Law", "rational"]

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

GREATEST_VARIANCE: Final = Fraction(2**96)
"""Up to it the values fit 64 bits, except with a probability below 2^-1000."""


class Weights(NamedTuple):
    """Doubles with |value − w(x)| ≤ error."""

    value: Doubles
    error: Doubles


class Law(ABC):
    """A symmetric, log-concave law on the integers, by its weights w(x) = P(x)/P(0).

    Args:
        variance: of the law, or the parameter that it grows with.
    """

    least_log: ClassVar[int]
    """The least variance is 2^least_log."""

    def __init__(self, variance: Fraction) -> None:
        if not Fraction(2) ** self.least_log <= variance <= GREATEST_VARIANCE:
            raise ConfigError(
                "", f"[N1] a variance of this noise must be in 2^{self.least_log} … 2^96; choose another grid"
            )
        self.variance = variance

    @abstractmethod
    def weights(self, x: Integers) -> Weights:
        """w(x) in doubles, with a proved bound of their error. x is an array of any sign."""

    @abstractmethod
    def bounds(self, x: int, bits: int) -> Interval:
        """Integers low ≤ 2^bits·w(x) ≤ high, as near to each other as the bits are many; equal where x = 0."""


def rational(name: str, value: object) -> Fraction:
    """The number exactly as given: a float is a rational number too.

    Raises:
        ConfigError: N1, it is not finite or no number.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int | np.integer) and value is not True and value is not False:
        return Fraction(int(value))
    if isinstance(value, float) and isfinite(value):
        return Fraction(value)
    raise ConfigError("", f"[N1] {name} is not a finite float, an integer or a Fraction")
