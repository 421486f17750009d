"""Membership inference: was this text in the training? Scores from losses, and what they achieve.

The likelihood-ratio attack is Carlini et al. 2022 (LiRA, arXiv 2112.03570); the calibrated loss is Watson et al. 2022
(arXiv 2111.08440), which with one reference model is the ratio attack of Mireshghallah et al. 2022 (arXiv 2203.03929).
All losses are mean token losses in nats: `HuggingFaceLosses` computes them, and so can anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.audit.leakage.intervals import Interval
from securefed.audit.leakage.measured import Figure, Sees
from securefed.audit.leakage.ranking import OperatingPoint, auc, checked_scores, operating_point
from securefed.errors import ConfigError

__all__ = [
    "LEAST_SHADOWS",
    "MembershipInference",
    "calibrated_loss",
    "confidence_logit",
    "likelihood_ratio",
    "membership_inference",
    "offline_likelihood_ratio",
    "plain_loss",
]

Floats = npt.NDArray[np.float64]

LEAST_SHADOWS: Final = 2
"""A variance needs two."""
_VARIANCE_OF_ITS_OWN: Final = 16
"""Shadow models from which a text has a variance of its own; fewer share one, as the paper advises for few."""
_LEAST_VARIANCE: Final = 1e-12


def plain_loss(losses: npt.ArrayLike) -> Floats:
    """The score −loss: a text that the model finds easy is called a member (Yeom et al. 2018, arXiv 1709.01604).

    Args:
        losses: [n] under the attacked model.
    """
    return -checked_scores(losses, "losses", least=1)


def calibrated_loss(losses: npt.ArrayLike, references: npt.ArrayLike) -> Floats:
    """How much easier the attacked model finds a text than models that have not seen it do. For few shadow models.

    Args:
        losses: [n] under the attacked model.
        references: [K, n] or [n], K ≥ 1: under models without the texts, such as the one that training began from.

    Returns:
        [n], nats; above 0 where the attacked model is better.

    Raises:
        ConfigError: shapes that do not fit, or a loss that is not a finite number.
    """
    attacked = checked_scores(losses, "losses", least=1)
    difference: Floats = _of_models(references, len(attacked), "references").mean(axis=0) - attacked
    return difference


def confidence_logit(losses: npt.ArrayLike) -> Floats:
    """ln(p / (1 − p)) of the geometric mean p = e^−loss of the tokens' probabilities.

    LiRA's scaling: it makes the statistic nearly normal over trainings.

    Args:
        losses: [...], above 0. Below 1e-12 they count as that: p is 1 then, as far as floats can say.
    """
    values = np.maximum(np.asarray(losses, np.float64), 1e-12)
    logit: Floats = -values - np.log(-np.expm1(-values))
    return logit


def offline_likelihood_ratio(losses: npt.ArrayLike, shadows: npt.ArrayLike) -> Floats:
    """LiRA's offline variant: how far the statistic is above what models without the text give, in their deviations.

    The paper's score is the normal distribution function of this one, which orders in the same way until it is 1.

    Args:
        losses: [n] under the attacked model.
        shadows: [K, n], K ≥ 2: under models trained like the attacked one, none of them on these texts. With fewer
            than 16 of them all texts share one variance.

    Returns:
        [n], in standard deviations.

    Raises:
        ConfigError: fewer than 2 models: use `calibrated_loss`; or shapes that do not fit.
    """
    attacked = confidence_logit(checked_scores(losses, "losses", least=1))
    without = confidence_logit(_of_models(shadows, len(attacked), "shadows"))
    everywhere = np.ones(without.shape, np.bool_)
    mean, variance = _moments(without, everywhere, "without the text")
    score: Floats = (attacked - mean) / np.sqrt(variance)
    return score


def likelihood_ratio(losses: npt.ArrayLike, shadows: npt.ArrayLike, included: npt.ArrayLike) -> Floats:
    """LiRA: ln of the ratio of the statistic's densities over trainings with and without the text.

    Args:
        losses: [n] under the attacked model.
        shadows: [K, n] under models trained like the attacked one, each on a half of the texts of its own.
        included: bool [K, n]: which shadow model was trained on which text; every text in 2 models or more, and out of
            2 or more.

    Returns:
        [n], nats.

    Raises:
        ConfigError: a text that is in or out of fewer than 2 models, or shapes that do not fit.
    """
    attacked = confidence_logit(checked_scores(losses, "losses", least=1))
    statistics = confidence_logit(_of_models(shadows, len(attacked), "shadows"))
    inside = np.asarray(included, np.bool_)
    if inside.shape != statistics.shape:
        raise ConfigError("leakage", f"included has the shape {inside.shape}, the shadows' losses {statistics.shape}")
    ratio = _log_density(attacked, *_moments(statistics, inside, "with the text"))
    ratio -= _log_density(attacked, *_moments(statistics, ~inside, "without the text"))
    return ratio


@dataclass(frozen=True)
class MembershipInference:
    """What membership inference achieves.

    Attributes:
        attack: which score was used.
        members, others: how many texts of each kind.
        area: under the ROC curve, with DeLong's interval.
        points: the true-positive rate at each rate that was asked for.
        sees: what the adversary has.
    """

    attack: str
    members: int
    others: int
    area: Interval
    points: tuple[OperatingPoint, ...]
    sees: Sees = Sees.MODEL

    def figures(self) -> tuple[Figure, ...]:
        """The true-positive rates first: an average success says little of the few that are found for sure."""
        rates = tuple(
            Figure(
                f"true-positive rate at a false-positive rate of {point.rate:g}",
                point.true_positives.value,
                point.true_positives.low,
                point.true_positives.high,
                point.true_positives.confidence,
                "share",
                point.rate,
            )
            for point in self.points
        )
        area = self.area
        curve = Figure("area under the ROC curve", area.value, area.low, area.high, area.confidence, "share", 0.5)
        return (*rates, curve)


def membership_inference(
    scores: npt.ArrayLike,
    members: npt.ArrayLike,
    *,
    rates: Sequence[float] = (1e-3,),
    confidence: float = 0.95,
    attack: str = "membership inference",
    sees: Sees = Sees.MODEL,
) -> MembershipInference:
    """What these scores achieve, held against the truth.

    Members and others must be drawn from one distribution by coins: texts that differ in their date, source or format
    are told apart without any model. The intervals are about these texts under this one training.

    Args:
        scores: [n]; the greater, the more likely is the text a member.
        members: bool [n]; two or more of each kind.
        rates: false-positive rates, each in (0, 1), chosen before the scores are seen.
        confidence: of every interval.
        attack: name of the score, for the report.
        sees: what the adversary has.

    Raises:
        ConfigError: fewer than 1/rate others for a rate; shapes that do not fit; a score that is not a finite number.
    """
    values, truth = checked_scores(scores, "scores"), np.asarray(members, np.bool_)
    if truth.shape != values.shape:
        raise ConfigError("leakage", f"{values.shape} scores, and the truth about {truth.shape}")
    inside, outside = values[truth], values[~truth]
    points = tuple(operating_point(inside, outside, rate, confidence) for rate in rates)
    return MembershipInference(attack, len(inside), len(outside), auc(inside, outside, confidence), points, sees)


def _of_models(losses: npt.ArrayLike, texts: int, what: str) -> Floats:
    values = np.atleast_2d(np.asarray(losses, np.float64))
    if values.ndim != 2 or values.shape[1] != texts or not len(values):
        raise ConfigError("leakage", f"{what}: losses of the shape [models, {texts}] are needed, not {values.shape}")
    if not np.isfinite(values).all():
        raise ConfigError("leakage", f"{what}: a loss is not a finite number")
    return values


def _moments(statistics: Floats, counted: npt.NDArray[np.bool_], which: str) -> tuple[Floats, Floats]:
    """Mean and variance for each text over the models that count for it."""
    models = counted.sum(axis=0)
    if models.min() < LEAST_SHADOWS:
        raise ConfigError(
            "leakage",
            f"a text has {models.min()} shadow models {which}, {LEAST_SHADOWS} are needed for a likelihood: "
            "train more, or use calibrated_loss",
        )
    mean = np.where(counted, statistics, 0.0).sum(axis=0) / models
    squares = np.where(counted, (statistics - mean) ** 2, 0.0).sum(axis=0)
    common = squares.sum() / (models - 1).sum()
    variance = np.where(models >= _VARIANCE_OF_ITS_OWN, squares / (models - 1), common)
    return mean, np.maximum(variance, _LEAST_VARIANCE)


def _log_density(values: Floats, mean: Floats, variance: Floats) -> Floats:
    density: Floats = -((values - mean) ** 2) / (2 * variance) - np.log(variance) / 2
    return density
