"""The ways to train that a run compares: public, local, federated in the clear and under masks, central.

All start from the same weights, see the same number of examples a client, and are measured on the same held-out blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from securefed.aggregation import Adversary, ClientId, Scheme
from securefed.federated.cohort import Loss
from securefed.federated.loop import FederatedLoop, RoundResult, Settings
from securefed.federated.server_optimizer import FedAvg
from securefed.federated.training import FloatArray
from securefed.jobs.configuration import Configuration, digest
from securefed.jobs.material import ClientBlocks, Material
from securefed.jobs.recorder import Recorder
from securefed.llm import methods
from securefed.llm.blocks import Blocks
from securefed.llm.client import LanguageModelTrainer, LocalPlan
from securefed.llm.evaluation import evaluate
from securefed.llm.runtime import derived_seed
from securefed.llm.schedule import Schedule
from securefed.llm.training import fit
from securefed.plain import PlainFloats, PlainIntegers
from securefed.secagg import PairwiseMasks

__all__ = ["Arms", "Display", "adversary_of", "clip_of", "cohort_of", "main_arm"]

SCHEMES: Mapping[str, Callable[[], Scheme]] = {"masks": PairwiseMasks, "plain": PlainIntegers, "float": PlainFloats}


ADAM_BOUND = 1.2
"""(1 − β1) / √((1 − β2)(1 − β1²/β2)) is 1.165 for the betas of `llm.training`, rounded up."""


class Display(Protocol):
    """What is shown while a run goes on."""

    def begin(self, arm: str, steps: int, what: str) -> None:
        """An arm begins, with so many steps of a kind."""

    def step(self, text: str = "") -> None:
        """One of them is done."""

    def note(self, text: str) -> None:
        """What is going on inside the step."""

    def line(self, text: str) -> None:
        """A line that stays."""


def main_arm(config: Configuration) -> str:
    """The arm that the run is for: the federation under the configured scheme."""
    return "masks" if config.aggregation.scheme == "masks" else "plain"


def clip_of(config: Configuration) -> float:
    """The configured clip; for "auto" what the steps of AdamW cannot pass.

    By Cauchy–Schwarz one step without weight decay changes a parameter by at most learning rate × `ADAM_BOUND`,
    whatever the gradients; so a client's update lies within that times its steps, and nothing is ever cut.
    """
    clip = config.aggregation.clip
    return config.training.learning_rate * config.training.local_steps * ADAM_BOUND if clip == "auto" else clip


def cohort_of(config: Configuration, clients: int) -> int:
    """Clients asked in a round of this job."""
    return config.training.clients_per_round or clients


def adversary_of(config: Configuration) -> Adversary:
    """Whom the rounds of this job are protected against."""
    aggregation = config.aggregation
    return Adversary(aggregation.server, aggregation.corrupt, aggregation.dropouts)


class Arms:
    """Runs the arms of one job.

    Args:
        config: of the run.
        material: what it works on.
        recorder: where events go.
        display: where progress goes.
        folder: of the run; each federated arm keeps its checkpoint and journal in a folder below it.
    """

    def __init__(
        self, config: Configuration, material: Material, recorder: Recorder, display: Display, folder: Path
    ) -> None:
        self._config = config
        self._material = material
        self._recorder = recorder
        self._display = display
        self._folder = folder

    def name(self, client: ClientId) -> str:
        """Of a client."""
        return self._material.cohort.by_id[client]

    def public(self) -> None:
        """The base model as it is."""
        self._display.begin("public", len(self._material.clients), "clients")
        self.measure("public", self._material.weights, final=True, show=True)

    def local(self) -> None:
        """Each client alone: as many steps as in all rounds, with a learning rate of its own."""
        config, clients = self._config, self._material.clients
        self._display.begin("local", len(clients), "clients")
        for client in clients:
            self._fit(
                f"local {client.name}", client.train, config.training.batch, config.evaluation.local_learning_rate
            )
            loss = self._measure_client("local", client, final=True)
            self._display.step(f"{client.name}: loss {loss:.3f}")

    def central(self) -> None:
        """All data in one place: as many examples in all as the federation's clients see together."""
        config, clients = self._config, self._material.clients
        pooled = Blocks(
            np.concatenate([client.train.tokens for client in clients]),
            np.concatenate([client.train.labels for client in clients]),
        )
        steps = config.training.rounds * config.training.local_steps
        asked = config.training.clients_per_round or len(clients)
        self._display.begin("central", steps, "steps")
        self._fit("central", pooled, config.training.batch * asked, config.evaluation.central_learning_rate, steps=True)
        for client in clients:
            self._measure_client("central", client, final=True)

    def _fit(self, label: str, blocks: Blocks, batch: int, learning_rate: float, *, steps: bool = False) -> None:
        config = self._config
        methods.assign(self._material.module, self._material.weights)
        fit(
            self._material.module,
            blocks,
            steps=config.training.rounds * config.training.local_steps,
            batch=batch,
            learning_rate=learning_rate,
            schedule=Schedule.COSINE,
            seed=derived_seed(config.seed, label),
            progress=(lambda _step, _steps, loss: self._display.step(f"loss {loss:.3f}")) if steps else None,
        )

    def federated(self, arm: str) -> dict[str, FloatArray]:
        """All rounds of the federation, under the run's scheme or (as its comparison) as plain FedAvg over floats.

        Goes on from the arm's checkpoint where there is one. Gives the final weights.
        """
        config, material = self._config, self._material
        scheme = SCHEMES[config.aggregation.scheme if arm == main_arm(config) else "float"]()
        folder = self._folder / "state" / arm
        folder.mkdir(parents=True, exist_ok=True)
        clients = material.cohort.by_id
        training, plan = config.training, self._plan()
        trainers = {
            client: LanguageModelTrainer(blocks.name, material.module, blocks.train, plan)
            for client, blocks in zip(clients, material.clients, strict=True)
        }
        settings = Settings(
            seed=config.seed,
            job=digest(config),
            rounds=training.rounds,
            adversary=adversary_of(config),
            bits=config.aggregation.bits,
            clip=clip_of(config),
            clients_per_round=training.clients_per_round,
            greatest_weight=1 if training.weighting == "uniform" else training.local_steps * training.batch,
            optimizer=FedAvg(training.server_learning_rate),
            losses=self._losses(scheme),
        )
        loop = FederatedLoop(settings, material.cohort, trainers, scheme, material.weights, folder)
        resumed = loop.resume()
        self._display.begin(arm, training.rounds, "rounds")
        if resumed and loop.finished:
            self._recorder.write("resume", round=loop.finished, arm=arm)
            self._display.line(f"{arm}: taken up after round {loop.finished}")
            for _ in range(loop.finished):
                self._display.step()
        return loop.run(_Watcher(self, arm, self._display, config))

    def _plan(self) -> LocalPlan:
        training = self._config.training
        return LocalPlan(
            training.rounds,
            training.local_steps,
            training.batch,
            training.learning_rate,
            Schedule(training.schedule),
            self._config.seed,
        )

    def _losses(self, scheme: Scheme) -> tuple[Loss, ...]:
        """The client that is lost on purpose; in a scheme with fewer stages, the same survivors result."""
        config, cohort = self._config, self._material.cohort
        stage: str = config.aggregation.lose_stage
        number = config.aggregation.lose_round
        if stage not in ("none", *scheme.stages):
            # A client lost before its input is no survivor; one lost after it is.
            stage = "none" if stage == "release" else scheme.update_stage
        asked = cohort.choose(number, config.training.clients_per_round, config.seed)
        return Loss.choose(stage, scheme.stages, number, asked)

    def measure(
        self,
        arm: str,
        weights: Mapping[str, FloatArray],
        *,
        final: bool,
        round_number: int | None = None,
        show: bool = False,
    ) -> float:
        """Held-out loss of every client under these weights, written down; gives the mean over clients."""
        methods.assign(self._material.module, weights)
        losses = []
        for client in self._material.clients:
            losses.append(self._measure_client(arm, client, final=final, round_number=round_number))
            if show:
                self._display.step(f"{client.name}: loss {losses[-1]:.3f}")
        return float(np.mean(losses))

    def _measure_client(self, arm: str, client: ClientBlocks, *, final: bool, round_number: int | None = None) -> float:
        held_out = evaluate(self._material.module, client.held_out)
        self._recorder.write(
            "evaluation", arm=arm, round=round_number, final=final, client=client.name,
            loss=held_out.loss, tokens=held_out.tokens, perplexity=held_out.perplexity,
        )  # fmt: skip
        return held_out.loss

    def record(self, arm: str, result: RoundResult) -> None:
        """Write a round and its costs down."""
        names, cost = self._material.cohort.by_id, result.cost
        self._recorder.write(
            "round", arm=arm, round=result.number, seconds=cost.seconds, training_seconds=cost.training_seconds,
            protection_seconds=cost.protection_seconds, stages=cost.stage_seconds,
            survivors=len(result.aggregate.survivors), cohort=len(cost.bytes_down),
            lost=[{"client": names[client], "stage": stage} for client, stage in cost.lost.items()],
            refused=[{"client": names[client], "error": error} for client, error in cost.refused.items()],
            bytes_up={names[client]: size for client, size in sorted(cost.bytes_up.items())},
            bytes_down={names[client]: size for client, size in sorted(cost.bytes_down.items())},
            training_loss=result.aggregate.metrics["loss"],
            clipped_share=result.aggregate.metrics["clipped_share"],
            session=result.session.hex()[:16],
        )  # fmt: skip


class _Watcher:
    """Shows and records one federated arm."""

    def __init__(self, arms: Arms, arm: str, display: Display, config: Configuration) -> None:
        self._arms = arms
        self._arm = arm
        self._display = display
        self._config = config
        self._trained = 0
        self._asked = 0

    def stage(self, round_number: int, stage: str, clients: int) -> None:
        self._trained, self._asked = 0, clients
        self._display.note(f"round {round_number}: {stage}, {clients} asked")

    def trained(self, round_number: int, client: ClientId) -> None:
        self._trained += 1
        self._display.note(f"round {round_number}: {self._trained}/{self._asked} trained")

    def round(self, result: RoundResult) -> None:
        cost, last = result.cost, result.number == self._config.training.rounds
        self._arms.record(self._arm, result)
        shown = f"training {result.aggregate.metrics['loss']:.3f}"
        if last or self._config.evaluation.every_round:
            loss = self._arms.measure(self._arm, result.weights, final=last, round_number=result.number)
            shown += f", held-out {loss:.3f}"
        for client, stage in cost.lost.items():
            self._display.line(
                f"round {result.number}: {self._arms.name(client)} was lost before it answered '{stage}'"
            )
        for client, error in cost.refused.items():
            self._display.line(f"round {result.number}: {self._arms.name(client)} refused: {error}")
        survivors = f"{len(result.aggregate.survivors)}/{len(cost.bytes_down)} clients"
        seconds = f"protected in {cost.protection_seconds:.2f} s"
        self._display.step(f"round {result.number}: loss {shown}; {survivors}, {seconds}")
