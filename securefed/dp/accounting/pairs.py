"""The pair of one-dimensional distributions that is hardest to tell apart of all that an event's neighbours give.

In units of the noise's deviation: mixtures of Gaussians of deviation 1. Only the length of the difference counts, for
Gaussian noise is the same in every direction (for mixtures: arXiv 2310.15526, Corollary 4.7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from securefed.dp.accounting import packages
from securefed.dp.accounting.events import Gaussian, PoissonSampled, TruncatedPoissonSampled
from securefed.errors import ConfigError

__all__ = ["Mixture", "truncated_parts", "unit_mixture"]

Parts = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mixture:
    """Two mixtures of Gaussians of deviation 1: (mean, weight) for each component."""

    upper: Parts
    lower: Parts

    @property
    def greatest(self) -> float:
        """The largest distance between a component of one and one of the other."""
        return max(abs(a - b) for a, _ in self.upper for b, _ in self.lower)


def unit_mixture(event: Gaussian | PoissonSampled, records: int = 1) -> Mixture:
    """The pair of a release in which one unit has so many records, each drawn by itself.

    With *k* records at rate *q*, a binomial number of them is in the sample, and the sum moves by at most as many times
    C.

    Args:
        event: its relation may be any; under "replace-one" a record's change is 2·C.
        records: *k*.

    Raises:
        ConfigError: D10, for k > 1 records under "replace-one" with sampling, which is not analysed.
    """
    z = event.noise_multiplier
    step = 1 / z if z > 0 else math.inf
    if isinstance(event, Gaussian):
        moved = records * step * (2 if event.relation == "replace-one" else 1)
        return Mixture(((moved, 1.0),), ((0.0, 1.0),))
    if event.relation == "replace-one":
        if records > 1:
            raise ConfigError(
                "privacy.unit", "[D10] sampled units of several records are accounted under zero-out, not replace-one"
            )
        drawn = ((0.0, 1 - event.rate),) if event.rate < 1 else ()
        return Mixture(((step, event.rate), *drawn), ((-step, event.rate), *drawn))
    if records == 1:
        weights = [1 - event.rate, event.rate]
    else:
        weights = [float(w) for w in packages.binomial().pmf(range(records + 1), records, event.rate)]
    total = sum(weights)
    upper = tuple((count * step, weight / total) for count, weight in enumerate(weights) if weight > 0)
    return Mixture(upper, ((0.0, 1.0),))


def truncated_parts(event: TruncatedPoissonSampled, records: int = 1) -> tuple[PoissonSampled, Mixture, float]:
    """A truncated sample, by whether the others alone fill the cap, which no single record has a say in.

    Returns:
        the event where they do not; the pair where they do (a record that is drawn pushes another one out: the sum
        moves by up to 2·C); the probability that they do (arXiv 2508.15089, Section 4).

    Raises:
        ConfigError: D10, for units of several records, which are not analysed.
    """
    if records > 1:
        raise ConfigError(
            "privacy.unit", "[D10] units of several records are accounted for Poisson sampling without a cap only"
        )
    size = event.examples + (event.relation == "add-or-remove-one")  # the larger of two neighbours
    binomial = packages.binomial()
    full = float(binomial.sf(event.most - 1, size - 1, event.rate))
    whole = PoissonSampled(event.rate, event.noise_multiplier, event.relation)
    drawn = 0.0
    if full > 0:
        drawn = float(binomial.sf(event.most, size, event.rate)) * event.most / full / size
    step = 2 / event.noise_multiplier if event.noise_multiplier > 0 else math.inf
    rest = ((0.0, 1 - drawn),) if drawn < 1 else ()
    return whole, Mixture(((step, drawn), *rest), ((-step, drawn), *rest)), full
