"""Estimates with confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.audit.leakage.special import special
from securefed.errors import ConfigError

__all__ = ["Interval", "Proportion", "checked_confidence", "mean_interval"]

_STRAIGHT: Final = 1e-6
"""Below this skewness the transformation is the identity, as far as floats can say."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided confidence interval.

    Attributes:
        value: the estimate.
        low, high: the limits.
        confidence: in (0, 1).
    """

    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Proportion:
    """A share of independent trials, with the exact interval of Clopper and Pearson (Biometrika 26, 1934).

    Attributes:
        successes, trials: counts, 0 ≤ successes ≤ trials, at least one trial.
        confidence: of the two-sided interval; each limit alone holds with (1 + confidence) / 2.

    Raises:
        ConfigError: other counts.
    """

    successes: int
    trials: int
    confidence: float = 0.95

    def __post_init__(self) -> None:
        checked_confidence(self.confidence)
        if not (0 <= self.successes <= self.trials and self.trials > 0):
            raise ConfigError("leakage", f"{self.successes} of {self.trials} is no proportion")

    @property
    def value(self) -> float:
        """The share."""
        return self.successes / self.trials

    @property
    def low(self) -> float:
        """The lower limit, 0 where nothing succeeded."""
        if self.successes == 0:
            return 0.0
        side = (1 - self.confidence) / 2
        return float(special().betaincinv(self.successes, self.trials - self.successes + 1, side))

    @property
    def high(self) -> float:
        """The upper limit, 1 where everything succeeded."""
        if self.successes == self.trials:
            return 1.0
        side = (1 - self.confidence) / 2
        return float(special().betaincinv(self.successes + 1, self.trials - self.successes, 1 - side))

    @property
    def interval(self) -> Interval:
        """The estimate with both limits."""
        return Interval(self.value, self.low, self.high, self.confidence)


def mean_interval(
    values: npt.NDArray[np.float64], confidence: float = 0.95, *, further_variance: float = 0.0
) -> Interval:
    """The mean, and an interval of it that allows for skewness: Hall's cubic transformation with Student's quantiles.

    Hall, "On the removal of skewness by transformation", JRSS B 54, 1992. Student's own interval covers the mean of 20
    exponential values 91 times in 100, this one 94 times.

    Args:
        values: [n], n ≥ 2, independent; ten or more for a good interval.
        confidence: in (0, 1).
        further_variance: of the mean, from a second sample that all values depend on.

    Raises:
        ConfigError: fewer than two values.
    """
    checked_confidence(confidence)
    n = len(values)
    if n < 2:
        raise ConfigError("leakage", f"an interval of a mean needs 2 values or more, not {n}")
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    error = math.sqrt(deviation**2 / n + further_variance)
    skewness = float(((values - mean) ** 3).mean()) / deviation**3 if deviation > 0 else 0.0
    reach = float(special().stdtrit(n - 1, (1 + confidence) / 2))
    low, high = _unskewed(reach, skewness, n), _unskewed(-reach, skewness, n)
    return Interval(mean, mean - error * low, mean - error * high, confidence)


def _unskewed(quantile: float, skewness: float, n: int) -> float:
    """The quantile of the studentised mean whose transform has this normal quantile."""
    scaled = skewness / math.sqrt(n)
    if abs(scaled) < _STRAIGHT:
        return quantile
    cubed = 1 + scaled * (quantile - scaled / 6)
    return 3 / scaled * (math.copysign(abs(cubed) ** (1 / 3), cubed) - 1)


def checked_confidence(confidence: float) -> float:
    """The same confidence.

    Raises:
        ConfigError: it is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ConfigError("leakage.confidence", f"{confidence} is not in (0, 1)")
    return confidence
