"""A trainer without a model: every client pulls the weights towards a point of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from securefed.aggregation import Adversary, Scheme
from securefed.federated.cohort import Cohort, Loss
from securefed.federated.loop import AbortedAttempt, FederatedLoop, RoundResult, Settings
from securefed.federated.release import AsTrained
from securefed.federated.server_optimizer import FedAvg
from securefed.federated.training import FloatArray, Trained

ROUNDS = 4
CLIENTS = 5
MALICIOUS = Adversary("malicious", corrupt=0.2, dropouts=0.2)
SEMI_HONEST = Adversary("semi-honest", corrupt=0.2, dropouts=0.2)
"""Of five clients one corrupt, one lost, and four are enough (three, where the server is trusted to follow)."""


class Towards:
    """A step of 1/10 towards `target`; `examples` is what the client weighs."""

    def __init__(self, target: float, examples: int) -> None:
        self.target = target
        self.examples = examples
        self.calls = 0

    def train(self, weights: Mapping[str, FloatArray], round_number: int) -> Trained:
        self.calls += 1
        moved = {
            name: (old + 0.1 * (self.target - old)).astype(old.dtype) + np.float32(round_number * 1e-3)
            for name, old in weights.items()
        }
        return Trained(moved, self.examples, {"loss": abs(self.target)})


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.results: list[RoundResult] = []
        self.stages: list[tuple[int, str, int]] = []
        self.aborts: list[AbortedAttempt] = []

    def stage(self, round_number: int, stage: str, clients: int) -> None:
        self.stages.append((round_number, stage, clients))

    def trained(self, round_number: int, client: int) -> None: ...

    def aborted(self, attempt: AbortedAttempt) -> None:
        self.aborts.append(attempt)

    def round(self, result: RoundResult) -> None:
        self.results.append(result)


def start_weights() -> dict[str, FloatArray]:
    generator = np.random.default_rng(7)
    return {
        "layer.a": generator.normal(0, 0.1, (6, 5)).astype(np.float32),
        "layer.b": generator.normal(0, 0.1, 11).astype(np.float32),
    }


def loop(
    scheme: Scheme,
    folder: Path | None = None,
    *,
    losses: tuple[Loss, ...] = (),
    weight: int = 1,
    job: str = "job",
    adversary: Adversary = MALICIOUS,
    attempts: int = 1,
) -> FederatedLoop:
    settings = Settings(
        seed=3,
        job=job,
        rounds=ROUNDS,
        adversary=adversary,
        optimizer=FedAvg(1.5),
        losses=losses,
        attempts=attempts,
    )
    cohort = Cohort(tuple(f"client {n}" for n in range(CLIENTS)))
    trainers = {client: Towards(client / 3 - 1, client) for client in cohort.by_id}
    return FederatedLoop(settings, cohort, trainers, scheme, AsTrained(20, 1.0, weight), start_weights(), folder)
