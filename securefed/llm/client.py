"""A client's training of a language model, as the federated loop asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from securefed.errors import ConfigError
from securefed.federated.training import FloatArray, Trained
from securefed.federated.update_plan import AllTensors, UpdatePlan
from securefed.llm import methods
from securefed.llm.blocks import Blocks
from securefed.llm.lora_aggregation import LoraPlan
from securefed.llm.private_training import LocalPrivacy, fit_privately
from securefed.llm.runtime import derived_seed
from securefed.llm.schedule import Schedule, learning_rate_at
from securefed.llm.training import fit

__all__ = ["LanguageModelTrainer", "LocalPlan"]


@dataclass(frozen=True)
class LocalPlan:
    """What every client does in every round.

    Attributes:
        rounds: of the whole federation, counted from 1.
        steps: a round.
        batch: blocks a step.
        learning_rate: the peak; constant within a round.
        schedule: of the learning rate over the rounds.
        seed: of the order of the blocks, with the client's name and the round.
    """

    rounds: int
    steps: int
    batch: int
    learning_rate: float
    schedule: Schedule = Schedule.COSINE
    seed: int = 0

    def learning_rate_in(self, round_number: int) -> float:
        """The learning rate of a round, counted from 1.

        Raises:
            ConfigError: the plan has no such round.
        """
        if not 1 <= round_number <= self.rounds:
            raise ConfigError("training.rounds", f"round {round_number} is not one of 1 to {self.rounds}")
        return learning_rate_at(round_number - 1, self.rounds, self.learning_rate, self.schedule)


class LanguageModelTrainer:
    """One client of a language model federation; a `securefed.federated.training.LocalTrainer`.

    All clients of a simulation may share one module: what it holds between two calls does not matter. Calls
    must not overlap then.

    Args:
        client: its name.
        module: of `methods.attach`.
        blocks: what it trains on.
        plan: what every client does.
        update_plan: which tensors each round trains; the loop's.
        rank: of an adapter, the components that this client trains, where the update plan counts ranks; None: all.
        privacy: of its blocks. It then samples blocks and draws noise anew in every call, a round that is run again
            costs again, and no loss is reported.

    Raises:
        ConfigError: there is no block, or the rank is not one of the update plan.
    """

    def __init__(
        self,
        client: str,
        module: torch.nn.Module,
        blocks: Blocks,
        plan: LocalPlan,
        *,
        update_plan: UpdatePlan | None = None,
        rank: int | None = None,
        privacy: LocalPrivacy | None = None,
    ) -> None:
        if blocks.examples < 1:
            raise ConfigError("data", f"client {client!r} has no block to train on")
        self.client = client
        self._module = module
        self._blocks = blocks
        self._plan = plan
        self._update_plan = update_plan if update_plan is not None else AllTensors()
        self._rank = rank
        self._privacy = privacy
        self._counts = self._update_plan.counts(rank) if isinstance(self._update_plan, LoraPlan) else {}
        if rank is not None and not self._counts:
            raise ConfigError("method.client_ranks", f"client {client!r} has rank {rank}, and no ranks are counted")

    def train(self, weights: Mapping[str, FloatArray], round_number: int) -> Trained:
        """Train from the given weights; see `LocalTrainer.train`.

        The metrics are `loss`, in nats a token (without `privacy`), and the rank components that it holds, where they
        are counted.

        Raises:
            BudgetExceeded: the client's privacy budget is spent.
            ConfigError: the weights are not the module's, the plan has no such round, or the loss is not
                finite.
        """
        plan = self._plan
        learning_rate = plan.learning_rate_in(round_number)
        methods.assign(self._module, weights)
        names = self._update_plan.tensors(weights, round_number)
        seed = derived_seed(plan.seed, "client", self.client, round_number)
        metrics = dict(self._counts)
        with methods.training_only(self._module, names, self._rank):
            if self._privacy is None:
                fitted = fit(
                    self._module,
                    self._blocks,
                    steps=plan.steps,
                    batch=plan.batch,
                    learning_rate=learning_rate,
                    seed=seed,
                )
                metrics["loss"] = fitted.loss
            else:
                fit_privately(
                    self._module, self._blocks, self._privacy, steps=plan.steps, learning_rate=learning_rate, seed=seed
                )
        trained = methods.weights(self._module)
        return Trained({name: trained[name] for name in names}, plan.steps * plan.batch, metrics)
