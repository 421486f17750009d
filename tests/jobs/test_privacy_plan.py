"""The noise that a configuration's budget comes to, without a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from securefed import dp
from securefed.dp.accounting import PoissonSampled, epsilon
from securefed.federated.cohort import Cohort
from securefed.jobs.configuration_file import load
from securefed.jobs.privacy import file_name, plan_of

pytest.importorskip("dp_accounting")


def material(*examples: int) -> Any:
    clients = [
        SimpleNamespace(name=f"client {at}", train=SimpleNamespace(examples=count)) for at, count in enumerate(examples)
    ]
    return SimpleNamespace(cohort=Cohort(tuple(client.name for client in clients)), clients=clients)


@pytest.mark.parametrize("clip", ["layerwise", "adaptive", "flat"])
def test_every_client_keeps_the_budget_over_all_rounds(clip: str, tmp_path: Path) -> None:
    config = load(
        None,
        ["privacy.kind=example", "privacy.epsilon=3", f"privacy.clip={clip}", "training.rounds=4",
         "training.local_steps=5", "training.batch=8"],
    )  # fmt: skip
    plan = plan_of(config, material(40, 400), tmp_path)
    for examples, local in zip((40, 400), plan.local.values(), strict=True):
        assert isinstance(local.sampler, dp.Poisson)
        assert local.sampler.rate == pytest.approx(8 / examples)
        effective = local.noise_multiplier
        if isinstance(local.clip, dp.Layerwise) and local.clip.adapt is not None:
            # Whatever the number of groups, counts take the same share.
            effective = local.clip.adapt.effective_noise_multiplier(effective, 7)
        spent = epsilon({PoissonSampled(local.sampler.rate, effective): 20}, 1e-5)
        assert 2.97 < spent <= 3.0
        assert local.ledger.budget == 3.0
    few, many = (local.noise_multiplier for local in plan.local.values())
    assert few > many
    plan.ledgers.close()


def test_a_ledger_may_be_called_anything() -> None:
    names = ["a/b", "..", "a b", "é", "a-b_1", "released"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(files)
    assert all(one.replace("-", "").replace("_", "").isalnum() and one.isascii() for one in files)
