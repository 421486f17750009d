"""Estimates and their intervals, against closed forms, SciPy and the rate at which they should hold."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from securefed.audit.leakage import Proportion, auc, operating_point
from securefed.audit.leakage.intervals import mean_interval
from securefed.audit.leakage.ranking import OperatingPoint
from securefed.audit.leakage.special import special
from securefed.errors import ConfigError


@given(st.integers(1, 300), st.data(), st.sampled_from([0.8, 0.95, 0.999]))
def test_a_proportion_has_the_exact_interval(trials: int, data: st.DataObject, confidence: float) -> None:
    successes = data.draw(st.integers(0, trials))
    mine = Proportion(successes, trials, confidence)
    theirs = stats.binomtest(successes, trials).proportion_ci(confidence, "exact")
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert mine.low <= mine.value <= mine.high


def test_no_proportion() -> None:
    for successes, trials, confidence in ((2, 1, 0.95), (-1, 4, 0.95), (0, 0, 0.95), (1, 2, 1.0)):
        with pytest.raises(ConfigError):
            Proportion(successes, trials, confidence)


@pytest.mark.parametrize(
    ("draw", "mean"),
    [(lambda rng: rng.normal(2, 3, 20), 2.0), (lambda rng: rng.exponential(1.5, 20), 1.5)],
    ids=["symmetric", "skewed"],
)
def test_the_interval_of_a_mean_holds_as_often_as_it_says(draw, mean) -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        interval = mean_interval(draw(rng))
        held += interval.low <= mean <= interval.high
    assert 920 <= held <= 975


def test_a_mean_of_symmetric_values_has_students_interval() -> None:
    values = np.array([-3.0, -1.0, 0.0, 1.0, 3.0]) + 7
    mine, theirs = mean_interval(values), stats.ttest_1samp(values, 0).confidence_interval()
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high))
    with pytest.raises(ConfigError, match="2 values"):
        mean_interval(values[:1])


@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.lists(st.integers(0, 6), min_size=2, max_size=30))
def test_the_area_is_mann_whitneys(high: list[int], low: list[int]) -> None:
    area = auc(high, low)
    assert area.value == pytest.approx(stats.mannwhitneyu(high, low).statistic / len(high) / len(low))
    assert 0 <= area.low <= area.value + 1e-12
    assert area.value - 1e-12 <= area.high <= 1


def test_the_variance_of_the_area_is_delongs() -> None:
    rng = np.random.default_rng(1)
    high, low = rng.normal(1, 1, 12), rng.normal(0, 1, 17)
    pairs = (high[:, None] > low).astype(float)
    of_high, of_low = pairs.mean(axis=1).var(ddof=1) / 12, pairs.mean(axis=0).var(ddof=1) / 17
    area = pairs.mean()
    error = math.sqrt(of_high + of_low)
    freedom = error**4 / (of_high**2 / 11 + of_low**2 / 16)
    reach = stats.t.ppf(0.975, freedom) * error / (area * (1 - area))
    mine = auc(high, low)
    assert special().logit([mine.low, mine.high]) == pytest.approx(special().logit(area) + np.array([-reach, reach]))


@pytest.mark.parametrize(("positives", "negatives", "shift"), [(30, 300, 0.0), (100, 100, 1.0)])
def test_the_area_s_interval_holds_as_often_as_it_says(positives: int, negatives: int, shift: float) -> None:
    rng, true = np.random.default_rng(2), stats.norm.cdf(shift / math.sqrt(2))
    held = 0
    for _ in range(1000):
        area = auc(rng.normal(shift, 1, positives), rng.normal(0, 1, negatives))
        held += area.low <= true <= area.high
    assert 925 <= held <= 975


def test_scores_that_order_all_pairs_leave_some_doubt() -> None:
    area = auc(np.arange(10, 20), np.arange(8))
    assert (area.value, area.high) == (1, 1)
    assert area.low == pytest.approx(0.025 ** (1 / 8))
    reverse = auc(np.arange(8), np.arange(10, 20))
    assert (reverse.value, reverse.low, reverse.high) == (0, 0, pytest.approx(1 - area.low))
    same = auc(np.zeros(5), np.zeros(5))
    assert (same.value, same.low, same.high) == (0.5, 0, 1)


def test_a_rate_of_so_few_that_none_can_be_above_is_refused() -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(ConfigError, match=r"999 non-members say nothing.*take 1000 or more.*rate of 0\.001"):
        operating_point(rng.normal(size=50), rng.normal(size=999), 1e-3)
    assert operating_point(rng.normal(size=50), rng.normal(size=1000), 1e-3).false_positives.successes == 1


def test_an_operating_point_keeps_its_rate() -> None:
    negatives = np.arange(1000.0)
    point = operating_point(np.array([500.0, 995.0, 989.0, 990.0]), negatives, 0.01)
    assert point.threshold == 989
    assert (point.true_positives.successes, point.false_positives.successes) == (2, 10)
    tied = operating_point(np.ones(10), np.ones(1000), 0.01)
    assert (tied.true_positives.successes, tied.false_positives.successes) == (0, 0)


def test_the_true_rate_of_a_threshold_lies_in_its_interval_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(4), 0
    for _ in range(500):
        point = operating_point(np.zeros(2), rng.uniform(size=2000), 0.01)
        held += point.false_positives.low <= 1 - point.threshold <= point.false_positives.high
    assert 465 <= held <= 497


def test_epsilon_of_two_rates() -> None:
    point = OperatingPoint(0.001, 0.0, Proportion(500, 1000), Proportion(10, 10000))
    assert point.epsilon_lower_bound() == pytest.approx(math.log(point.true_positives.low / point.false_positives.high))
    assert point.epsilon_lower_bound(1e-2) < point.epsilon_lower_bound()
    mirrored = OperatingPoint(0.5, 0.0, Proportion(9990, 10000), Proportion(500, 1000))
    assert mirrored.epsilon_lower_bound() == pytest.approx(point.epsilon_lower_bound(), rel=1e-9)
    assert OperatingPoint(0.1, 0.0, Proportion(0, 50), Proportion(5, 50)).epsilon_lower_bound() == 0
    with pytest.raises(ConfigError):
        point.epsilon_lower_bound(1.0)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_epsilon_of_randomised_response_is_not_overstated(epsilon: float) -> None:
    rng, true, over, near = np.random.default_rng(5), math.exp(epsilon) / (1 + math.exp(epsilon)), 0, 0.0
    for _ in range(300):
        hits, alarms = rng.binomial(5000, true), rng.binomial(5000, 1 - true)
        bound = OperatingPoint(0.5, 0.0, Proportion(hits, 5000), Proportion(alarms, 5000)).epsilon_lower_bound()
        over += bound > epsilon
        near += bound / 300
    assert over <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05)
    assert near > 0.8 * epsilon


def test_scores_that_are_none() -> None:
    for wrong in ([1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]):
        with pytest.raises(ConfigError, match="positives"):
            auc(wrong, [1.0, 2.0])


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    program = "import sys, securefed.audit.leakage; print({'torch', 'transformers', 'scipy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_without_scipy_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(ConfigError, match=r"scipy.*securefed\[dp\]"):
        auc([1.0, 2.0, 5.0], [1.5, 2.5, 0.0])
