"""Which of the weights a round trains and sends, and what the server makes of their mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from securefed.aggregation import Aggregate
from securefed.federated.training import FloatArray

__all__ = ["AllTensors", "UpdatePlan"]


class UpdatePlan(Protocol):
    """The part of the global weights that is trained in each round.

    What a round does not send is still part of the global weights: the model digest and the checkpoint hold it, so that
    clients who stand on other fixed tensors than the round's are refused (V9).
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that every trainer reports for this plan, beyond those of the loop."""
        ...

    def tensors(self, weights: Mapping[str, FloatArray], round_number: int) -> tuple[str, ...]:
        """Names of the tensors that a round trains and sends, in order: its layout. At least one.

        Must be a function of the names in `weights` and of `round_number` alone: server and clients each compute it.

        Args:
            weights: the global ones.
            round_number: counted from 1.
        """
        ...

    def mean(self, aggregate: Aggregate) -> Mapping[str, FloatArray]:
        """What the server's optimiser steps along, by name, for the tensors that the round sent."""
        ...


class AllTensors:
    """Every tensor in every round, and the weighted mean as it is."""

    metrics: tuple[str, ...] = ()

    def tensors(self, weights: Mapping[str, FloatArray], round_number: int) -> tuple[str, ...]:
        """See `UpdatePlan`."""
        return tuple(weights)

    def mean(self, aggregate: Aggregate) -> Mapping[str, FloatArray]:
        """See `UpdatePlan`."""
        return aggregate.tensors
