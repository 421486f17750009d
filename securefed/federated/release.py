"""What of a client's training leaves it, and what the server makes of the sum: where differential privacy enters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from securefed.aggregation import Aggregate, RoundSpec
from securefed.encoding.layout import Layout
from securefed.federated.clipped_share import CLIPPED_SHARE, clipped_share
from securefed.federated.training import FloatArray, Trained

__all__ = ["METRICS", "AsTrained", "Outgoing", "Release"]

METRICS = ("loss", CLIPPED_SHARE)
"""What every client reports inside its protected vector: training loss, and the share of its update over the clip."""


@dataclass(frozen=True, repr=False)
class Outgoing:
    """What a client hands to the scheme: as in `aggregation.Update`."""

    tensors: Mapping[str, FloatArray]
    weight: int
    metrics: Mapping[str, float]


class Release(Protocol):
    """The way from a client's update to what it sends, and from the sum to what the server learns from.

    One object serves the server and the clients of a simulation; whatever is secret of a client is made anew in each
    call of `outgoing` and kept by nobody.
    """

    @property
    def bits(self) -> int:
        """Of one number on its way (`encoding.quantize.Numbers`)."""
        ...

    @property
    def clip(self) -> float:
        """See `encoding.quantize.Numbers`."""
        ...

    @property
    def greatest_weight(self) -> int:
        """See `encoding.quantize.Numbers`."""
        ...

    def layout(self, tensors: Mapping[str, FloatArray], metrics: tuple[str, ...]) -> Layout:
        """Of the vector that a round carries.

        Args:
            tensors: those that the round trains, by name; of their values nothing is used.
            metrics: what the update plan asks of every client.

        Raises:
            ConfigError: they cannot be released so.
        """
        ...

    def begin(self, spec: RoundSpec) -> None:
        """An attempt at a round begins: called before any client is asked.

        Args:
            spec: of the attempt, each of which has another session.

        Raises:
            BudgetExceeded: the privacy budget does not allow it.
            RemoteProtocolError: clients would refuse such a round.
        """
        ...

    def outgoing(self, deltas: Mapping[str, FloatArray], trained: Trained, round_number: int) -> Outgoing:
        """One client's side: what it sends of `deltas`, new − old weights.

        Raises:
            LocalProtocolError: the update cannot be released: not finite, for instance.
        """
        ...

    def opened(self, aggregate: Aggregate, tensors: Mapping[str, FloatArray], round_number: int) -> Aggregate:
        """The server's side: the aggregate with the trained tensors in it, as it may be looked at and learnt from.

        Raises:
            BudgetExceeded: the privacy budget does not allow it; nothing of the aggregate was given away.
        """
        ...

    def state(self) -> dict[str, Any]:
        """What later rounds go on with, in plain JSON, for a checkpoint: released values, and no secret."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        ...


class AsTrained:
    """Updates as they are, weighted, with their metrics: the scheme alone protects them.

    Args:
        bits, clip, greatest_weight: see `encoding.quantize.Numbers`.
        metrics: of `METRICS`, those that are reported. What clients train under example-level privacy must not report
            its `loss`, which no noise covers; `clipped_share` is a function of what they send anyway.
    """

    def __init__(self, bits: int, clip: float, greatest_weight: int = 1, metrics: tuple[str, ...] = METRICS) -> None:
        self.bits = bits
        self.clip = clip
        self.greatest_weight = greatest_weight
        self._metrics = metrics

    def layout(self, tensors: Mapping[str, FloatArray], metrics: tuple[str, ...]) -> Layout:
        """See `Release`."""
        return Layout.of(tensors, (*self._metrics, *metrics))

    def begin(self, spec: RoundSpec) -> None:
        """See `Release`: nothing is spent here."""

    def outgoing(self, deltas: Mapping[str, FloatArray], trained: Trained, round_number: int) -> Outgoing:
        """See `Release`."""
        weight = min(trained.examples, self.greatest_weight)
        own = {}
        if CLIPPED_SHARE in self._metrics:
            own[CLIPPED_SHARE] = clipped_share(deltas, weight / self.greatest_weight, self.clip)
        return Outgoing(deltas, weight, {**trained.metrics, **own})

    def opened(self, aggregate: Aggregate, tensors: Mapping[str, FloatArray], round_number: int) -> Aggregate:
        """See `Release`."""
        return aggregate

    def state(self) -> dict[str, Any]:
        """See `Release`: nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Release`."""
