"""Noise for a target: it keeps the target, and a little less of it does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.accounting import (
    DiscreteGaussianSum,
    Event,
    Failure,
    Gaussian,
    PoissonSampled,
    Skellam,
    Unit,
    effective_multiplier,
    epsilon,
    noise_multiplier,
    skellam_variance,
)
from securefed.dp.accounting.calibration import Sampling, discrete_gaussian_sigma
from securefed.dp.sampling import FixedBatches, Poisson, TruncatedPoisson
from tests.rules import case, refused

LESS = 0.999


@pytest.mark.parametrize(
    ("sampling", "steps", "target", "delta"),
    [
        (Poisson(10_000, 0.01), 1000, 8.0, 1e-6),
        (Poisson(10_000, 0.01), 1000, 0.5, 1e-6),
        (TruncatedPoisson(100, 0.1, 30), 10, 0.7, 1e-5),
        (FixedBatches(1000, 100), 25, 4.0, 1e-5),
        (None, 7, 1.0, 1e-12),
    ],
)
def test_noise_multiplier(sampling: Sampling | None, steps: int, target: float, delta: float) -> None:
    z = noise_multiplier(target, delta, sampling=sampling, steps=steps)

    def spent(noise: float) -> float:
        if sampling is None:
            return epsilon({Gaussian(noise): steps}, delta)
        return epsilon({sampling.event(noise): sampling.charges(steps)}, delta)

    assert spent(z) <= target < spent(z * LESS)


def test_fixed_batches_need_what_their_passes_need() -> None:
    z = noise_multiplier(17.857, 1e-5, sampling=FixedBatches(1000, 10), steps=1000)
    assert z == pytest.approx(1.0, rel=1e-3)
    amplified = noise_multiplier(17.857, 1e-5, sampling=Poisson(1000, 0.01), steps=1000)
    assert amplified < 0.6


@pytest.mark.parametrize("groups", [24])
def test_the_quantiles_cost_is_in_the_noise(groups: int) -> None:
    sampler = Poisson(10_000, 0.01)
    plain = noise_multiplier(2.0, 1e-5, sampling=sampler, steps=100)
    z = noise_multiplier(2.0, 1e-5, sampling=sampler, steps=100, quantile_groups=groups, quantile_deviation=20.0)
    assert z > plain
    assert epsilon({sampler.event(effective_multiplier(z, groups, 20.0)): 100}, 1e-5) <= 2.0


@given(st.floats(0.1, 20), st.integers(1, 100), st.floats(0.5, 100))
def test_counts_and_sum_are_one_gaussian_release(z: float, groups: int, deviation: float) -> None:
    """The same as releasing the sum and then each count with a multiplier of 2·σ_b: Gaussians compose exactly."""
    joint = effective_multiplier(z, groups, deviation)
    assert joint**-2 == pytest.approx(z**-2 + groups * (2 * deviation) ** -2)
    assert joint <= z
    assert effective_multiplier(z) == z


def test_counts_and_sum_cost_what_they_cost_apart() -> None:
    apart = epsilon({Gaussian(1.0): 1, Gaussian(2 * 3.0): 5}, 1e-5)
    assert epsilon([Gaussian(effective_multiplier(1.0, 5, 3.0))], 1e-5) == pytest.approx(apart, rel=1e-4)


@pytest.mark.parametrize("failure", [0.0, 1e-9])
def test_noise_on_integers(failure: float) -> None:
    failed: dict[Event, int] = {Failure(failure): 10} if failure else {}
    v = skellam_variance(2.0, 1e-6, l1=100, l2=10, times=10, failure=failure)
    for variance, keeps in ((v, True), (v * LESS, False)):
        assert (epsilon({Skellam(100, 10, variance): 10, **failed}, 1e-6) <= 2.0) == keeps
    sigma = discrete_gaussian_sigma(2.0, 1e-6, l2=100.0, clients=10, dimension=1000, times=10, failure=failure)
    for deviation, keeps in ((sigma, True), (sigma * LESS, False)):
        assert (epsilon({DiscreteGaussianSum(100.0, deviation, 10, 1000): 10, **failed}, 1e-6) <= 2.0) == keeps


def test_the_unit_counts() -> None:
    eight = noise_multiplier(2.0, 1e-5, steps=3, unit=Unit("user", 8))
    assert eight == pytest.approx(8 * noise_multiplier(2.0, 1e-5, steps=3), rel=1e-3)


def test_the_second_accountant_wants_more_noise() -> None:
    sampler = Poisson(1000, 0.01)
    pld, rdp = (noise_multiplier(2.0, 1e-5, sampling=sampler, steps=100, accountant=by) for by in ("pld", "rdp"))
    assert pld < rdp
    assert epsilon({PoissonSampled(0.01, rdp): 100}, 1e-5, "rdp") <= 2.0


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        case("D10", "epsilon of 0", lambda: noise_multiplier(0.0, 1e-5)),
        case("D10", "a negative epsilon", lambda: noise_multiplier(-1.0, 1e-5)),
        case("D10", "an infinite epsilon", lambda: noise_multiplier(math.inf, 1e-5)),
        case("D10", "delta of 1", lambda: noise_multiplier(1.0, 1.0)),
        case("D10", "no steps", lambda: noise_multiplier(1.0, 1e-5, steps=0)),
        case("D10", "half a step", lambda: noise_multiplier(1.0, 1e-5, steps=0.5)),  # type: ignore[arg-type]
        case("D10", "counts without noise", lambda: noise_multiplier(1.0, 1e-5, quantile_groups=3)),
        case("D10", "counts too dear", lambda: noise_multiplier(1.0, 1e-5, quantile_groups=9, quantile_deviation=0.1)),
        case("D10", "negative groups", lambda: effective_multiplier(1.0, -1)),
        case("D10", "negative noise", lambda: effective_multiplier(-1.0)),
        case("D10", "failures above delta", lambda: skellam_variance(1.0, 1e-6, l1=10, l2=1, failure=1e-5)),
    ],
)
def test_refused(rule: str, make: Callable[[], float]) -> None:
    with refused(rule):
        make()
