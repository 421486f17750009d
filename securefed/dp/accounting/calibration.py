"""The other way: the least noise that keeps a privacy target. What is returned has been verified to keep it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from securefed.dp.accounting.accountant import Accountant, check_delta, check_epsilon, epsilon, used_accountant
from securefed.dp.accounting.events import DiscreteGaussianSum, Event, Failure, Gaussian, Skellam
from securefed.dp.accounting.unit import Unit
from securefed.errors import ConfigError

__all__ = ["Sampling", "discrete_gaussian_sigma", "effective_multiplier", "noise_multiplier", "skellam_variance"]

_CLOSE_ENOUGH: Final = 1e-4
"""Relative width of the last bracket: the noise is at most so much larger than needed."""
_ROUGHLY: Final = 0.02
_LEAST: Final = 2.0**-20
_GREATEST: Final = 2.0**40
_MOST_TRIALS: Final = 60

Events = Callable[[float], Mapping[Event, int]]


class Sampling(Protocol):
    """What calibration needs of a sampler (`securefed.dp.sampling`)."""

    def event(self, noise_multiplier: float) -> Event:
        """What is charged at once."""
        ...

    def charges(self, steps: int) -> int:
        """How often it is charged in so many steps."""
        ...


def effective_multiplier(noise_multiplier: float, quantile_groups: int = 0, quantile_deviation: float = 0.0) -> float:
    """The noise multiplier of a step that releases noisy counts for private quantiles along with its sum.

    Each of K counts, centred (±½ for each record), moves by at most ½ with one record and has noise of deviation σ_b.
    Divide every part of the release by its own noise's deviation: the sum then moves by 1/z, each count by 1/(2σ_b),
    all together by (1/z² + K/(4σ_b²))^½ in ℓ₂, under noise of deviation 1. For K = 1 that is Theorem 1 of Andrew et al.
    2021 (arXiv 1905.03871).

    Args:
        noise_multiplier: z of the sum, ≥ 0.
        quantile_groups: K, how many counts; 0 for none.
        quantile_deviation: σ_b > 0 of each count's noise, in records.

    Returns:
        The multiplier that the step's event has.

    Raises:
        ConfigError: D10, for a number outside its bounds.
    """
    if not 0 <= noise_multiplier < math.inf:
        raise ConfigError("privacy.noise_multiplier", f"[D10] {noise_multiplier!r} is not from 0 and finite")
    extra = _square_of_counts(quantile_groups, quantile_deviation)
    if extra == 0 or noise_multiplier == 0:
        return noise_multiplier
    return 1 / math.sqrt(1 / noise_multiplier**2 + extra)


def noise_multiplier(
    epsilon: float,
    delta: float,
    *,
    sampling: Sampling | None = None,
    steps: int = 1,
    quantile_groups: int = 0,
    quantile_deviation: float = 0.0,
    unit: Unit | None = None,
    accountant: Accountant = "pld",
) -> float:
    """The least noise multiplier z with which so many steps are (ε, δ)-differentially private.

    Args:
        epsilon: the target, > 0.
        delta: 0 < δ < 1.
        sampling: how records are drawn; None for all of them in every step, without amplification.
        steps: how many, ≥ 1.
        quantile_groups: noisy counts that each step releases as well, see `effective_multiplier`.
        quantile_deviation: of their noise, in records.
        unit: its number of records counts; by default one.
        accountant: whose figure must keep the target.

    Returns:
        z, at most 0.01% above the least.

    Raises:
        ConfigError: D10, for a number outside its bounds, or where the counts alone cost more than the target.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ConfigError("privacy.steps", f"[D10] {steps!r} steps: a whole number from 1 is needed")
    times = steps if sampling is None else sampling.charges(steps)

    def events(effective: float) -> Mapping[Event, int]:
        return {Gaussian(effective) if sampling is None else sampling.event(effective): times}

    effective = _least(events, epsilon, delta, unit, accountant)
    left = 1 / effective**2 - _square_of_counts(quantile_groups, quantile_deviation)
    if left <= 0:
        raise ConfigError(
            "privacy.quantile_deviation",
            "[D10] the quantiles' counts alone cost more than the target: give them more noise",
        )
    # Rounded up, so that the event of this z has at least the multiplier that was verified.
    z = 1 / math.sqrt(left)
    while effective_multiplier(z, quantile_groups, quantile_deviation) < effective:
        z = math.nextafter(z, math.inf)
    return z


def skellam_variance(
    epsilon: float,
    delta: float,
    *,
    l1: float,
    l2: float,
    times: int = 1,
    failure: float = 0.0,
    unit: Unit | None = None,
) -> float:
    """The least variance of Skellam noise, over all clients, with which so many sums are (ε, δ)-private.

    Args:
        epsilon: the target, > 0.
        delta: 0 < δ < 1.
        l1: ℓ₁ sensitivity of the integer vector.
        l2: ℓ₂ sensitivity.
        times: how many sums are released.
        failure: probability, for each sum, that it is not the described one.
        unit: its number of records counts; by default one.

    Raises:
        ConfigError: D10, for a number outside its bounds, or a target that no noise keeps.
    """

    def events(deviation: float) -> Mapping[Event, int]:
        return {Skellam(l1, l2, deviation**2): times, **_failures(failure, times)}

    return _least(events, epsilon, delta, unit, "rdp") ** 2


def discrete_gaussian_sigma(
    epsilon: float,
    delta: float,
    *,
    l2: float,
    clients: int,
    dimension: int,
    l1: float | None = None,
    times: int = 1,
    failure: float = 0.0,
    unit: Unit | None = None,
) -> float:
    """The least σ of each client's discrete Gaussian noise with which so many sums are (ε, δ)-private.

    Args:
        epsilon: the target, > 0.
        delta: 0 < δ < 1.
        l2: ℓ₂ sensitivity of the integer vector.
        clients: whose noise is in the sum.
        dimension: of the vector.
        l1: ℓ₁ sensitivity, where known.
        times: how many sums are released.
        failure: probability, for each sum, that it is not the described one.
        unit: its number of records counts; by default one.

    Raises:
        ConfigError: D10, as for `skellam_variance`.
    """

    def events(sigma: float) -> Mapping[Event, int]:
        return {DiscreteGaussianSum(l2, max(sigma, 0.5), clients, dimension, l1): times, **_failures(failure, times)}

    return max(_least(events, epsilon, delta, unit, "rdp"), 0.5)


def _failures(probability: float, times: int) -> dict[Event, int]:
    return {Failure(probability): times} if probability else {}


def _square_of_counts(groups: int, deviation: float) -> float:
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 0:
        raise ConfigError("privacy.quantile_groups", f"[D10] {groups!r} is not a whole number from 0")
    if groups == 0:
        return 0.0
    if not 0 < deviation < math.inf:
        raise ConfigError("privacy.quantile_deviation", f"[D10] {deviation!r} is not above 0 and finite")
    return groups / (4 * deviation**2)


def _least(events: Events, target: float, delta: float, unit: Unit | None, accountant: Accountant) -> float:
    """The least noise (a deviation) whose events keep the target, by Rényi divergences first, for they are cheap."""
    check_epsilon(target)
    check_delta(delta)
    records = 1 if unit is None else unit.records

    def cost(noise: float, by: Accountant) -> float:
        return epsilon(events(noise), delta, by, records)

    low, high = _bracket(lambda noise: cost(noise, "rdp"), target)
    if accountant == "rdp" or used_accountant(events(high), delta) == "rdp":
        return _narrow(lambda noise: cost(noise, "rdp"), target, low, high)[1]
    high = _narrow(lambda noise: cost(noise, "rdp"), target, low, high, _ROUGHLY)[1]
    # The tighter accountant needs less noise: start just below, and go down in growing steps.
    if cost(high, "pld") > target:
        low, high = _bracket(lambda noise: cost(noise, "pld"), target, high)
    else:
        low, factor = high, 1.05
        while cost(low, "pld") <= target and low > _LEAST:
            low, high, factor = low / factor, low, factor**2
    return _narrow(lambda noise: cost(noise, "pld"), target, low, high)[1]


def _bracket(cost: Callable[[float], float], target: float, start: float = 1.0) -> tuple[float, float]:
    """Noise that does not keep the target, and noise that does."""
    low = high = start
    while cost(high) > target:
        low, high = high, 2 * high
        if high > _GREATEST:
            raise ConfigError("privacy", f"[D10] no amount of noise keeps ε = {target:g}: failures alone may cost more")
    while cost(low) <= target and low > _LEAST:
        low, high = low / 2, low
    return low, high


def _narrow(
    cost: Callable[[float], float], target: float, low: float, high: float, width_wanted: float = _CLOSE_ENOUGH
) -> tuple[float, float]:
    """The bracket, narrowed by a secant in logarithms that is kept away from its ends (and so always converges)."""
    at_low, at_high = cost(low), cost(high)
    for trial in range(_MOST_TRIALS):
        if high <= low * (1 + width_wanted):
            break
        width, share = math.log(high / low), 0.5
        if trial % 3 < 2 and 0 < at_high < target < at_low < math.inf:
            share = math.log(at_low / target) / math.log(at_low / at_high)
            # Just past the crossing on either side, so that the bracket closes from both.
            share += (1 if trial % 3 == 0 else -1) * 0.4 * width_wanted / width
        between = low * math.exp(width * min(max(share, 0.02), 0.98))
        value = cost(between)
        if value <= target:
            high, at_high = between, value
        else:
            low, at_low = between, value
    return low, high
