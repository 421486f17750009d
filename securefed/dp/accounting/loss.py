"""Privacy loss distributions of events, on one grid that is fine enough and not finer, and their composition.

Grid points are rounded pessimistically ("connect the dots", arXiv 2207.04380): what comes out is an upper bound. How
far above depends on the grid's step *h* against one release's loss: each composition adds at most h²/4 to the loss's
variance. With a fixed step of 10^-4 a rate of 10^-5 gives twice the ε that it should. So *h* follows the events, within
bounds on time and memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from securefed.dp.accounting import packages
from securefed.dp.accounting.events import Event, Gaussian, PoissonSampled, Relation, TruncatedPoissonSampled
from securefed.dp.accounting.pairs import truncated_parts, unit_mixture
from securefed.dp.accounting.renyi import ORDERS, curve

__all__ = ["LEAST_DELTA", "composed", "has_distribution"]

LEAST_DELTA: Final = 1e-10
"""Below it the rounding of the Fourier transforms that compose distributions is no longer small against δ, and ε comes
out too low (at δ = 10^-12 by 0.04%, at 10^-14 by 1.4%): the Rényi accountant is used there."""

_SHARE_OF_DEVIATION: Final = 1 / 16
"""Of one release's root mean square loss: at most 0.1% more variance, half of that in ε."""
_COARSEST: Final = 2.0**-11
_COARSEST_OF_MIXTURES: Final = 2.0**-9
"""Units of several records, and cut samples: each grid point costs tens of microseconds there."""
_MOST_POINTS: Final = 2**20
"""Of one distribution: tens of megabytes, about a second. Where they do not suffice, as for rates of 10^-5 and less,
the step is coarser and the bound less tight."""
_LONG: Final = 600.0
_LOG_TAIL: Final = -50.0
_REACH: Final = 10.0
"""Deviations of a Gaussian beyond which less than e^-50 lies."""


def has_distribution(event: Event) -> bool:
    """Whether an event has a privacy loss distribution here."""
    return isinstance(event, Gaussian | PoissonSampled | TruncatedPoissonSampled)


def composed(counts: Iterable[tuple[Event, int]], records: int, relation: Relation) -> Any:
    """The distribution of all these events together; None where one of them has no noise.

    Args:
        counts: events that `has_distribution`, and how often each was released.
        records: of one unit.
        relation: theirs.
    """
    listed = sorted(counts, key=lambda entry: (entry[0].kind, repr(entry[0])))
    if any(event.noise_multiplier == 0 for event, _ in listed if isinstance(event, _SAMPLED)):
        return None
    return _composed(tuple(listed), records, relation)


@lru_cache(maxsize=64)
def _composed(counts: tuple[tuple[Event, int], ...], records: int, relation: Relation) -> Any:
    library = packages.loss_distributions()
    # Gaussians compose exactly, to one whose deviations add up.
    gaussians = [(event, count) for event, count in counts if isinstance(event, Gaussian)]
    square = math.fsum(count * unit_mixture(event, records).greatest ** 2 for event, count in gaussians)
    others = [(event, count) for event, count in counts if not isinstance(event, Gaussian)]
    step = _grid_step(others, square, records)
    total = library.identity(value_discretization_interval=step)
    if square > 0:
        whole = library.from_gaussian_mechanism(
            1 / math.sqrt(square), value_discretization_interval=step, log_mass_truncation_bound=_LOG_TAIL
        )
        total = total.compose(whole)
    for event, count in others:
        total = total.compose(_one(event, records, relation, step).self_compose(count))
    return total


@lru_cache(maxsize=64)
def _one(event: Event, records: int, relation: Relation, step: float) -> Any:
    """The distribution of one sampled release."""
    library, names = packages.loss_distributions(), packages.relations()
    related = {
        "zero-out": names.REPLACE_SPECIAL, "add-or-remove-one": names.ADD_OR_REMOVE_ONE, "replace-one":
        names.REPLACE_ONE,
    }[relation]  # fmt: skip
    common = {"value_discretization_interval": step, "log_mass_truncation_bound": _LOG_TAIL}
    if isinstance(event, TruncatedPoissonSampled):
        truncated_parts(event, records)  # refuses what is not analysed
        return library.from_truncated_subsampled_gaussian_mechanism(
            dataset_size=event.examples + (relation == "add-or-remove-one"),
            sampling_probability=event.rate,
            truncated_batch_size=event.most,
            noise_multiplier=event.noise_multiplier,
            neighboring_relation=related,
            **common,
        )
    assert isinstance(event, PoissonSampled)  # noqa: S101 - for the type checker
    pair = unit_mixture(event, records)
    if records == 1:
        return library.from_gaussian_mechanism(
            event.noise_multiplier, sampling_prob=event.rate, neighboring_relation=related, **common
        )
    return library.from_mixture_gaussian_mechanism(
        standard_deviation=1.0,
        sensitivities=[m for m, _ in pair.upper],
        sampling_probs=[w for _, w in pair.upper],
        **common,
    )


def _grid_step(others: list[tuple[Event, int]], square: float, records: int) -> float:
    """The grid's step *h*, a power of two, from what the Rényi divergences say of the loss."""
    total = ORDERS * square / 2
    releases = 1 if square else 0
    span = _span(math.sqrt(square))
    for event, count in others:
        total = total + count * curve(event, records)
        releases += count
        span = max(span, _sampled_span(event, records))
    if releases == 0:
        return _COARSEST
    known = np.flatnonzero(np.isfinite(total))
    # A loss of variance v has a divergence of about v·order/2. But for a probability of e^-50 it is below `greatest`.
    variance = 2 * float(total[known[0]] / ORDERS[known[0]])
    greatest = float((total[known] - _LOG_TAIL / (ORDERS[known] - 1)).min())
    simple = records == 1 and all(isinstance(event, PoissonSampled) for event, _ in others)
    coarsest = _COARSEST if simple else _COARSEST_OF_MIXTURES
    wanted = min(_SHARE_OF_DEVIATION * math.sqrt(variance / releases), coarsest)
    return float(2.0 ** math.floor(math.log2(max(wanted, 2 * max(span, greatest) / _MOST_POINTS))))


def _span(distance: float) -> float:
    """The greatest loss of one release of the Gaussian mechanism, but for a probability of e^-50."""
    return _REACH * distance + distance**2 / 2


def _sampled_span(event: Event, records: int) -> float:
    if isinstance(event, TruncatedPoissonSampled):
        whole, cut, _ = truncated_parts(event, records)
        pairs = [unit_mixture(whole), cut]
    else:
        assert isinstance(event, PoissonSampled)  # noqa: S101 - for the type checker
        pairs = [unit_mixture(event, records)]
    span = 0.0
    for pair in pairs:
        drawn = min(1.0, sum(weight for mean, weight in pair.upper if mean > 0))
        most = _span(pair.greatest)
        # A mixture's density is at most the sampled part's share of the moved one's, and the rest of the other's.
        span = max(span, math.log1p(drawn * math.expm1(most)) if most < _LONG else most)
    return span


_SAMPLED: Final = (Gaussian, PoissonSampled, TruncatedPoissonSampled)
