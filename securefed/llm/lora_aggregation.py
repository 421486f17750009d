"""How LoRA adapters of many clients become one: what each round trains and sends so that the mean is the right one.

A layer's change is ΔW = B·A (times alpha / rank). A scheme averages what is sent, and the mean of products is not the
product of means: mean(B)·mean(A) − mean(B·A) is minus the covariance of B and A over clients. It vanishes where the
change is linear in what is sent, that is where every client holds the other factor equal and fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from securefed.aggregation import Aggregate
from securefed.errors import ConfigError
from securefed.federated.training import FloatArray
from securefed.llm import ranks

__all__ = ["FEDIT_WARNING", "LoraAggregation", "LoraPlan"]

FEDIT_WARNING: Final = (
    'method.lora_aggregation is "fedit": the factors A and B are averaged apart, and mean(B)·mean(A) is not mean(B·A). '
    "The difference is a bias that grows with the clients' steps and with how much they disagree, and no number of "
    'bits removes it. "ffa", "alternate" and "core" have none.'
)


class LoraAggregation(StrEnum):
    """Which of A and B is trained and sent."""

    FFA = "ffa"
    """B; A stays at its random start, the same for all (FFA-LoRA: Sun et al. 2024, arXiv:2403.12313)."""
    ALTERNATE = "alternate"
    """B in odd rounds, A in even ones, the other fixed at its last mean (RoLoRA: Chen et al. 2025, arXiv:2502.01755).
    Round 1 trains B: while B is zero, A has no gradient."""
    CORE = "core"
    """R of ΔW = B·R·A, r × r, between fixed orthonormal factors (Fed-SB: Singhal et al. 2025, arXiv:2502.15436; there
    the factors are singular vectors of the first step of full fine-tuning, here they are random and need no data)."""
    FEDIT = "fedit"
    """A and B, averaged apart: biased (FedIT: Zhang et al. 2024, arXiv:2305.05644)."""

    @classmethod
    def of(cls, name: str) -> LoraAggregation:
        """The member of this name.

        Raises:
            ConfigError: there is none.
        """
        try:
            return cls(name)
        except ValueError:
            raise ConfigError("method.lora_aggregation", f"{name!r} is not one of {', '.join(cls)}") from None

    @property
    def exact(self) -> bool:
        """Whether the aggregate's product is the mean of the clients' products, up to rounding."""
        return self is not LoraAggregation.FEDIT

    def sends(self, round_number: int) -> tuple[str, ...]:
        """Last parts of the names of the tensors that are trained and sent in a round, counted from 1."""
        match self:
            case LoraAggregation.FFA:
                return (".lora_B.weight",)
            case LoraAggregation.ALTERNATE:
                return (".lora_B.weight",) if round_number % 2 else (".lora_A.weight",)
            case LoraAggregation.CORE:
                return (".lora_B.core",)
            case LoraAggregation.FEDIT:
                return (".lora_A.weight", ".lora_B.weight")


@dataclass(frozen=True)
class LoraPlan:
    """An `UpdatePlan` for adapters.

    Attributes:
        aggregation: which factors a round sends.
        counted_ranks: rank of the common adapter where clients may have smaller ones (`llm.ranks`): each client then
            reports the components that it holds, inside the protected vector. None where all have the same.
    """

    aggregation: LoraAggregation
    counted_ranks: int | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """See `UpdatePlan`."""
        return () if self.counted_ranks is None else ranks.count_names(self.counted_ranks)

    def counts(self, rank: int | None) -> dict[str, float]:
        """What a client of this rank (None: the common one) reports besides its loss: empty where none are counted.

        Raises:
            ConfigError: the rank is not in 1 … the common one.
        """
        greatest = self.counted_ranks
        return {} if greatest is None else ranks.counts(greatest if rank is None else rank, greatest)

    def tensors(self, weights: Mapping[str, FloatArray], round_number: int) -> tuple[str, ...]:
        """See `UpdatePlan`.

        Raises:
            ConfigError: the weights are not of an adapter for this aggregation.
        """
        names = tuple(name for name in weights if name.endswith(self.aggregation.sends(round_number)))
        if not names:
            raise ConfigError(
                "method.lora_aggregation",
                f'"{self.aggregation}" sends tensors named *{self.aggregation.sends(round_number)[0]}, and the model '
                "has none: attach it with the same aggregation",
            )
        return names

    def mean(self, aggregate: Aggregate) -> Mapping[str, FloatArray]:
        """See `UpdatePlan`: the weighted mean over the clients that hold each rank component."""
        if self.counted_ranks is None:
            return aggregate.tensors
        shares = ranks.held_shares(aggregate.metrics, aggregate.weight, self.counted_ranks)
        return ranks.mean_over_holders(aggregate.tensors, shares)
