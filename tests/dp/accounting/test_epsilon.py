"""ε of sampled and unsampled Gaussians: against dp-accounting itself, published figures, and what must be monotone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting import dp_event, pld, rdp
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from securefed.dp.accounting import (
    Event,
    Failure,
    Gaussian,
    PoissonSampled,
    Skellam,
    TruncatedPoissonSampled,
    epsilon,
    used_accountant,
)
from securefed.dp.accounting.pairs import unit_mixture
from securefed.dp.accounting.renyi import ORDERS, _by_quadrature, curve
from securefed.errors import ConfigError
from tests.rules import case, refused

GRID = [
    (q, z, steps, delta)
    for q in (1e-3, 1e-2, 0.2)
    for z in (0.6, 1.0, 4.0)
    for steps, delta in ((10, 1e-5), (1000, 1e-6))
]


def theirs(q: float, z: float, steps: int, delta: float) -> float:
    event = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(z))
    # Its usual grid of 10^-4 is 1.3% too high where one step's loss is that small.
    fine = 1e-5 if q / z < 1e-3 else 1e-4
    accountant = pld.PLDAccountant(value_discretization_interval=fine)
    return float(accountant.compose(event, steps).get_epsilon(delta))


def gaussian_delta(mu: float, bound: float) -> float:
    """δ(ε) of the Gaussian mechanism, exact: Balle and Wang 2018, Theorem 8."""
    normal = stats.norm
    return float(normal.cdf(mu / 2 - bound / mu) - math.exp(bound) * normal.cdf(-mu / 2 - bound / mu))


@pytest.mark.parametrize(("q", "z", "steps", "delta"), GRID)
def test_within_one_percent_of_dp_accounting(q: float, z: float, steps: int, delta: float) -> None:
    assert epsilon({PoissonSampled(q, z): steps}, delta) == pytest.approx(
        theirs(q, z, steps, delta), rel=0.01, abs=1e-4
    )
    event = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(z))
    second = rdp.RdpAccountant([*range(2, 64), 128, 256]).compose(event, steps).get_epsilon(delta)
    assert epsilon({PoissonSampled(q, z): steps}, delta, "rdp") <= second * (1 + 1e-9)


def test_published_figures() -> None:
    steps = {PoissonSampled(0.01, 1.0): 1000}
    assert epsilon(steps, 1e-5) == pytest.approx(1.828, abs=1e-3)
    assert epsilon(steps, 1e-5, "rdp") == pytest.approx(2.101, abs=1e-3)
    assert epsilon({Gaussian(1.0): 10}, 1e-5) == pytest.approx(17.86, abs=1e-2)


def test_a_user_with_eight_records_costs_more_than_eight_times() -> None:
    steps = {PoissonSampled(0.01, 1.0): 1000}
    assert epsilon(steps, 1e-5, records=8) == pytest.approx(20.9, abs=0.01)
    assert epsilon(steps, 1e-5, records=8) > 8 * epsilon(steps, 1e-5)
    assert epsilon(steps, 1e-5, "rdp", records=8) > epsilon(steps, 1e-5, records=8)


@pytest.mark.parametrize("mu", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-10])
def test_unsampled_gaussians_are_exact_and_never_below(mu: float, delta: float) -> None:
    found = epsilon({Gaussian(4 / mu): 16}, delta)
    assert gaussian_delta(mu, found) <= delta * (1 + 1e-6)
    assert gaussian_delta(mu, found * 0.995) > delta


def test_a_small_rate_is_resolved() -> None:
    """With a fixed grid of 10^-4 this one comes out at 0.030."""
    fine = pld.PLDAccountant(value_discretization_interval=1e-5)
    event = dp_event.PoissonSampledDpEvent(1e-4, dp_event.GaussianDpEvent(1.0))
    expected = fine.compose(event, 100).get_epsilon(1e-6)
    found = epsilon({PoissonSampled(1e-4, 1.0): 100}, 1e-6)
    assert found == pytest.approx(expected, rel=0.01)


def test_below_the_least_delta_the_renyi_figure_is_given() -> None:
    """Fourier transforms round: at δ = 10^-14 a composed distribution gives less than the truth."""
    steps: dict[Event, int] = {PoissonSampled(0.01, 1.0): 1000}
    assert used_accountant(steps, 1e-10) == "pld"
    assert used_accountant(steps, 9e-11) == "rdp"
    assert epsilon(steps, 1e-12) == epsilon(steps, 1e-12, "rdp")
    assert used_accountant([*steps, Skellam(1, 1, 10.0)], 1e-5) == "rdp"


def test_fixed_batches_are_not_amplified() -> None:
    """A pass over all records costs what one unsampled release costs: far more than Poisson steps."""
    assert epsilon({Gaussian(1.0): 10}, 1e-5) > 5 * epsilon({PoissonSampled(0.01, 1.0): 1000}, 1e-5)
    assert epsilon({PoissonSampled(1.0, 1.0): 10}, 1e-5) == pytest.approx(epsilon({Gaussian(1.0): 10}, 1e-5), rel=1e-3)


@pytest.mark.parametrize("relation", ["zero-out", "add-or-remove-one", "replace-one"])
def test_truncation_is_dp_accountings(relation: str) -> None:
    theirs_of = {
        "zero-out": NeighboringRelation.REPLACE_SPECIAL,
        "add-or-remove-one": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace-one": NeighboringRelation.REPLACE_ONE,
    }
    size = 1000 + (relation == "add-or-remove-one")
    event = dp_event.TruncatedSubsampledGaussianDpEvent(size, 0.02, 40, 1.0)
    expected = pld.PLDAccountant(theirs_of[relation], 1e-3).compose(event, 200).get_epsilon(1e-5)
    ours = TruncatedPoissonSampled(1000, 0.02, 40, 1.0, relation)  # type: ignore[arg-type]
    assert epsilon({ours: 200}, 1e-5) == pytest.approx(expected, rel=0.01)
    assert epsilon({ours: 200}, 1e-5, "rdp") > epsilon({ours: 200}, 1e-5)


def test_a_cap_costs_and_a_wide_one_next_to_nothing() -> None:
    free = epsilon({PoissonSampled(0.01, 1.0): 1000}, 1e-5)
    costs = [epsilon({TruncatedPoissonSampled(10_000, 0.01, cap, 1.0): 1000}, 1e-5) for cap in (130, 140, 160)]
    assert costs[0] > 1.5 * free
    assert costs[0] > costs[1] > costs[2] > free * (1 - 1e-6)
    assert costs[2] < free * 1.01


def test_replacing_is_twice_as_far() -> None:
    assert epsilon([Gaussian(2.0, "replace-one")], 1e-5) == pytest.approx(epsilon([Gaussian(1.0)], 1e-5))
    replaced = {PoissonSampled(0.01, 1.0, "replace-one"): 500}
    assert epsilon(replaced, 1e-5) > epsilon({PoissonSampled(0.01, 1.0): 500}, 1e-5)
    assert epsilon(replaced, 1e-5, "rdp") > epsilon(replaced, 1e-5)


@pytest.mark.parametrize(("q", "z"), [(0.01, 1.0), (0.3, 2.0)])
def test_quadrature_agrees_with_the_library(q: float, z: float) -> None:
    """At whole orders the library is exact; at the others its series is an upper bound, which we are below."""
    event = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(z))
    library = rdp.RdpAccountant(list(ORDERS[ORDERS <= 64])).compose(event).rdp
    ours = _by_quadrature(unit_mixture(PoissonSampled(q, z)))[ORDERS <= 64]
    whole = np.mod(ORDERS[ORDERS <= 64], 1) == 0
    assert whole.sum() > 50
    np.testing.assert_allclose(ours[whole], library[whole], rtol=1e-9)
    assert (ours <= library * (1 + 1e-9)).all()
    used = curve(PoissonSampled(q, z))[ORDERS <= 64]
    assert (np.diff(used) > 0).all()
    np.testing.assert_allclose(used, ours, rtol=1e-9)


def test_the_greater_direction_counts_for_units_of_several_records() -> None:
    """Divergence of order 2 of a binomial mixture, by its closed form E_Q[(P/Q)²] = Σ p_i p_j e^(ij/z²)."""
    weights = stats.binom.pmf(range(4), 3, 0.1)
    moment = sum(a * b * math.exp(i * j / 4) for i, a in enumerate(weights) for j, b in enumerate(weights))
    assert curve(PoissonSampled(0.1, 2.0), 3)[ORDERS == 2][0] == pytest.approx(math.log(moment), rel=1e-9)


def test_a_failure_is_added_to_delta_on_both_sides() -> None:
    """M within p of M*: (ε, δ* + p(1 + e^ε)). For randomised response with a failing branch it can be checked."""
    steps: dict[Event, int] = {Gaussian(1.0): 1}
    plain, p = epsilon(steps, 1e-5), 1e-9
    found = epsilon({**steps, Failure(p): 2}, 1e-5)
    assert plain < found < plain * 1.001
    assert epsilon(steps, 1e-5 - 2 * p * (1 + math.exp(found))) <= found
    assert epsilon({**steps, Failure(1e-6): 1}, 1e-5) == math.inf
    assert epsilon([Failure(4e-6)], 1e-5) == 0
    assert epsilon([Failure(6e-6)], 1e-5) == math.inf


def test_nothing_costs_nothing_and_no_noise_has_no_bound() -> None:
    assert epsilon([], 1e-5) == 0
    for event in (Gaussian(0.0), PoissonSampled(0.1, 0.0), TruncatedPoissonSampled(10, 0.1, 5, 0.0)):
        assert epsilon([event], 1e-5) == math.inf
        assert epsilon([event], 1e-5, "rdp") == math.inf


RATES = st.sampled_from([0.01, 0.3])
NOISE = st.sampled_from([1.0, 3.0])
STEPS = st.sampled_from([1, 30, 300])
SLACK = 1 + 3e-3


@given(RATES, RATES, NOISE, NOISE, STEPS, STEPS, st.sampled_from(["pld", "rdp"]))
def test_monotone(q: float, p: float, z: float, y: float, few: int, many: int, by: str) -> None:
    """More steps, a higher rate or less noise never cost less (up to what the grid rounds up)."""
    (q, p), (z, y), (few, many) = sorted((q, p)), sorted((z, y)), sorted((few, many))
    base = epsilon({PoissonSampled(q, y): few}, 1e-5, by)  # type: ignore[arg-type]
    for rate, noise, steps in ((p, y, few), (q, z, few), (q, y, many)):
        assert base <= epsilon({PoissonSampled(rate, noise): steps}, 1e-5, by) * SLACK + 1e-6  # type: ignore[arg-type]


@given(RATES, NOISE, STEPS, st.sampled_from([1e-3, 1e-6, 1e-9]))
def test_more_delta_or_less_sampling_never_costs_more(q: float, z: float, steps: int, delta: float) -> None:
    sampled = epsilon({PoissonSampled(q, z): steps}, delta)
    assert epsilon({PoissonSampled(q, z): steps}, delta * 10) <= sampled + 1e-9
    assert sampled <= epsilon({Gaussian(z): steps}, delta) * SLACK + 1e-6
    assert sampled <= epsilon({PoissonSampled(q, z): steps, Gaussian(5.0): 1}, delta) * SLACK + 1e-6


@pytest.mark.parametrize(
    ("rule", "events", "delta"),
    [
        case("D10", "delta of 0", [Gaussian(1.0)], 0.0),
        case("D10", "delta of 1", [Gaussian(1.0)], 1.0),
        case("D10", "a negative delta", [Gaussian(1.0)], -1e-5),
        case("D10", "delta that is not a number", [Gaussian(1.0)], math.nan),
        case("D10", "events of two relations", [Gaussian(1.0), PoissonSampled(0.1, 1.0, "replace-one")], 1e-5),
        case("D10", "half an event", {Gaussian(1.0): 0.5}, 1e-5),
        case("D10", "fewer than none", {Gaussian(1.0): -1}, 1e-5),
        case("D10", "no event", ["gaussian"], 1e-5),
    ],
)
def test_refused(rule: str, events: list[Event], delta: float) -> None:
    with refused(rule):
        epsilon(events, delta)


def test_several_records_with_what_is_not_analysed() -> None:
    for event in (TruncatedPoissonSampled(100, 0.1, 50, 1.0), PoissonSampled(0.1, 1.0, "replace-one")):
        for by in ("pld", "rdp"):
            with refused("D10"):
                epsilon([event], 1e-5, by, records=2)  # type: ignore[arg-type]


def test_an_unknown_accountant() -> None:
    with pytest.raises(ConfigError, match="gdp"):
        epsilon([Gaussian(1.0)], 1e-5, "gdp")  # type: ignore[arg-type]
