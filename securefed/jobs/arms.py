"""The ways to train that a run compares: public, local, federated in the clear and protected, central.

All start from the same weights, see the same number of examples a client, and are measured on the same held-out blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from securefed.aggregation import Scheme
from securefed.errors import BudgetExceeded
from securefed.federated.cohort import Loss
from securefed.federated.loop import FederatedLoop, Settings
from securefed.federated.server_optimizer import FedAvg
from securefed.federated.training import FloatArray
from securefed.jobs.configuration import Configuration, digest
from securefed.jobs.derived import adversary_of, main_arm
from securefed.jobs.material import ClientBlocks, Material
from securefed.jobs.privacy import Plan, in_the_clear, plan_of
from securefed.jobs.privacy_statement import Statement, statement_of
from securefed.jobs.recorder import Recorder
from securefed.jobs.watching import Display, RoundWatcher
from securefed.llm import methods
from securefed.llm.blocks import Blocks
from securefed.llm.client import LanguageModelTrainer, LocalPlan
from securefed.llm.evaluation import evaluate
from securefed.llm.runtime import derived_seed
from securefed.llm.schedule import Schedule
from securefed.llm.training import fit
from securefed.schemes import SCHEMES

__all__ = ["Arms"]

ATTEMPTS = 2
"""At a round: one that the loss of a client ended is begun anew, as a deployment would."""


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
        self.statement: Statement | None = None

    def public(self) -> None:
        """The base model as it is."""
        self._display.begin("public", len(self._material.clients), "clients")
        self.measure("public", self._material.weights, final=True, show=True)

    def local(self) -> None:
        """Each client alone: as many steps as in all rounds, with a learning rate of its own.

        What is fixed in a round so that a mean is right (`llm.lora_aggregation`) need not be fixed here.
        """
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
        own = arm == main_arm(config)
        scheme = SCHEMES[config.aggregation.scheme if own else "float"].make()
        folder = self._folder / "state" / arm
        folder.mkdir(parents=True, exist_ok=True)
        clients = material.cohort.by_id
        training, plan = config.training, self._plan()
        private = plan_of(config, material, folder) if own else in_the_clear(config)
        ranks = config.method.client_ranks if config.method.kind == "lora" else ()
        trainers = {
            client: LanguageModelTrainer(
                blocks.name,
                material.module,
                blocks.train,
                plan,
                update_plan=material.update_plan,
                rank=rank,
                privacy=private.local.get(client),
            )
            for client, blocks, rank in zip(clients, material.clients, ranks or [None] * len(clients), strict=True)
        }
        settings = Settings(
            seed=config.seed,
            job=digest(config),
            rounds=training.rounds,
            adversary=adversary_of(config),
            clients_per_round=training.clients_per_round,
            optimizer=FedAvg(training.server_learning_rate),
            losses=self._losses(scheme),
            attempts=ATTEMPTS,
        )
        if private.warning:
            self._display.line(f"warning: {private.warning}")
        loop = FederatedLoop(
            settings, material.cohort, trainers, scheme, private.release, material.weights, folder,
            material.update_plan, private.ledgers,
        )  # fmt: skip
        resumed = loop.resume()
        self._display.begin(arm, training.rounds, "rounds")
        if resumed and loop.finished:
            self._recorder.write("resume", round=loop.finished, arm=arm)
            self._display.line(f"{arm}: taken up after round {loop.finished}")
            for _ in range(loop.finished):
                self._display.step()
        watcher = RoundWatcher(arm, clients, config, self._recorder, self._display, self.measure)
        try:
            loop.run(watcher)
        except BudgetExceeded as error:
            # What was trained until then has the guarantee, and is the result.
            watcher.ended(loop.finished + 1, error)
        if own and config.privacy.kind != "none":
            self._state_privacy(arm, private)
        private.ledgers.close()
        return loop.weights

    def _state_privacy(self, arm: str, private: Plan) -> None:
        statement = statement_of(self._config, self._material, private)
        self._recorder.write("privacy", arm=arm, **statement.fields())
        self.statement = statement
        self._display.line(statement.line)

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
        """The client that is lost on purpose; in the scheme to compare with, the same survivors result."""
        config, cohort = self._config, self._material.cohort
        stage: str = config.aggregation.lose_stage
        if stage == "none":
            return ()
        number, own = config.aggregation.lose_round, SCHEMES[config.aggregation.scheme]
        asked = cohort.choose(number, config.training.clients_per_round, config.seed)
        if stage in own.holder_stages:
            asked = asked[:1]  # nobody else is asked there
        if stage not in scheme.stages:
            # A client lost before its input is no survivor. One lost after it is: its update counts, or the round is
            # run again with all.
            before = own.stages.index(stage) < own.stages.index(own.make().update_stage)
            stage = scheme.update_stage if before else "none"
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
