"""Ranges that the noise does not leave, events that say what was released, and the way from a budget to them."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.accounting import DiscreteGaussianSum, Failure, Gaussian, Ledger, Skellam, Unit, epsilon
from securefed.dp.distributed import Kind, Parameters
from securefed.dp.distributed.tails import log2_tail, reach
from securefed.encoding.quantize import Numbers
from securefed.errors import BudgetExceeded
from tests.dp.distributed.cases import KINDS, SMALL
from tests.rules import refused


def tail(kind: Kind, variance: float, beyond: int) -> float:
    """The probability of |X| > beyond, added up from the laws themselves."""
    if kind is Kind.DISCRETE_GAUSSIAN:
        weights = [math.exp(-(x**2) / (2 * variance)) for x in range(2000)]
    else:  # the characteristic function of Poisson(v/2) − Poisson(v/2), by the Fourier transform
        angles = 2 * np.pi * np.arange(4096) / 4096
        law = np.fft.fft(np.exp(variance * (np.cos(angles) - 1))).real / 4096
        weights = law[:2000].tolist()
    return 2 * math.fsum(weights[beyond + 1 :]) / (2 * math.fsum(weights) - weights[0])


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("variance", [0.25, 1.0, 3.7, 40.0, 900.0])
def test_the_tail_bound_is_one_and_not_far_off(kind: Kind, variance: float) -> None:
    """Never below the true tail, and within a factor that grows with the deviations alone."""
    for deviations in (0.5, 1, 2, 3, 4, 5, 6):
        beyond = int(deviations * math.sqrt(variance))
        true, bound = tail(kind, variance, beyond), 2 ** log2_tail(kind, variance, beyond)
        if true > 1e-11:
            assert true <= bound * (1 + 1e-6)
            assert bound <= true * 8 * (2 + deviations)


@given(
    kind=st.sampled_from(Kind),
    variance=st.floats(0.25, 2.0**40),
    numbers=st.integers(1, 2**50),
    bits=st.integers(1, 1000),
)
def test_the_reach_is_the_least_that_is_enough(kind: Kind, variance: float, numbers: int, bits: int) -> None:
    found = reach(kind, variance, numbers, bits)
    assert log2_tail(kind, variance, found) + math.log2(numbers) <= -bits
    assert found == 0 or log2_tail(kind, variance, found - 1) + math.log2(numbers) > -bits


def test_a_poisson_tail_needs_more_range_than_a_normal_one() -> None:
    """A Skellam number of a small variance reaches further: the bound of a Gaussian would be wrong for it."""
    assert reach(Kind.SKELLAM, 1.0, 1, 100) > 1.5 * reach(Kind.DISCRETE_GAUSSIAN, 1.0, 1, 100)


@pytest.mark.parametrize("bits", range(2, 23))
@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_enough_or_refused(bits: int, kind: str) -> None:
    """Where they are taken, signal and noise fit; where refused, they do not."""
    needed = replace(SMALL, kind=kind).signal_bound + replace(SMALL, kind=kind).noise_reach
    if 2 ** (bits - 1) - 1 < needed:
        with refused("N7"):
            replace(SMALL, bits=bits, kind=kind)
        return
    p = replace(SMALL, bits=bits, kind=kind)
    assert p.signal_bound + p.noise_reach <= p.greatest
    assert p.overflow_log2 <= -p.failure_bits


@pytest.mark.rule("N7")
def test_what_the_message_of_too_few_bits_says_is_enough() -> None:
    with refused("N7") as caught:
        replace(SMALL, bits=8)
    needed = int(str(caught.value).split(" bits) so that")[0].split("(")[-1])
    assert replace(SMALL, bits=needed).bits == needed
    with refused("N7"):
        replace(SMALL, bits=needed - 1)


@pytest.mark.rule("N6")
@pytest.mark.parametrize(
    "changes",
    [{"clients": 1.5}, {"bits": True}, {"corrupt": 6}, {"grid": None}, {"kind": "gaussian"}, {"dimension": 0}],
)
def test_numbers_that_make_no_mechanism_are_refused(changes: dict[str, Any]) -> None:
    with refused("N6"):
        replace(SMALL, **changes)


def test_the_events_are_of_the_honest_noise_alone() -> None:
    noise, lost = SMALL.planned
    assert noise == Skellam(l1=noise.l1, l2=noise.l2, variance=3 * 900.0)
    assert SMALL.event(4) == SMALL.planned  # one of the four is corrupt
    full, _ = SMALL.event(8)
    assert full.variance == 7 * 900.0
    assert isinstance(lost, Failure)
    assert 0 < lost.probability <= 2.0**-100
    tight = replace(SMALL, bits=11)
    assert tight.planned[1] == Failure(2.0**tight.overflow_log2)
    gaussian, _ = replace(SMALL, kind="discrete-gaussian").event(6)
    assert gaussian == DiscreteGaussianSum(noise.l2, 30.0, 5, SMALL.length, noise.l1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_survivor_more_costs_less(kind: str) -> None:
    p = replace(SMALL, kind=kind)
    costs = [epsilon(p.event(m), 1e-6, "rdp") for m in range(4, 9)]
    assert costs[0] == epsilon(p.planned, 1e-6, "rdp")
    assert all(a > b for a, b in pairwise(costs))


@pytest.mark.rule("N10")
@pytest.mark.parametrize("survivors", [0, 3, 9])
def test_a_sum_with_other_noise_than_planned_is_no_event(survivors: int) -> None:
    with refused("N10"):
        SMALL.event(survivors)


def test_a_failure_that_is_likely_has_its_price() -> None:
    likely = replace(SMALL, failure_bits=25, bits=10, variance=1700.0)
    assert likely.overflow_log2 > -40
    with_, without = (epsilon(events, 1e-6, "rdp") for events in (likely.planned, likely.planned[:1]))
    assert with_ > without


BUDGETS = [(8.0, 1, 1000), (2.0, 10, 10**5), (8.0, 100, 10**6), (1.0, 1, 10**7), (20.0, 1, 10**6)]


@pytest.mark.parametrize(("target", "rounds", "dimension"), BUDGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_is_kept_and_used(target: float, rounds: int, dimension: int, kind: str) -> None:
    """And the whole noise is that of a central Gaussian within 2%: rounding 1%, the search and the law the rest.

    Skellam noise is accounted at whole orders alone, which shows where the best order is about 2: at a large ε.
    """
    p = Parameters.for_budget(
        target, 1e-6, rounds=rounds, clients=100, least_honest=46, corrupt=10, dimension=dimension, clip=2.0, kind=kind
    )
    spent = epsilon(dict.fromkeys(p.planned, rounds), 1e-6, "rdp")
    assert 0.99 * target <= spent <= target
    central = central_multiplier(target, 1e-6, rounds)
    ours = math.sqrt(p.least_honest * p.variance) / p.grid
    assert 1.0 <= ours / central <= (1.02 if target <= 8 else 1.03)
    assert p.l2_squared <= (1.01 * p.grid) ** 2
    with refused("N7"):
        replace(p, bits=p.bits - 1)


def central_multiplier(target: float, delta: float, rounds: int) -> float:
    """Of one trusted party's Gaussian noise on the sum, by the same accountant."""
    low, high = 0.01, 1000.0
    while high / low > 1.0001:
        middle = math.sqrt(low * high)
        good = epsilon({Gaussian(middle): rounds}, delta, "rdp") <= target
        low, high = (low, middle) if good else (middle, high)
    return low


def test_fewer_bits_are_bought_with_a_coarser_grid() -> None:
    def budget(bits: int | None) -> Parameters:
        return Parameters.for_budget(
            8.0, 1e-6, rounds=1, clients=100, least_honest=46, dimension=10**5, clip=1.0, bits=bits
        )

    free = budget(None)
    found = [budget(bits) for bits in range(free.bits - 3, free.bits + 2)]
    assert [p.bits for p in found] == list(range(free.bits - 3, free.bits + 2))
    errors = [p.expected_error() for p in found]
    assert errors[0] > errors[1] > errors[2] > errors[3] * 0.99
    assert errors[3] == errors[4] == free.expected_error()
    for p in found:
        assert epsilon(p.planned, 1e-6, "rdp") <= 8.0
    with refused("N7"):
        budget(3)


def test_a_grid_is_coarsened_where_no_bits_would_hold_the_noise() -> None:
    """Of few clients, many coordinates and a small budget."""
    p = Parameters.for_budget(1.0, 1e-6, rounds=100, clients=4, least_honest=2, dimension=10**7, clip=1.0)
    assert p.bits == 22
    assert p.l2_squared > (1.01 * p.grid) ** 2
    assert epsilon(dict.fromkeys(p.planned, 100), 1e-6, "rdp") <= 1.0


@pytest.mark.rule("N6")
@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0.0},
        {"epsilon": math.nan},
        {"delta": 1.0},
        {"delta": 1e-40},
        {"rounds": 0},
        {"excess": 0.0},
        {"clip": -1.0},
        {"kind": "laplace"},
        {"bits": 23},
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(changes: dict[str, Any]) -> None:
    good = {"epsilon": 8.0, "delta": 1e-6, "rounds": 1, "clients": 10, "least_honest": 5, "dimension": 9, "clip": 1.0}
    assert Parameters.for_budget(**good)
    with refused("N6"):
        Parameters.for_budget(**(good | changes))


def test_a_ledger_takes_what_is_planned_and_stops_at_the_budget() -> None:
    p = Parameters.for_budget(4.0, 1e-6, rounds=3, clients=10, least_honest=5, dimension=50, clip=1.0)
    ledger = Ledger(Unit("client"), delta=1e-6, budget=4.0)
    for _ in range(3):
        for event in p.planned:
            ledger.spend(event)
    assert 3.9 < ledger.epsilon() <= 4.0
    with pytest.raises(BudgetExceeded):
        ledger.spend(p.planned[0])


def test_numbers_and_layout_are_what_a_round_needs() -> None:
    numbers, layout = SMALL.numbers, SMALL.layout
    assert numbers == Numbers(8, 13, 4095.0)
    assert (numbers.scale, numbers.step) == (1.0, 1.0)
    assert (layout.size, layout.metrics) == (SMALL.length, ())
    assert layout.tensors[0].dtype == "float64"
    greatest = Parameters(2**20, 1, 0, 10**7, 1.0, 2**10, 22, 2.0**20)
    assert greatest.numbers.lanes.width <= 43
