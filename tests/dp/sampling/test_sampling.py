"""Samplers: what is drawn is what the event says, each draw is for one step, and the coins are exact."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from securefed.dp.accounting import Gaussian, PoissonSampled, TruncatedPoissonSampled
from securefed.dp.noise.source import Source
from securefed.dp.sampling import Draw, FixedBatches, Poisson, Sampler, TruncatedPoisson, bernoulli, permutation
from securefed.errors import ConfigError, LocalProtocolError
from tests.rules import case, refused

ALPHA = 1e-6
"""Of a whole test, after correction for how many statistics it looks at; the sources have fixed keys."""


def source(seed: int) -> Source:
    return Source(seed.to_bytes(32, "big"))


class Scripted:
    """A source of given words."""

    def __init__(self, *words: int) -> None:
        self.left = list(words)

    def words(self, size: int, dtype: Any = "<u8") -> Any:
        taken, self.left = self.left[:size], self.left[size:]
        assert len(taken) == size
        return np.array(taken, dtype)


@pytest.mark.parametrize("rate", [0.3, 0.01, 2.0**-70 * 3, 1.0, 0.5, 0.1])
def test_a_coin_is_compared_with_the_rates_exact_digits(rate: float) -> None:
    """For each word just below, at and just above the rate's digits; where all agree, the next word decides."""
    exact = Fraction(rate)
    scaled = exact * 2**64
    first, rest = int(scaled), scaled - int(scaled)
    if rate == 1.0:
        assert bernoulli(Scripted(), rate, 3).all()
        return
    if first > 0:
        assert bernoulli(Scripted(first - 1), rate, 1).all()
    assert not bernoulli(Scripted(first + 1), rate, 1).any()
    if rest == 0:
        assert not bernoulli(Scripted(first), rate, 1).any()
        return
    second = int(rest * 2**64)
    assert bernoulli(Scripted(first, second - 1), rate, 1).all()
    assert not bernoulli(Scripted(first, second + 1), rate, 1).any()
    assert bernoulli(Scripted(first + 1, first, second - 1), rate, 2).tolist() == [False, True]


@given(st.floats(2.0**-1000, 1.0, exclude_max=True))
def test_the_digits_are_the_doubles_own(rate: float) -> None:
    """The words that show True, counted digit by digit, are the rate: Σ digits·2^−64k."""
    digits, value, scale = [], Fraction(0), Fraction(1)
    rest = Fraction(rate)
    while rest:
        rest *= 2**64
        digits.append(int(rest))
        rest -= int(rest)
    for digit in digits:
        scale /= 2**64
        value += digit * scale
    assert value == Fraction(rate)
    # A coin that agrees in every digit but the last, and is one below there, shows True; one that agrees in all, False.
    assert bernoulli(Scripted(*digits[:-1], digits[-1] - 1), rate, 1).all()
    assert not bernoulli(Scripted(*digits), rate, 1).any()


@pytest.mark.parametrize("rate", [0.01, 0.37])
def test_poisson_samples_are_independent_coins(rate: float) -> None:
    sampler, steps = Poisson(200, rate), 4000
    shown = np.zeros((steps, 200), bool)
    for draw in sampler.draws(steps, source(1)):
        shown[draw.step, draw.indices] = True
    for axis in (0, 1):
        counts = shown.sum(axis)
        p = 2 * np.minimum(
            stats.binom.cdf(counts, shown.shape[axis], rate), stats.binom.sf(counts - 1, shown.shape[axis], rate)
        )
        assert p.min() > ALPHA / len(counts)
    # The batch's size is binomial as a whole, and neighbours in the order know nothing of each other.
    sizes = shown.sum(1)
    assert sizes.var() == pytest.approx(200 * rate * (1 - rate), rel=0.15)
    both = (shown[:, 1:] & shown[:, :-1]).sum()
    assert both == pytest.approx(rate**2 * 199 * steps, abs=6 * (rate**2 * 199 * steps) ** 0.5)


def test_a_permutation_is_uniform() -> None:
    counts = Counter(tuple(permutation(stream, 4)) for stream in [source(2)] for _ in range(24_000))
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > ALPHA


def test_equal_keys_are_drawn_anew() -> None:
    assert permutation(Scripted(5, 7, 5, 3, 1, 2), 3).tolist() == [1, 2, 0]
    assert permutation(Scripted(), 0).tolist() == []


def test_a_cut_sample_is_a_uniform_subset() -> None:
    """All pairs of 5 records are equally likely where more were drawn; smaller samples are left as they are."""
    sampler = TruncatedPoisson(5, 0.6, 2)
    counts = Counter(tuple(draw.indices) for draw in sampler.draws(20_000, source(3)))
    assert set(map(len, counts)) == {0, 1, 2}
    chance = {n: stats.binom.pmf(n, 5, 0.6) for n in range(3)}
    expected = {(): chance[0]}
    expected |= {(i,): chance[1] / 5 for i in range(5)}
    expected |= dict.fromkeys(itertools.combinations(range(5), 2), (1 - chance[0] - chance[1]) / 10)
    assert counts.keys() <= expected.keys()
    observed = [counts[key] for key in expected]
    assert stats.chisquare(observed, [20_000 * p for p in expected.values()]).pvalue > ALPHA


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60))
def test_a_record_is_in_one_batch_of_a_pass(examples: int, batch: int, steps: int) -> None:
    sampler = FixedBatches(examples, min(batch, examples))
    draws = list(sampler.draws(steps, source(4)))
    for start in range(0, steps, sampler.steps_per_pass):
        seen = np.concatenate([draw.indices for draw in draws[start : start + sampler.steps_per_pass]])
        assert len(set(seen.tolist())) == len(seen)
        if start + sampler.steps_per_pass <= steps:
            assert sorted(seen.tolist()) == list(range(examples))
    assert all(len(draw.indices) <= sampler.expected_batch for draw in draws)


@given(st.integers(1, 30), st.integers(1, 10), st.integers(1, 60))
def test_a_pass_is_charged_at_its_first_step(examples: int, batch: int, steps: int) -> None:
    sampler = FixedBatches(examples, min(batch, examples))
    charged = [draw.event(1.5) for draw in sampler.draws(steps, source(5))]
    first = [step % sampler.steps_per_pass == 0 for step in range(steps)]
    assert charged == [Gaussian(1.5) if begins else None for begins in first]
    assert sampler.charges(steps) == sum(first)


def test_an_interrupted_pass_is_charged_again() -> None:
    sampler = FixedBatches(10, 2)
    for _ in range(3):
        assert next(iter(sampler.draws(5))).event(1.0) == Gaussian(1.0)


@pytest.mark.parametrize(
    ("sampler", "event", "divisor"),
    [
        (Poisson(1000, 0.01), PoissonSampled(0.01, 1.5), 10.0),
        (TruncatedPoisson(1000, 0.01, 30), TruncatedPoissonSampled(1000, 0.01, 30, 1.5), 10.0),
        (FixedBatches(1000, 30), Gaussian(1.5), 30.0),
    ],
)
def test_the_event_is_what_is_done(sampler: Sampler, event: object, divisor: float) -> None:
    assert sampler.event(1.5) == event
    assert sampler.expected_batch == divisor
    draws = list(sampler.draws(50))
    assert draws[0].event(1.5) == event
    assert [draw.step for draw in draws] == list(range(50))
    for draw in draws:
        assert draw.indices.dtype == np.int64
        assert draw.sampler is sampler
        assert sampler.expected_batch == divisor
        assert len(draw.indices) <= getattr(sampler, "most", 1000)
        assert (np.diff(draw.indices) > 0).all() or isinstance(sampler, FixedBatches)
    assert any(len(draw.indices) == 0 for draw in Poisson(10, 0.01).draws(50))


def test_fresh_draws_differ_and_a_source_repeats_them() -> None:
    def drawn(given: Source | None) -> list[list[int]]:
        return [draw.indices.tolist() for draw in Poisson(100, 0.5).draws(3, given)]

    assert drawn(source(6)) == drawn(source(6)) != drawn(source(7))
    assert drawn(None) != drawn(None)


def draw_of(sampler: Sampler) -> Draw:
    return next(iter(sampler.draws(1)))


@pytest.mark.rule("D6")
def test_a_draw_is_used_once() -> None:
    sampler = Poisson(10, 0.5)
    draw = draw_of(sampler)
    assert not draw.used
    draw.use(sampler)
    assert draw.used
    with refused("D6"):
        draw.use(sampler)


@pytest.mark.rule("D7")
def test_a_draw_of_another_sampler_is_refused() -> None:
    """Equal numbers do not make it the same: its source may be another, or its draws be counted elsewhere."""
    draw = draw_of(Poisson(10, 0.5))
    for other in (Poisson(10, 0.5), FixedBatches(10, 5)):
        with refused("D7"):
            draw.use(other)
    assert not draw.used


@pytest.mark.rule("D7")
def test_noise_does_not_change_within_a_pass() -> None:
    first, second, *_ = FixedBatches(10, 2).draws(5)
    assert first.event(1.0) is not None
    with pytest.raises(LocalProtocolError, match="D7"):
        second.event(0.5)
    assert second.event(1.0) is None


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        case("D10", "a rate of 0", lambda: Poisson(10, 0.0)),
        case("D10", "a rate over 1", lambda: Poisson(10, 1.1)),
        case("D10", "a rate that is no number", lambda: Poisson(10, float("nan"))),
        case("D10", "no records", lambda: Poisson(0, 0.5)),
        case("D10", "half a record", lambda: Poisson(1.5, 0.5)),  # type: ignore[arg-type]
        case("D10", "a cap of 0", lambda: TruncatedPoisson(10, 0.5, 0)),
        case("D10", "a cap over all", lambda: TruncatedPoisson(10, 0.5, 11)),
        case("D10", "a batch of 0", lambda: FixedBatches(10, 0)),
        case("D10", "a batch over all", lambda: FixedBatches(10, 11)),
    ],
)
def test_refused(rule: str, make: Callable[[], Sampler]) -> None:
    with refused(rule) as caught:
        make()
    assert isinstance(caught.value, ConfigError)
