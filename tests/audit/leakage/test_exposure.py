"""Canaries: exposure is what the formula says, chance where nothing was learnt, and great where something was."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from securefed.audit.leakage import CanaryFormat, Exposure, HuggingFaceLosses, InsertionPlan, exposure, table
from securefed.audit.leakage.exposure import NULL_BITS, exposure_by_rank, extrapolated_exposure, null_mean
from securefed.audit.leakage.skew_normal import SkewNormal, fit, fit_p_value
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError

FORMAT = CanaryFormat(prefix=(1, 2), alphabet=tuple(range(10, 20)), length=5, suffix=(3,))


def test_exposure_is_log_of_the_space_less_log_of_the_rank() -> None:
    references = np.arange(1.0, 1024.0)
    assert exposure_by_rank([0.5, 1.5, 3.5, 2000.0], references) == pytest.approx([10, 9, 8, 0])
    assert exposure_by_rank([2.0], references) == pytest.approx([10 - math.log2(2.5)]), "what is equal counts half"


def test_the_mean_of_chance_is_log_e() -> None:
    for references in (1, 9, 500):
        ranks = np.arange(1, references + 2)
        assert null_mean(references) == pytest.approx(float((math.log2(references + 1) - np.log2(ranks)).mean()))
    assert null_mean(10**7) == pytest.approx(NULL_BITS, abs=1e-4)
    assert pytest.approx(1.4427, abs=1e-4) == NULL_BITS


@pytest.mark.parametrize(("canaries", "references"), [(12, 200), (60, 120)])
def test_nothing_learnt_gives_chance_as_often_as_the_interval_says(canaries: int, references: int) -> None:
    rng, held, alarms, means = np.random.default_rng(0), 0, 0, []
    for _ in range(400):
        losses, others = rng.gumbel(size=canaries), rng.gumbel(size=references)
        result = _without_fit(losses, others)
        held += result.mean.low <= null_mean(references) <= result.mean.high
        alarms += result.p_value < 0.05
        means.append(result.mean.value)
    assert 368 <= held <= 394
    assert alarms <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05)
    assert np.mean(means) == pytest.approx(null_mean(references), abs=0.08)


def test_many_canaries_against_few_references_raise_no_more_false_alarms() -> None:
    rng, alarms = np.random.default_rng(6), 0
    for _ in range(400):
        alarms += _without_fit(rng.normal(size=300), rng.normal(size=100)).p_value < 0.05
    assert alarms <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05)


def _without_fit(losses: np.ndarray, others: np.ndarray) -> Exposure:
    """The fit is of no interest here, and slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("securefed.audit.leakage.skew_normal.LEAST_SAMPLES", 10**9)
        return exposure(losses, others)


def test_canaries_that_all_rank_first_leave_some_doubt() -> None:
    result = exposure(np.full(20, -50.0) - np.arange(20), np.random.default_rng(1).normal(size=255))
    assert result.mean.value == result.ceiling == 8
    assert result.mean.low == pytest.approx(8 * 0.025 ** (1 / 20))
    assert (result.first.value, result.first.high) == (1, 1)
    assert result.p_value < 1e-9
    assert result.figures()[0].at_least


def test_the_extrapolation_goes_beyond_the_references() -> None:
    rng = np.random.default_rng(2)
    references = rng.normal(100.0, 3.0, 2000)
    bits = extrapolated_exposure([100 - 3 * 6.0], references)
    assert bits == pytest.approx(-stats.norm.logsf(6.0) / math.log(2), rel=0.15)
    result = exposure(np.full(5, 82.0) + rng.normal(0, 0.1, 5), references)
    assert result.extrapolated is not None
    assert result.extrapolated.believable
    assert result.extrapolated.mean.value > result.ceiling
    assert result.extrapolated.mean.low < -stats.norm.logsf(6.0) / math.log(2) < result.extrapolated.mean.high


def test_an_extrapolation_from_what_is_not_skew_normal_is_not_shown() -> None:
    rng = np.random.default_rng(3)
    result = exposure(rng.normal(size=10), rng.standard_t(2, 400))
    assert result.extrapolated is not None
    assert not result.extrapolated.believable
    assert "extrapolated" not in table([result])


@pytest.mark.parametrize("shape", [-6.0, -1.0, 0.0, 0.5, 4.0])
def test_the_skew_normal_s_distribution_function(shape: float) -> None:
    at = np.array([-3.0, -1.5, -0.2, 0.0, 0.7, 2.0, 4.0])
    known = stats.skewnorm.logcdf(at, shape, loc=0.5, scale=2.0)
    assert SkewNormal(0.5, 2.0, shape).log_cdf(at) == pytest.approx(known, abs=2e-3)


def test_the_skew_normal_s_far_tail() -> None:
    at = np.array([-12.0, -40.0])
    assert SkewNormal(0, 1, 0).log_cdf(at) == pytest.approx(stats.norm.logcdf(at), rel=1e-4)
    # P[X ≤ x] = Φ(x)² where α = 1
    assert SkewNormal(0, 1, 1).log_cdf(at) == pytest.approx(2 * stats.norm.logcdf(at), rel=1e-4)


@given(st.floats(-4, 4), st.floats(0.1, 5))
def test_a_fit_finds_what_was_drawn(shape: float, scale: float) -> None:
    known = SkewNormal(3.0, scale, shape)
    found = fit(known.draw((20000,), np.random.default_rng(4)))
    at = known.location + scale * np.linspace(-2, 2, 9)
    assert found.cdf(at) == pytest.approx(known.cdf(at), abs=0.02)


def test_the_check_of_the_fit_raises_few_false_alarms_and_sees_wrong_families() -> None:
    rng = np.random.default_rng(5)
    alarms = sum(fit_p_value(SkewNormal(0, 1, 2).draw((200,), rng), trials=39, seed=i) < 0.05 for i in range(60))
    assert alarms <= 60 * 0.05 + 3 * math.sqrt(60 * 0.05)
    assert fit_p_value(rng.exponential(size=400)) < 0.05
    assert fit_p_value(np.concatenate([rng.normal(-4, 1, 200), rng.normal(4, 1, 200)])) < 0.05


def test_no_fit() -> None:
    with pytest.raises(ConfigError, match="100 losses"):
        fit(np.arange(99.0))
    with pytest.raises(ConfigError, match="all losses are the same"):
        fit(np.ones(200))


def test_canaries_have_their_format_and_differ() -> None:
    drawn = FORMAT.draw(3000, Source(bytes(32)))
    assert drawn.shape == (3000, 8)
    assert len({tuple(canary) for canary in drawn.tolist()}) == 3000
    assert set(drawn[:, FORMAT.secret].ravel().tolist()) == set(FORMAT.alphabet)
    assert (drawn[:, :2] == [1, 2]).all()
    assert (drawn[:, -1] == 3).all()
    for place in drawn[:, FORMAT.secret].T:
        assert stats.chisquare(np.bincount(place)[10:]).pvalue > 1e-6
    assert sorted(map(tuple, CanaryFormat((), (0, 1), 3).draw(8).tolist())) == sorted(np.ndindex(2, 2, 2))
    wide = CanaryFormat((), tuple(range(1000)), 4)
    assert len(np.unique(wide.draw(500), axis=0)) == 500
    assert not np.array_equal(wide.draw(5), wide.draw(5))


def test_no_canaries() -> None:
    for alphabet, length in (((1,), 3), ((1, 1), 3), ((1, 2), 0), (tuple(range(1000)), 7)):
        with pytest.raises(ConfigError):
            CanaryFormat((), alphabet, length)
    with pytest.raises(ConfigError, match="ask for 1"):
        CanaryFormat((), (1, 2), 2).draw(5)


def test_a_plan_spreads_canaries_over_clients() -> None:
    canaries = FORMAT.draw(12)
    plan = InsertionPlan.spread(canaries, (0, 1, 3), clients=(5, 7))
    records = {client: plan.records(client) for client in (5, 7, 9)}
    assert records[9] == []
    everything = [tuple(record) for client in (5, 7) for record in records[client]]
    for times in (0, 1, 3):
        assert len(plan.repeated(times)) == 4
        assert all(everything.count(tuple(canary.tolist())) == times for canary in plan.repeated(times))
    assert len(records[5]) == len(records[7]) == 8
    with pytest.raises(ConfigError, match="multiple"):
        InsertionPlan.spread(canaries, (0, 1, 2, 3, 4), clients=(5,))


def test_a_model_learns_repeated_canaries_by_heart_and_no_others() -> None:
    torch = pytest.importorskip("torch", reason="the llm extra is not installed")
    from tests.audit.leakage.attacked import VOCABULARY, model_of

    drawn = FORMAT.draw(300 + 24, Source(bytes(32)))
    plan, references = InsertionPlan.spread(drawn[:24], (0, 16), clients=(1,)), drawn[24:]
    model = model_of("llama")
    losses = HuggingFaceLosses(model, start=FORMAT.secret.start, stop=FORMAT.secret.stop)
    before = exposure(losses(plan.repeated(16)), losses(references))
    tokens = torch.tensor(plan.records(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        logits = model(input_ids=tokens[::16]).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), tokens[::16, 1:].reshape(-1)).backward()
        optimizer.step()
    learnt, control = (
        exposure(losses(plan.repeated(times)), losses(references), repetitions=times) for times in (16, 0)
    )
    assert before.mean.low < null_mean(300) < before.mean.high
    assert control.mean.low < null_mean(300) < control.mean.high
    assert control.p_value > 0.01
    assert learnt.mean.low > 6
    assert learnt.first.low > 0.5
    assert learnt.p_value < 1e-9
    assert "16 repetitions" in learnt.attack
