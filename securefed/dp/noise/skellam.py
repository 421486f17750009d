"""Skellam noise, Poisson(v/2) − Poisson(v/2), drawn exactly (Agarwal, Kairouz and Liu 2021, arXiv 2110.04995).

It is closed under sums: n values of variance v add up to one of variance n·v. So the noise of clients who add theirs
before masking is exactly Skellam noise, and a client that drops out takes its share of the variance with it.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np

from securefed.dp.noise.bessel import LARGE, by_hankel, by_recurrence, saddle_point
from securefed.dp.noise.bounds import Interval
from securefed.dp.noise.cells import Cells
from securefed.dp.noise.law import Integers, Law, Weights, rational
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError

__all__ = ["Skellam", "skellam", "skellam_cells"]

_TABLE_BITS: Final = 128


class Skellam(Law):
    """Weights I_x(v)/I_0(v)."""

    least_log = -20

    def __init__(self, variance: Fraction) -> None:
        super().__init__(variance)
        self._large = variance >= LARGE
        self._tables: dict[int, list[Interval]] = {}
        if not self._large:
            lows, highs = zip(*self._table(_TABLE_BITS), strict=True)
            self._low, self._high = (np.array([float(Fraction(end, 1 << _TABLE_BITS)) for end in ends])
                                     for ends in (lows, highs))  # fmt: skip

    def weights(self, x: Integers) -> Weights:
        """From the recurrence, or at the saddle point."""
        if self._large:
            return saddle_point(x, self.variance)
        order = np.abs(x)
        last = len(self._low) - 1
        at = np.minimum(order, last)
        low, high = np.where(order > last, 0.0, self._low[at]), self._high[at]
        return Weights((low + high) / 2, (high - low) / 2 + high * 2.0**-48 + 1e-300)

    def bounds(self, x: int, bits: int) -> Interval:
        """From the recurrence, or from Hankel's expansion."""
        if x == 0:
            return 1 << bits, 1 << bits
        if not self._large:
            table = self._table(bits)
            return table[abs(x)] if abs(x) < len(table) else (0, table[-1][1])
        work = bits + 16
        low, high = by_hankel(abs(x), self.variance, work)
        least, most = by_hankel(0, self.variance, work)
        return (max(0, low) << bits) // most, -(-(max(1, high) << bits) // least)

    def _table(self, bits: int) -> list[Interval]:
        if bits not in self._tables:
            self._tables[bits] = by_recurrence(self.variance, bits)
        return self._tables[bits]


def skellam(source: Source, variance: float | Fraction, size: int) -> Integers:
    """Independent values of Poisson(v/2) − Poisson(v/2), exactly: no value's probability is rounded.

    The algorithm is that of `protocols/distributed_noise` (Samplers): the same words give the same values there.

    Args:
        source: of the words.
        variance: v, 2^-20 … 2^96, exactly as given.
        size: how many values, ≥ 0.

    Raises:
        ConfigError: N1, a variance or size outside these bounds.
    """
    parameter = rational("variance", variance)
    if parameter <= 0:
        raise ConfigError("", "[N1] the variance must be positive; without noise there is nothing to draw")
    return skellam_cells(parameter).draw(source, size)


@lru_cache(maxsize=16)
def skellam_cells(variance: Fraction) -> Cells:
    """The table of a variance: some milliseconds, and about a megabyte."""
    return Cells(Skellam(variance))
