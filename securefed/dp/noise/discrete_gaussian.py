"""The discrete Gaussian N_Z(0, σ²) of Canonne, Kamath and Steinke (2020, arXiv 2004.00010), drawn exactly."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np

from securefed.dp.noise.bounds import Interval, exponential
from securefed.dp.noise.cells import Cells
from securefed.dp.noise.law import Integers, Law, Weights, rational
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError

__all__ = ["DiscreteGaussian", "discrete_gaussian", "discrete_gaussian_of_variance", "gaussian_cells"]

_LIBRARY_ERROR: Final = 2.0**-38
"""Relative: five operations and an exponential in doubles, its argument at most 745, generous by some hundred."""


class DiscreteGaussian(Law):
    """Weights exp(−x²/2σ²)."""

    least_log = -8
    """Below σ = 1/16 a value other than 0 has a probability below 2^-183: that is no noise."""

    def weights(self, x: Integers) -> Weights:
        """By the exponential of the library."""
        value = np.exp(np.square(x.astype(np.float64)) * (-0.5 / float(self.variance)))
        return Weights(value, value * _LIBRARY_ERROR + 1e-300)

    def bounds(self, x: int, bits: int) -> Interval:
        """By a series in integers."""
        return exponential(x * x / (2 * self.variance), bits)


def discrete_gaussian(source: Source, sigma: float | Fraction, size: int) -> Integers:
    """Independent values of N_Z(0, σ²), P(x) ∝ exp(−x²/2σ²), exactly: no value's probability is rounded.

    The algorithm is that of `protocols/distributed_noise` (Samplers): the same words give the same values there.

    Args:
        source: of the words.
        sigma: the parameter σ, 2^-4 … 2^48, exactly as given; the standard deviation is a little smaller.
        size: how many values, ≥ 0.

    Raises:
        ConfigError: N1, a σ or size outside these bounds.
    """
    deviation = rational("sigma", sigma)
    if deviation <= 0:
        raise ConfigError("", "[N1] sigma must be positive; without noise there is nothing to draw")
    return gaussian_cells(deviation * deviation).draw(source, size)


def discrete_gaussian_of_variance(source: Source, variance: float | Fraction, size: int) -> Integers:
    """The same with σ² = `variance` (2^-8 … 2^96) exactly, whose square root no double may be.

    Raises:
        ConfigError: N1, a variance or size outside these bounds.
    """
    return gaussian_cells(rational("variance", variance)).draw(source, size)


@lru_cache(maxsize=16)
def gaussian_cells(variance: Fraction) -> Cells:
    """The table of a σ²: some milliseconds, and about a megabyte."""
    return Cells(DiscreteGaussian(variance))
