"""Canary exposure: by how many bits training on a secret shrinks the search for it (Carlini et al. 2019, section 4).

The exposure of a secret is log₂|R| − log₂(its rank by loss among all secrets R). Of a secret that was not trained on
the rank is uniform and the exposure 1.44 bits (log₂ e) in the mean. Where R is too large to be ranked, a sample of m
references gives `−log₂((1 + lower references) / (m + 1))`, at most log₂(m + 1); the skew-normal extrapolation goes
beyond that and is only as good as its fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.audit.leakage import skew_normal
from securefed.audit.leakage.intervals import Interval, Proportion, checked_confidence, mean_interval
from securefed.audit.leakage.measured import Figure, Sees
from securefed.audit.leakage.ranking import checked_scores
from securefed.audit.leakage.special import special

__all__ = [
    "NULL_BITS",
    "Exposure",
    "Extrapolation",
    "exposure",
    "exposure_by_rank",
    "extrapolated_exposure",
    "null_mean",
]

Floats = npt.NDArray[np.float64]

NULL_BITS: Final = 1 / math.log(2)
"""log₂ e: the mean exposure of secrets that were not trained on, among infinitely many."""
_REFITS: Final = 40
LEAST_FIT: Final = 0.05
"""p-value of the fit below which the extrapolation is not to be believed."""


@dataclass(frozen=True)
class Extrapolation:
    """Exposure by the skew-normal distribution of the references' losses.

    Attributes:
        mean: bits, over the canaries.
        fit_p_value: see `skew_normal.fit_p_value`.
    """

    mean: Interval
    fit_p_value: float

    @property
    def believable(self) -> bool:
        """Whether the references' losses look skew-normal."""
        return self.fit_p_value >= LEAST_FIT


@dataclass(frozen=True)
class Exposure:
    """What is known of canaries that were trained on equally often.

    Attributes:
        canaries, references: how many of each.
        mean: exposure by rank, bits, over the canaries.
        first: share of the canaries whose loss is below all references'.
        p_value: how likely a mean at least as great is where nothing was learnt.
        extrapolated: None where references are too few, or all the same.
        repetitions: how often each canary was trained on; None where that is not known.
        sees: what the adversary has.
    """

    canaries: int
    references: int
    mean: Interval
    first: Proportion
    p_value: float
    extrapolated: Extrapolation | None
    repetitions: int | None = None
    sees: Sees = Sees.MODEL

    @property
    def attack(self) -> str:
        """Name of the attack."""
        often = "" if self.repetitions is None else f", {self.repetitions} repetitions"
        return f"canary exposure (Carlini et al. 2019){often}"

    @property
    def ceiling(self) -> float:
        """The greatest exposure that so many references can show, bits."""
        return math.log2(self.references + 1)

    def figures(self) -> tuple[Figure, ...]:
        """Exposure by rank, the share of canaries that rank first, and the extrapolation where it fits."""
        mean, first, confidence = self.mean, self.first, self.mean.confidence
        chance, capped = null_mean(self.references), first.successes > 0
        found = [
            Figure("mean exposure by rank", mean.value, mean.low, mean.high, confidence, "bits", chance, capped),
            Figure(
                f"canaries that rank first of {self.references + 1}",
                first.value,
                first.low,
                first.high,
                confidence,
                "share",
                1 / (self.references + 1),
            ),
        ]
        if self.extrapolated is not None and self.extrapolated.believable:
            beyond = self.extrapolated.mean
            name = "mean exposure, extrapolated"
            found.append(Figure(name, beyond.value, beyond.low, beyond.high, confidence, "bits", NULL_BITS))
        return tuple(found)


def null_mean(references: int) -> float:
    """Mean exposure in bits where every rank among so many references is equally likely."""
    return math.log2(references + 1) - math.lgamma(references + 2) / math.log(2) / (references + 1)


def exposure_by_rank(canaries: npt.ArrayLike, references: npt.ArrayLike) -> Floats:
    """Bits for each canary; a reference with the same loss counts half.

    Args:
        canaries: [n], losses of canaries, of the whole sequence or the secret's tokens, the same for both.
        references: [m], losses of other secrets of the same format, drawn in the same way; the exposure is exact where
            they are all others.

    Returns:
        [n], 0 … log₂(m + 1).

    Raises:
        ConfigError: none of either, or a loss that is not a finite number.
    """
    losses = checked_scores(canaries, "canaries", least=1)
    others = np.sort(checked_scores(references, "references", least=1))
    bits: Floats = -np.log2((1 + _lower(losses, others)) / (len(others) + 1))
    return bits


def extrapolated_exposure(canaries: npt.ArrayLike, references: npt.ArrayLike) -> Floats:
    """Bits for each canary by the skew-normal distribution that fits the references; check it with `fit_p_value`.

    Args:
        canaries, references: as in `exposure_by_rank`; 100 references or more.

    Returns:
        [n], without a greatest value: above log₂|R| it means that the canary is the likeliest secret of all.

    Raises:
        ConfigError: too few references, or all the same.
    """
    fitted = skew_normal.fit(checked_scores(references, "references"))
    bits: Floats = -fitted.log_cdf(checked_scores(canaries, "canaries", least=1)) / math.log(2)
    return bits


def exposure(
    canaries: npt.ArrayLike,
    references: npt.ArrayLike,
    *,
    repetitions: int | None = None,
    confidence: float = 0.95,
    sees: Sees = Sees.MODEL,
) -> Exposure:
    """Exposure of several canaries that were trained on equally often.

    The interval of the mean is over canaries and references: both are samples. Canaries of one model share its
    training, so it says nothing about another run.

    Args:
        canaries: [n] losses, n ≥ 2; ten or more for a good interval.
        references: [m] losses; several times as many.
        repetitions: how often each canary was trained on.
        confidence: of every interval.
        sees: what the adversary has.

    Raises:
        ConfigError: too few of either, or a loss that is not a finite number.
    """
    checked_confidence(confidence)
    losses, others = checked_scores(canaries, "canaries"), np.sort(checked_scores(references, "references"))
    bits = exposure_by_rank(losses, others)
    first = Proportion(int(np.count_nonzero(losses < others[0])), len(losses), confidence)
    extrapolated = None
    if len(others) >= skew_normal.LEAST_SAMPLES and others[0] < others[-1]:
        beyond = mean_interval(
            extrapolated_exposure(losses, others), confidence, further_variance=_variance_of_fit(losses, others)
        )
        extrapolated = Extrapolation(beyond, skew_normal.fit_p_value(others))
    return Exposure(
        canaries=len(losses),
        references=len(others),
        mean=_mean(bits, losses, others, confidence),
        first=first,
        p_value=_p_value(bits, len(others)),
        extrapolated=extrapolated,
        repetitions=repetitions,
        sees=sees,
    )


def _lower(losses: Floats, others: Floats) -> Floats:
    """How many of the sorted others are below each loss, those at it counted half."""
    return (np.searchsorted(others, losses, "left") + np.searchsorted(others, losses, "right")) / 2


def _mean(bits: Floats, losses: Floats, others: Floats, confidence: float) -> Interval:
    ceiling = math.log2(len(others) + 1)
    if bits.min() == bits.max():
        # No spread to judge by: of a share of at least `low` of such canaries this is the exposure, of the rest any.
        share = Proportion(len(bits), len(bits), confidence).low
        value = float(bits[0])
        return Interval(value, share * value, share * value + (1 - share) * ceiling, confidence)
    # Each reference moves the mean by what the canaries above it lose: the delta method.
    order = np.sort(losses)
    share_at = 1 / (1 + _lower(order, others)) * (len(others) + 1)
    above = np.append(np.cumsum(share_at[::-1])[::-1], 0.0)
    influence = above[np.searchsorted(order, others, "left")] / len(losses) / math.log(2)
    further = float(influence.var(ddof=1)) / len(others)
    found = mean_interval(bits, confidence, further_variance=further)
    return Interval(found.value, max(0.0, found.low), min(ceiling, found.high), confidence)


def _variance_of_fit(losses: Floats, others: Floats) -> float:
    """Of the mean extrapolated exposure, as the references vary: from fits to samples of them."""
    rng = np.random.default_rng(0)
    samples = (rng.choice(others, len(others)) for _ in range(_REFITS))
    return float(np.var([extrapolated_exposure(losses, sample).mean() for sample in samples], ddof=1))


def _p_value(bits: Floats, references: int) -> float:
    """Fisher's combination of the ranks, with the correction of Bates et al. (Annals of Statistics 51, 2023) for
    p-values that share their references: they are not independent."""
    n = len(bits)
    statistic = 2 * math.log(2) * float(bits.sum())
    wider = math.sqrt(1 + n / references)
    return float(special().chdtrc(2 * n, max(0.0, (statistic + 2 * n * (wider - 1)) / wider)))
