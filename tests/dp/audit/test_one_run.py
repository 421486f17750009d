"""The bound from one training run: against exact fractions, and by mechanisms whose ε is known."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.audit.one_run import OneRun, Outcome, epsilon_lower_bound, guess, p_value

RUNS = 100_000


def _exact(canaries: int, guesses: int, correct: int, odds: int, delta: Fraction) -> Fraction:
    """The p-value of theorem 5.2 where e^ε = odds, sum by sum as it stands there."""
    q = Fraction(odds, odds + 1)
    mass = [math.comb(guesses, w) * q**w * (1 - q) ** (guesses - w) for w in range(guesses + 1)]
    slack = [sum(mass[correct - i : correct], Fraction(0)) / i for i in range(1, correct + 1)]
    return min(Fraction(1), sum(mass[correct:], Fraction(0)) + 2 * canaries * delta * max(slack, default=Fraction(0)))


@given(
    st.integers(0, 40).flatmap(lambda r: st.tuples(st.just(r), st.integers(0, r), st.integers(r, r + 40))),
    st.integers(1, 50),
    st.sampled_from([Fraction(0), Fraction(1, 10**6), Fraction(1, 100), Fraction(1)]),
)
def test_the_p_value_is_the_theorems(numbers: tuple[int, int, int], odds: int, delta: Fraction) -> None:
    guesses, correct, canaries = numbers
    exact = float(_exact(canaries, guesses, correct, odds, delta))
    assert p_value(canaries, guesses, correct, math.log(odds), float(delta)) == pytest.approx(exact, rel=1e-9)


def test_the_bound_is_where_the_p_value_is_the_false_alarm_rate() -> None:
    for numbers in [(1000, 1000, 1000, 0.0), (1000, 500, 490, 1e-5), (10**4, 10**4, 6000, 1e-9)]:
        canaries, guesses, correct, delta = numbers
        bound = epsilon_lower_bound(*numbers, false_alarm=0.05)
        assert p_value(canaries, guesses, correct, bound, delta) == pytest.approx(0.05, rel=1e-6)
    # All of r guesses right: (1 + e^−ε)^−r = β has the solution −log(β^(−1/r) − 1).
    assert epsilon_lower_bound(1000, 1000, 1000, 0.0) == pytest.approx(-math.log(0.05**-1e-3 - 1), rel=1e-9)
    assert epsilon_lower_bound(1000, 1000, 500, 0.0) == 0.0
    assert epsilon_lower_bound(1000, 0, 0, 0.0) == 0.0


@given(st.integers(1, 300), st.data())
def test_more_is_refuted_by_more_right_guesses_and_less_by_a_greater_claim(canaries: int, data: st.DataObject) -> None:
    guesses = data.draw(st.integers(1, canaries))
    correct = data.draw(st.integers(0, guesses - 1))
    delta = data.draw(st.sampled_from([0.0, 1e-9, 1e-5]))
    bounds = [epsilon_lower_bound(canaries, guesses, v, delta) for v in (correct, correct + 1)]
    assert bounds[0] <= bounds[1]
    refuted = [p_value(canaries, guesses, correct, epsilon, delta) <= 0.05 for epsilon in np.linspace(0, 8, 33)]
    assert refuted == sorted(refuted, reverse=True)


@pytest.mark.parametrize(("epsilon", "false_alarm"), [(0.5, 0.05), (2.0, 0.05), (4.0, 0.2)])
def test_randomised_response_is_bounded_from_below_and_closely(epsilon: float, false_alarm: float) -> None:
    """Its guesses are right with probability e^ε/(1+e^ε) exactly: the bound is over ε in a share β of the runs."""
    rng = np.random.default_rng(3)
    canaries = 1000
    correct = rng.binomial(canaries, 1 / (1 + math.exp(-epsilon)), RUNS)
    bounds = {v: epsilon_lower_bound(canaries, canaries, int(v), 0.0, false_alarm) for v in np.unique(correct)}
    over = sum(bounds[v] > epsilon for v in correct)
    # Hoeffding: the share is off by so much once in 10^9; the binomial's steps may take half of β.
    slack = math.sqrt(RUNS * math.log(1e9) / 2)
    assert RUNS * false_alarm / 2 - slack <= over <= RUNS * false_alarm + slack
    assert np.median([bounds[v] for v in correct]) >= 0.75 * epsilon


@given(st.integers(1, 200), st.sampled_from([0.1, 1.0, 3.0]), st.sampled_from([1e-9, 1e-4, 1e-2]))
def test_a_mechanism_that_tells_all_with_probability_delta_is_allowed_for(
    canaries: int, epsilon: float, delta: float
) -> None:
    """It is (ε, δ)-DP for each canary: what it achieves must be no less likely than the p-value says."""
    right = 1 / (1 + math.exp(-epsilon))
    happens = delta + (1 - delta) * right**canaries
    assert p_value(canaries, canaries, canaries, epsilon, delta) >= happens * (1 - 1e-9)


@pytest.mark.parametrize(("z", "steps"), [(1.0, 1), (4.0, 16)])
def test_gaussian_noise_is_never_refuted(z: float, steps: int) -> None:
    """Steps of the Gaussian mechanism, seen by the best adversary against them: the sum of all releases."""
    from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant

    delta, canaries, false_alarm = 1e-6, 1000, 0.05
    accountant = PLDAccountant().compose(SelfComposedDpEvent(GaussianDpEvent(z), steps))
    epsilon = float(accountant.get_epsilon(delta))
    rng, over = np.random.default_rng(4), 0
    for _ in range(200):
        coins = rng.random(canaries) < 0.5
        scores = coins * steps + z * math.sqrt(steps) * rng.standard_normal(canaries)
        correct = np.count_nonzero(guess(scores, 400) == np.where(coins, 1, -1))
        over += Outcome(canaries, 400, int(correct), delta).refutes(epsilon, false_alarm)
    assert over <= 200 * false_alarm + math.sqrt(200 * math.log(1e9) / 2)


def test_guesses_are_the_surest_ones() -> None:
    scores = np.array([3.0, -2.0, 0.0, 1.0, -1.0])
    assert guess(scores, 2).tolist() == [1, -1, 0, 0, 0]
    assert guess(scores, 3).tolist() == [1, -1, 0, 1, 0]
    assert guess(scores, 5).tolist() == [1, -1, 1, 1, -1]
    assert guess(scores, 0).tolist() == [0] * 5
    assert guess(np.zeros(4), 2).tolist() == [-1, 0, 0, 1]  # scores that say nothing are still guessed for


def test_coins_are_fair_and_used_once() -> None:
    run = OneRun(10_000)
    assert abs(np.count_nonzero(run.included) - 5000) <= math.sqrt(10_000 * math.log(2e9) / 2)
    assert (OneRun(64).included != OneRun(64).included).any()
    scores = np.where(run.included, 1.0, -1.0)
    assert run.outcome(scores, 10_000, 0.0).correct >= 2 * min(
        np.count_nonzero(run.included), np.count_nonzero(~run.included)
    )
    with pytest.raises(ValueError, match="coins were used"):
        run.outcome(scores, 5000, 0.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: p_value(10, 11, 5, 1.0, 0.0),
        lambda: p_value(10, 5, 6, 1.0, 0.0),
        lambda: p_value(10, 5, -1, 1.0, 0.0),
        lambda: p_value(10, 5, 5, -1.0, 0.0),
        lambda: p_value(10, 5, 5, math.nan, 0.0),
        lambda: p_value(10, 5, 5, 1.0, 1.5),
        lambda: epsilon_lower_bound(10, 5, 5, 0.0, false_alarm=0.0),
        lambda: guess(np.zeros(3), 4),
        lambda: guess(np.array([0.0, math.nan]), 1),
        lambda: OneRun(3).outcome(np.zeros(4), 2, 0.0),
    ],
)
def test_numbers_that_do_not_belong_together_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()  # type: ignore[operator]
