"""The engine under a one-run audit: its ε is never refuted, that of an engine with a planted error is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from securefed import dp
from securefed.audit.dirac_canaries import dirac_scores
from securefed.audit.one_run import OneRun, Outcome
from securefed.dp.clipping.modes import norm_of_bounds
from securefed.dp.clipping.release import add_noise
from tests.dp.neighbours.planting import plant

torch.set_num_threads(1)

CANARIES = 4000
GUESSES = 800
LAYERS = 36
DELTA = 1e-10
"""Far below one over the canaries, as the bound wants it."""
EPSILON = 2.0
FALSE_ALARM = 1e-6

SAMPLERS = {
    "all records in one step": (dp.FixedBatches(CANARIES, CANARIES), 1),
    "all records in nine steps": (dp.FixedBatches(CANARIES, CANARIES), 9),
    "three passes over four batches": (dp.FixedBatches(CANARIES, CANARIES // 4), 12),
    "Poisson": (dp.Poisson(CANARIES, 0.25), 12),
}
CLIPS = {
    "layerwise": dp.Layerwise(total=1.0),
    "adaptive": dp.Layerwise(total=1.0, adapt=dp.Quantile(0.5)),
    "flat": dp.Flat(total=1.0),
}


def _audit(sampling: str, clip: Any) -> tuple[Outcome, float]:
    """What the adversary achieves, and the ε that the ledger claims."""
    sampler, steps = SAMPLERS[sampling]
    ledger = dp.Ledger(dp.Unit("example"), delta=DELTA)
    noise = dp.noise_multiplier(EPSILON, DELTA, sampling=sampler, steps=steps)
    run = OneRun(CANARIES)
    scores = dirac_scores(
        run.included,
        LAYERS,
        steps,
        lambda model: dp.attach(model, clip=clip, noise_multiplier=noise, sampler=sampler),
        ledger,
    )
    return run.outcome(scores, GUESSES, DELTA), ledger.epsilon()


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("sampling", SAMPLERS)
def test_the_claimed_epsilon_is_not_refuted(sampling: str, clip: str) -> None:
    outcome, claimed = _audit(sampling, CLIPS[clip])
    assert claimed <= EPSILON * (1.05 if clip == "adaptive" else 1.0)  # the counts of the quantile are in the claim
    assert not outcome.refutes(claimed, FALSE_ALARM), f"{outcome} refutes ε = {claimed}"
    assert outcome.lower_bound(FALSE_ALARM) <= claimed


def _greatest(components: Any, bounds: Any) -> float:
    """A planted error: K groups that may each move by C are taken for a sum that moves by C."""
    return max(bounds[group] for members in components for group in members)


@pytest.mark.parametrize("sampling", ["all records in one step", "all records in nine steps"])
def test_a_missing_root_of_k_is_refuted(sampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, norm_of_bounds, _greatest)
    outcome, claimed = _audit(sampling, CLIPS["layerwise"])
    assert outcome.refutes(claimed, FALSE_ALARM), f"{outcome} does not refute ε = {claimed}"
    assert outcome.lower_bound(FALSE_ALARM) > claimed


def test_noise_that_is_too_small_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the noise that was accounted for."""

    def less(parameters: Any, sums: Any, source: Any, deviation: float, *others: Any) -> None:
        add_noise(parameters, sums, source, deviation / 5, *others)

    plant(monkeypatch, add_noise, less)
    outcome, claimed = _audit("all records in one step", CLIPS["flat"])
    assert outcome.refutes(claimed, FALSE_ALARM), f"{outcome} does not refute ε = {claimed}"
