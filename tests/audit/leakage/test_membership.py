"""Membership inference: chance for nothing, certainty for everything, and the likelihood ratio where it is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from securefed.audit.leakage import (
    HuggingFaceLosses,
    Sees,
    calibrated_loss,
    likelihood_ratio,
    membership_inference,
    offline_likelihood_ratio,
    plain_loss,
    table,
)
from securefed.audit.leakage.membership import confidence_logit
from securefed.errors import ConfigError


def world(
    rng: np.random.Generator, texts: int, models: int, learnt: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Losses of texts that differ much in difficulty, of a model and of shadows that learn their texts by so much."""
    difficulty = rng.normal(0.0, 2.0, texts)
    members = rng.random(texts) < 0.5
    inside = rng.permuted(np.tile(np.arange(models)[:, None] % 2 == 0, texts), axis=0)  # each text in half of them
    statistic = difficulty + rng.normal(0, 0.3, texts) + learnt * members
    of_shadows = difficulty + rng.normal(0, 0.3, (models, texts)) + learnt * inside
    return np.logaddexp(0, -statistic), members, np.logaddexp(0, -of_shadows), inside


def test_the_logit_of_a_loss() -> None:
    probability = np.array([1e-6, 0.2, 0.5, 1 - 1e-9])
    assert confidence_logit(-np.log(probability)) == pytest.approx(np.log(probability / (1 - probability)), rel=1e-6)
    assert np.isfinite(confidence_logit([0.0, 800.0])).all()


@pytest.mark.parametrize("score", ["plain", "calibrated", "offline", "online"])
def test_nothing_learnt_gives_chance_as_often_as_the_interval_says(score: str) -> None:
    rng, held, hits = np.random.default_rng(0), 0, 0.0
    for _ in range(200):
        losses, members, shadows, inside = world(rng, 300, 8, 0.0)
        result = membership_inference(scores_of(score, losses, shadows, inside), members, rates=(0.05,))
        held += result.area.low <= 0.5 <= result.area.high
        hits += result.points[0].true_positives.value / 200
    assert 180 <= held <= 198
    assert abs(hits - 0.05) < 0.015


def scores_of(score: str, losses: np.ndarray, shadows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return {
        "plain": lambda: plain_loss(losses),
        "calibrated": lambda: calibrated_loss(losses, shadows),
        "offline": lambda: offline_likelihood_ratio(losses, shadows),
        "online": lambda: likelihood_ratio(losses, shadows, inside),
    }[score]()


def test_a_likelihood_ratio_sees_what_a_loss_hides() -> None:
    losses, members, shadows, inside = world(np.random.default_rng(1), 4000, 32, 1.0)
    shadows_without = world(np.random.default_rng(1), 4000, 32, 0.0)[2]  # the same, but that nothing was learnt
    areas = {
        "plain": membership_inference(plain_loss(losses), members).area.value,
        "calibrated": membership_inference(calibrated_loss(losses, shadows_without[:1]), members).area.value,
        "offline": membership_inference(offline_likelihood_ratio(losses, shadows_without), members).area.value,
        "online": membership_inference(likelihood_ratio(losses, shadows, inside), members).area.value,
    }
    # With the true means and variances the best possible area is Φ(learnt / (√2·σ)).
    best = stats.norm.cdf(1.0 / (math.sqrt(2) * 0.3))
    assert areas["plain"] < 0.7
    assert areas["plain"] + 0.1 < areas["calibrated"] < areas["offline"]
    for name in ("offline", "online"):
        assert best - 0.03 < areas[name] < best + 0.01


def test_the_offline_ratio_is_a_distance_in_deviations() -> None:
    rng = np.random.default_rng(2)
    statistic = rng.normal(1.0, 0.5, (400, 3))
    attacked = np.array([1.0, 2.0, 0.0])
    score = offline_likelihood_ratio(np.logaddexp(0, -attacked), np.logaddexp(0, -statistic))
    assert score == pytest.approx((attacked - statistic.mean(axis=0)) / statistic.std(axis=0, ddof=1))
    few = offline_likelihood_ratio(np.logaddexp(0, -attacked), np.logaddexp(0, -statistic[:4]))
    common = math.sqrt(statistic[:4].var(axis=0, ddof=1).mean())
    assert few == pytest.approx((attacked - statistic[:4].mean(axis=0)) / common)


def test_the_online_ratio_is_the_ratio_of_densities() -> None:
    rng = np.random.default_rng(3)
    statistic, inside = rng.normal(0.0, 1.0, (60, 2)), np.arange(120).reshape(60, 2) % 4 < 2
    attacked = np.array([0.3, -1.0])
    score = likelihood_ratio(np.logaddexp(0, -attacked), np.logaddexp(0, -statistic), inside)
    for text in range(2):
        one, other = statistic[inside[:, text], text], statistic[~inside[:, text], text]
        known = stats.norm.logpdf(attacked[text], one.mean(), one.std(ddof=1))
        known -= stats.norm.logpdf(attacked[text], other.mean(), other.std(ddof=1))
        assert score[text] == pytest.approx(known)


def test_too_few_shadows_are_refused() -> None:
    losses = np.ones(4)
    with pytest.raises(ConfigError, match=r"1 shadow models without the text.*calibrated_loss"):
        offline_likelihood_ratio(losses, np.ones((1, 4)))
    with pytest.raises(ConfigError, match="1 shadow models with the text"):
        likelihood_ratio(losses, np.ones((4, 4)), np.eye(4, dtype=bool))
    assert calibrated_loss(losses, np.full(4, 3.0)).tolist() == [2.0] * 4


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="references"):
        calibrated_loss(np.ones(3), np.ones((2, 4)))
    with pytest.raises(ConfigError, match="not a finite number"):
        calibrated_loss(np.ones(2), np.array([1.0, math.nan]))
    with pytest.raises(ConfigError, match="included"):
        likelihood_ratio(np.ones(3), np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(ConfigError, match="truth"):
        membership_inference(np.ones(3), np.ones(4))
    with pytest.raises(ConfigError, match="non-members say nothing"):
        membership_inference(np.arange(100.0), np.arange(100) < 50)


def test_an_overfitted_model_betrays_its_members() -> None:
    pytest.importorskip("torch", reason="the llm extra is not installed")
    import torch

    from tests.audit.leakage.attacked import VOCABULARY, model_of

    rng = np.random.default_rng(4)
    texts = rng.integers(0, VOCABULARY, (300, 8))
    members = np.arange(300) < 40
    model = model_of("llama")
    reference = HuggingFaceLosses(model)(texts)
    untrained = membership_inference(plain_loss(reference), members, rates=(0.01,))
    assert untrained.area.low < 0.5 < untrained.area.high
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    tokens = torch.from_numpy(texts[members])
    for _ in range(60):
        optimizer.zero_grad()
        logits = model(input_ids=tokens).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), tokens[:, 1:].reshape(-1)).backward()
        optimizer.step()
    found = membership_inference(calibrated_loss(HuggingFaceLosses(model)(texts), reference), members, rates=(0.01,))
    assert found.area.low > 0.9
    assert found.points[0].true_positives.low > 0.8
    assert found.points[0].epsilon_lower_bound() > 2
    assert found.sees is Sees.MODEL
    assert "by chance 0.5" in table([found])


def test_losses_are_those_of_the_tokens_that_count() -> None:
    torch = pytest.importorskip("torch", reason="the llm extra is not installed")
    from tests.audit.leakage.attacked import model_of

    model = model_of("llama").train()
    texts = [[1, 2, 3, 4, 5], [7, 8, 9], [5, 4, 3, 2, 1]]
    losses = HuggingFaceLosses(model, start=2)(texts)
    assert model.training
    for text, loss in zip(texts, losses, strict=True):
        with torch.no_grad():
            logits = model.eval()(input_ids=torch.tensor([text])).logits[0]
        each = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(text[1:]), reduction="none")
        assert loss == pytest.approx(float(each[1:].mean()), rel=1e-4)
    one = HuggingFaceLosses(model, start=2, stop=3)(texts)
    assert len(one) == 3
    with pytest.raises(ConfigError, match="none whose loss counts"):
        HuggingFaceLosses(model, start=4)(texts)
    with pytest.raises(ConfigError, match="start"):
        HuggingFaceLosses(model, start=0)
