"""A round but for the model that it starts from: what can be known of it while the one before goes on."""

from __future__ import annotations

from dataclasses import dataclass

from securefed.aggregation import Adversary, ClientId, RoundSpec, new_round
from securefed.encoding.layout import Layout

__all__ = ["RoundPlan"]


@dataclass(frozen=True)
class RoundPlan:
    """One round.

    Attributes:
        round_number, adversary, bits, clip, greatest_weight: see `wire.specification.RoundSpec`.
        cohort: client ids, in any order.
        layout: of its updates.
    """

    round_number: int
    cohort: tuple[ClientId, ...]
    adversary: Adversary
    layout: Layout
    bits: int
    clip: float
    greatest_weight: int = 1

    def specification(self, model: bytes | None = None) -> RoundSpec:
        """Of a new attempt, under a fresh nonce.

        Raises:
            ConfigError: a field is out of bounds, or V8.
        """
        return new_round(
            round_number=self.round_number, cohort=self.cohort, adversary=self.adversary, model=model,
            layout=self.layout, bits=self.bits, clip=self.clip, greatest_weight=self.greatest_weight,
        )  # fmt: skip

    def is_of(self, spec: RoundSpec) -> bool:
        """Whether a specification is of this round, whatever its nonce and its model."""
        own = (self.round_number, tuple(sorted(self.cohort)), self.adversary, self.layout.digest)
        numbers = (self.bits, self.clip, self.greatest_weight)
        theirs = (spec.round, spec.cohort, spec.adversary, spec.layout)
        return own == theirs and numbers == (spec.bits, spec.clip, spec.greatest_weight)
