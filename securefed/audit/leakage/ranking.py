"""How well scores tell two groups apart: the area under the ROC curve, and one point of the curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securefed.audit.leakage.intervals import Interval, Proportion, checked_confidence
from securefed.audit.leakage.special import special
from securefed.errors import ConfigError

__all__ = ["OperatingPoint", "auc", "operating_point"]

Scores = npt.NDArray[np.float64]


def auc(positives: npt.ArrayLike, negatives: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """The probability that a positive's score is above a negative's, ties counted half: 0.5 is chance.

    The variance is that of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988), by midranks (Sun and Xu, IEEE
    Signal Processing Letters 21, 2014); the interval is symmetric in the logit, with Student's quantile for the
    freedom that Welch and Satterthwaite give. Where all pairs are ordered one way that variance is zero; the limit is
    then the exact one for as many disjoint pairs as there are.

    Args:
        positives, negatives: [n], [m]: two or more finite scores each, independent.
        confidence: in (0, 1).

    Raises:
        ConfigError: too few scores, or one that is not a number.
    """
    checked_confidence(confidence)
    high, low = checked_scores(positives, "positives"), checked_scores(negatives, "negatives")
    n, m = len(high), len(low)
    both = midranks(np.concatenate([high, low]))
    above = (both[:n] - midranks(high)) / m  # for each positive, the share of negatives below it
    below = 1 - (both[n:] - midranks(low)) / n
    area = float(above.mean())
    if area <= 0 or area >= 1:
        limit = Proportion(min(n, m), min(n, m), confidence).low
        return Interval(area, limit, 1.0, confidence) if area >= 1 else Interval(area, 0.0, 1 - limit, confidence)
    of_high, of_low = float(above.var(ddof=1)) / n, float(below.var(ddof=1)) / m
    variance = of_high + of_low
    if not variance > 0:  # every score is the same
        return Interval(area, 0.0, 1.0, confidence)
    freedom = variance**2 / (of_high**2 / (n - 1) + of_low**2 / (m - 1))
    quantile = float(special().stdtrit(freedom, (1 + confidence) / 2))
    centre, reach = math.log(area / (1 - area)), quantile * math.sqrt(variance) / (area * (1 - area))
    return Interval(area, _logistic(centre - reach), _logistic(centre + reach), confidence)


@dataclass(frozen=True)
class OperatingPoint:
    """One point of an ROC curve, whose threshold was chosen from the negatives alone.

    Attributes:
        rate: the false-positive rate that was asked for.
        threshold: scores above it are called positive.
        true_positives: share of the positives above it.
        false_positives: share of the negatives above it, at most `rate`; its interval says what the rate of this
            threshold may truly be. That of Clopper and Pearson is right here too: the threshold is an order statistic
            of the negatives, fixed by their number.
    """

    rate: float
    threshold: float
    true_positives: Proportion
    false_positives: Proportion

    def epsilon_lower_bound(self, delta: float = 0.0) -> float:
        """The greatest ε that the two rates refute; 0 where they refute none.

        Under (ε, δ)-DP with one record in or out, TPR ≤ e^ε·FPR + δ and 1 − FPR ≤ e^ε·(1 − TPR) + δ for every attack
        (Kairouz, Oh and Viswanath, ICML 2015). Both limits hold together with the intervals' confidence.

        It is a bound of ε only where every trial is a training of its own, or as good as independent, with a coin of
        its own for being in. Many records of one training share its noise: read it as an indication then, and use
        `securefed.audit.one_run` for a bound.

        Args:
            delta: in [0, 1).

        Raises:
            ConfigError: another δ.
        """
        if not 0 <= delta < 1:
            raise ConfigError("leakage.delta", f"{delta} is not in [0, 1)")
        hits, alarms = self.true_positives.low, self.false_positives.high
        return max(0.0, _log_ratio(hits - delta, alarms), _log_ratio(1 - alarms - delta, 1 - hits))


def operating_point(
    positives: npt.ArrayLike, negatives: npt.ArrayLike, rate: float = 1e-3, confidence: float = 0.95
) -> OperatingPoint:
    """The share of positives above a threshold that at most `rate` of the negatives are above.

    Args:
        positives, negatives: [n], [m]: finite scores.
        rate: the false-positive rate, in (0, 1).
        confidence: of both intervals.

    Raises:
        ConfigError: fewer than 1/rate negatives: not one of them may then be above the threshold, which would say
            something about another, unknown rate.
    """
    checked_confidence(confidence)
    if not 0 < rate < 1:
        raise ConfigError("leakage.false_positive_rate", f"{rate} is not in (0, 1)")
    high, low = checked_scores(positives, "positives"), checked_scores(negatives, "negatives")
    allowed = math.floor(rate * len(low) * (1 + 1e-12))
    if allowed < 1:
        raise ConfigError(
            "leakage.false_positive_rate",
            f"{len(low)} non-members say nothing at a false-positive rate of {rate:g}: take {math.ceil(1 / rate)} "
            f"or more, or ask for a rate of {1 / len(low):.2g}",
        )
    threshold = float(np.partition(low, len(low) - 1 - allowed)[len(low) - 1 - allowed])
    return OperatingPoint(
        rate,
        threshold,
        Proportion(int(np.count_nonzero(high > threshold)), len(high), confidence),
        Proportion(int(np.count_nonzero(low > threshold)), len(low), confidence),
    )


def midranks(values: Scores) -> Scores:
    """[n]: 1 for the least, n for the greatest, and what is equal shares the mean of its ranks."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    ranks: Scores = (last - (sizes - 1) / 2)[group]
    return ranks


def checked_scores(values: npt.ArrayLike, what: str, least: int = 2) -> Scores:
    """The values as float64 [n].

    Raises:
        ConfigError: not one axis, fewer than `least`, or one that is not a number or infinite.
    """
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or len(scores) < least:
        raise ConfigError("leakage", f"{what}: {least} or more scores in one axis are needed, not {scores.shape}")
    if not np.isfinite(scores).all():
        raise ConfigError("leakage", f"{what}: {np.count_nonzero(~np.isfinite(scores))} scores are not finite numbers")
    return scores


def _logistic(value: float) -> float:
    return float(special().expit(value))


def _log_ratio(over: float, under: float) -> float:
    if over <= 0:
        return -math.inf
    return math.inf if under <= 0 else math.log(over / under)
