"""The Rényi divergence of one event at each order: an upper bound that adds up, fast enough for every step.

Sampled Gaussians are computed by `dp-accounting` where it is exact, and else by quadrature over their one-dimensional
dominating pair; noise on integers by the theorems of the papers that introduced it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.dp.accounting import packages
from securefed.dp.accounting.events import (
    DiscreteGaussianSum,
    Event,
    Failure,
    Gaussian,
    PoissonSampled,
    Skellam,
    TruncatedPoissonSampled,
)
from securefed.dp.accounting.pairs import Mixture, truncated_parts, unit_mixture

__all__ = ["ORDERS", "Curve", "curve", "epsilon_of"]

Curve = npt.NDArray[np.float64]
"""The divergence at each of `ORDERS`; infinite where nothing is known at that order."""

ORDERS: Final = np.array(
    [1 + x / 10 for x in range(1, 100)] + list(range(11, 64)) + [64, 128, 256, 512, 1024], np.float64
)
_WHOLE: Final = np.mod(ORDERS, 1) == 0
_SMALL_ORDER: Final = 11.0
_GREATEST_BY_QUADRATURE: Final = 256.0
"""The range of a quadrature grows with the order, and a greater one decides only where ε is far below 0.1."""
_TAIL: Final = 12.0
_POINTS_PER_DEVIATION: Final = 16
_MOST_POINTS: Final = 2**20


@lru_cache(maxsize=4096)
def curve(event: Event, records: int = 1) -> Curve:
    """The Rényi divergence of an event at each of `ORDERS`.

    Args:
        event: what was released.
        records: how many records of one unit there are at most (`Unit.records`).

    Raises:
        ConfigError: an event that cannot be accounted for so many records; `dp-accounting` is missing.
    """
    match event:
        case Failure():
            result = np.zeros_like(ORDERS)
        case Gaussian():
            step = unit_mixture(event, records).greatest
            result = ORDERS * step**2 / 2 if math.isfinite(step) else np.full_like(ORDERS, math.inf)
        case Skellam():
            result = np.where(_WHOLE, _skellam(event, records), math.inf)
        case DiscreteGaussianSum():
            result = ORDERS * _concentration(event, records) ** 2 / 2
        case PoissonSampled(relation="replace-one") | TruncatedPoissonSampled() | PoissonSampled():
            result = _sampled(event, records)
        case _:
            raise TypeError(f"{event} is no event")
    result.flags.writeable = False
    return result


def epsilon_of(total: Curve, delta: float) -> float:
    """The least ε at which a total divergence gives (ε, δ), by the conversion of arXiv 2004.00010, Proposition 12.

    Args:
        total: the sum of the events' curves.
        delta: 0 < δ < 1.
    """
    known = np.isfinite(total)
    if not known.any():
        return math.inf
    conversion = packages.rdp_conversion()
    return float(conversion(ORDERS[known], total[known], delta)[0])


def _skellam(event: Skellam, records: int) -> Curve:
    """Agarwal, Kairouz, Liu 2021 (arXiv 2110.04995), Theorem 3.5 in each coordinate; for whole orders."""
    l1, l2, mu = records * event.l1, records * event.l2, event.variance
    excess = np.minimum(((2 * ORDERS - 1) * l2**2 + 6 * l1) / (4 * mu**2), 3 * l1 / (2 * mu))
    return np.asarray(ORDERS * l2**2 / (2 * mu) + excess)


def _concentration(event: DiscreteGaussianSum, records: int) -> float:
    """ε of ½ε²-concentrated privacy: Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), Theorem 1."""
    l2, n, d = records * event.l2, event.clients, event.dimension
    l1 = math.sqrt(d) * l2 if event.l1 is None else records * event.l1
    # Terms fall from exp(−π²σ²) to exp(−2π²σ²); those that are not listed are at most the last that is.
    listed = min(n - 1, 10_000)
    terms = [math.exp(-2 * (math.pi * event.sigma) ** 2 * k / (k + 1)) for k in range(1, listed + 1)]
    tau = 10 * (math.fsum(terms) + (terms[-1] * (n - 1 - listed) if terms else 0.0))
    share = l2 / (math.sqrt(n) * event.sigma)
    return min(
        math.sqrt(share**2 + tau * d / 2),
        math.sqrt(share**2 + 2 * tau * l1 / (math.sqrt(n) * event.sigma) + tau**2 * d),
        share + tau * math.sqrt(d),
    )


def _sampled(event: PoissonSampled | TruncatedPoissonSampled, records: int) -> Curve:
    if event.noise_multiplier == 0:
        return np.full_like(ORDERS, math.inf)
    if isinstance(event, PoissonSampled) and event.relation != "replace-one" and records == 1:
        # Between whole orders the library has a series that is looser, and slower, than quadrature.
        result = _by_quadrature(unit_mixture(event)).copy()
        result[_WHOLE] = packages.poisson_curve(event.rate, event.noise_multiplier, ORDERS[_WHOLE])
        return result
    if isinstance(event, PoissonSampled):
        return _by_quadrature(unit_mixture(event, records))
    # Whether the sample was cut does not depend on the record: given both cases, the moments are averaged.
    whole, cut, probability = truncated_parts(event, records)
    parts = [(1 - probability, _sampled(whole, records))]
    if probability > 0:
        parts.append((probability, _by_quadrature(cut)))
    moments = np.logaddexp.reduce([math.log(weight) + (ORDERS - 1) * part for weight, part in parts if weight > 0])
    return np.asarray(moments / (ORDERS - 1))


@lru_cache(maxsize=256)
def _by_quadrature(pair: Mixture) -> Curve:
    """The greater of both directions' divergences, by the trapezoidal rule.

    `p^α·q^(1−α)` of mixtures of unit Gaussians falls off like one, around a point that is at most α distances away. It
    is analytic up to about π/distance off the real axis: with steps of 1/16 of that the rule's error is e^-32.
    """
    result = np.full_like(ORDERS, math.inf)
    means = [mean for mean, _ in pair.upper + pair.lower]
    per_unit = _POINTS_PER_DEVIATION * max(1.0, pair.greatest / math.pi)
    for part in (ORDERS <= _SMALL_ORDER, (ORDERS > _SMALL_ORDER) & (ORDERS <= _GREATEST_BY_QUADRATURE)):
        reach = float(ORDERS[part].max()) * pair.greatest + _TAIL
        count = int(2 * (reach + max(map(abs, means))) * per_unit)
        if count > _MOST_POINTS:
            break
        x = np.linspace(min(means) - reach, max(means) + reach, count)
        p, q, log_step = _log_density(pair.upper, x), _log_density(pair.lower, x), math.log(x[1] - x[0])
        for at in np.flatnonzero(part):
            order = ORDERS[at]
            moments = [_log_sum(order * a + (1 - order) * b) + log_step for a, b in ((p, q), (q, p))]
            result[at] = max(0.0, *moments) / (order - 1)
    return result


def _log_density(mixture: tuple[tuple[float, float], ...], x: Curve) -> Curve:
    total = np.full_like(x, -math.inf)
    for mean, weight in mixture:
        if weight > 0:
            np.logaddexp(total, math.log(weight) - (x - mean) ** 2 / 2, out=total)
    return np.asarray(total - math.log(2 * math.pi) / 2)


def _log_sum(values: Curve) -> float:
    greatest = float(values.max())
    return greatest + math.log(float(np.exp(values - greatest).sum()))
