"""Noise of one round: its deviation, what is charged and in which order, and cohorts that may be amplified."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from securefed.dp.accounting import DiscreteGaussianSum, Gaussian, PoissonSampled
from securefed.dp.central.central_noise import CentralNoise
from securefed.dp.central.cohorts import FixedCohorts, PoissonCohorts
from securefed.dp.central.update_clip import rounded_sensitivity
from securefed.dp.noise.source import Source
from securefed.errors import BudgetExceeded, ConfigError
from tests.dp.central.spending import Charged
from tests.rules import case, refused

SIZE = 2**18 + 1000
"""More than a block of noise."""


def source(number: int = 1) -> Source:
    return Source(bytes([number]) * 32)


def test_the_mean_is_the_noised_sum_over_the_expected_cohort() -> None:
    ledger = Charged()
    total = np.linspace(-5, 5, SIZE)
    mean = CentralNoise(1.5, 40, source()).mean(total, 0.2, ledger)
    noise = (mean * 40 - total) / (1.5 * 0.2)
    assert abs(noise.mean()) < 5 / np.sqrt(SIZE)
    assert noise.std() == pytest.approx(1, abs=5 / np.sqrt(2 * SIZE))
    assert abs(np.corrcoef(noise[: SIZE // 2], noise[SIZE // 2 : SIZE // 2 * 2])[0, 1]) < 5 / np.sqrt(SIZE / 2)
    assert ledger.events == [Gaussian(1.5)]


@pytest.mark.parametrize("on_grid", [True, False])
def test_discrete_noise_lies_on_its_grid_and_counts_the_rounding(on_grid: bool) -> None:
    ledger, grid, size = Charged(), 0.01, 40_000
    total = np.rint(np.random.default_rng(1).normal(size=size) / grid) * grid
    mean = CentralNoise(2.0, 1, source(), grid=grid).mean(total, 0.5, ledger, on_grid=on_grid)
    steps = mean / grid
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    sensitivity = 0.5 if on_grid else rounded_sensitivity(0.5, size, grid)
    (event,) = ledger.events
    assert isinstance(event, DiscreteGaussianSum)
    assert (event.clients, event.dimension) == (1, size)
    assert event.l2 == pytest.approx(sensitivity / grid)
    assert event.sigma / event.l2 == pytest.approx(2.0)
    assert (mean - total).std() == pytest.approx(2 * sensitivity, rel=5 / np.sqrt(2 * size))


def test_two_releases_have_different_noise_and_are_both_charged() -> None:
    ledger, noise = Charged(), CentralNoise(1.0, 1, source())
    first, second = (noise.mean(np.zeros(100), 1.0, ledger) for _ in range(2))
    assert not np.isin(first, second).any()
    assert len(ledger.events) == 2


@pytest.mark.parametrize("grid", [None, 0.1])
def test_nothing_is_drawn_where_the_budget_is_used_up(grid: float | None) -> None:
    drawn_from = source()
    with pytest.raises(BudgetExceeded):
        CentralNoise(1.0, 1, drawn_from, grid).mean(np.zeros(8), 1.0, Charged(most=0))
    assert np.array_equal(drawn_from.words(4), source().words(4))


def test_a_sampled_event_is_charged_as_it_is() -> None:
    ledger = Charged()
    cohorts = PoissonCohorts(range(1, 101), 0.1, hidden=True)
    CentralNoise(1.0, cohorts.expected_cohort, source()).mean(np.zeros(3), 1.0, ledger, cohorts.event(1.0))
    assert ledger.events == [PoissonSampled(0.1, 1.0)]


def test_its_name_shows_no_key() -> None:
    assert repr(CentralNoise(1.0, 2, source())) == "CentralNoise(noise_multiplier=1.0, cohort=2.0, grid=None)"


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        case("U4", "no noise", (0.0, 10)),
        case("U4", "nan noise", (float("nan"), 10)),
        case("U4", "no cohort", (1.0, 0)),
        case("U4", "endless cohort", (1.0, float("inf"))),
        case("U4", "negative grid", (1.0, 1, -0.5)),
    ],
)
def test_numbers_refused(rule: str, arguments: tuple[float, ...]) -> None:
    multiplier, cohort, *grid = arguments
    with refused(rule):
        CentralNoise(multiplier, cohort, source(), *grid)


@pytest.mark.parametrize(
    ("rule", "total", "sensitivity", "event", "grid"),
    [
        case("U4", "another multiplier than the event", np.zeros(3), 1.0, PoissonSampled(0.1, 2.0), None),
        case("U4", "no sensitivity", np.zeros(3), 0.0, None, None),
        case("U5", "amplified discrete noise", np.zeros(3), 1.0, PoissonSampled(0.1, 1.0), 0.1),
        case("U6", "nan", np.array([0, np.nan]), 1.0, None, None),
        case("U6", "infinity", np.array([0, np.inf]), 1.0, None, None),
        case("U6", "float32", np.zeros(3, np.float32), 1.0, None, None),
        case("U6", "not flat", np.zeros((3, 1)), 1.0, None, None),
        case("U6", "beyond the grid", np.full(3, 1e18), 1.0, None, 0.1),
    ],
)
def test_releases_refused(rule: str, total: Any, sensitivity: float, event: Any, grid: float | None) -> None:
    ledger = Charged()
    with refused(rule):
        CentralNoise(1.0, 10, source(), grid).mean(total, sensitivity, ledger, event)
    assert not ledger.events


def test_cohorts_are_poisson_samples_of_the_ids() -> None:
    clients = (5, 9, 2, 7)
    rounds = list(PoissonCohorts(clients, 0.5, hidden=True).rounds(4000, 1.0, source()))
    assert {event for _, event in rounds} == {PoissonSampled(0.5, 1.0)}
    assert all(cohort == tuple(sorted(cohort)) for cohort, _ in rounds)
    counts = np.array([[client in cohort for client in sorted(clients)] for cohort, _ in rounds])
    np.testing.assert_allclose(counts.mean(axis=0), 0.5, atol=0.05)
    np.testing.assert_allclose(np.corrcoef(counts.T), np.eye(4), atol=0.08)
    assert () in dict(rounds)


def test_cohorts_that_are_seen_are_charged_in_full() -> None:
    seen = PoissonCohorts(range(1, 11), 0.1, hidden=False)
    assert seen.event(1.0) == Gaussian(1.0)
    assert seen.expected_cohort == pytest.approx(1.0)


@pytest.mark.rule("U5")
def test_amplification_is_refused_where_cohorts_are_seen() -> None:
    with refused("U5"):
        PoissonCohorts(range(1, 11), 0.1, hidden=False).amplified(1.0)


def test_each_client_is_in_one_round_of_a_pass_and_a_pass_is_charged_once() -> None:
    cohorts, ledger = FixedCohorts((4, 8, 1, 9, 3), 2), Charged()
    noise, met = CentralNoise(1.0, cohorts.expected_cohort, source(2)), list[tuple[int, ...]]()
    for cohort, event in cohorts.rounds(6, 1.0, source()):
        noise.mean(np.zeros(2), 1.0, ledger, event, charged=event is None)
        met.append(cohort)
    for first in (0, 3):
        assert sorted(client for cohort in met[first : first + 3] for client in cohort) == [1, 3, 4, 8, 9]
    assert ledger.events == [Gaussian(1.0)] * 2


def test_a_client_twice_is_refused() -> None:
    with pytest.raises(ConfigError):
        PoissonCohorts((1, 1), 0.5, hidden=True)
    with pytest.raises(ConfigError):
        FixedCohorts((1, 1), 1)


@pytest.mark.rule("U5")
def test_discrete_noise_is_not_charged_once_for_a_pass() -> None:
    with refused("U5"):
        CentralNoise(1.0, 1, source(), 0.1).mean(np.zeros(2), 1.0, Charged(), charged=True)
