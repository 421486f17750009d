"""Differential privacy of clients with a server that is trusted to add the noise: it sees each round's exact sum.

Clients clip their updates; the server adds noise to the sum before anything is learnt from it or shown. What is
promised holds for whoever sees the models that come of it, not for the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from securefed.aggregation import Aggregate, ClientId, RoundSpec
from securefed.dp.accounting import Ledger
from securefed.dp.central.adaptive import AdaptiveClip
from securefed.dp.central.central_noise import CentralNoise
from securefed.dp.central.groups import Groups
from securefed.dp.central.matrix_mechanism import MatrixMechanism
from securefed.dp.central.update_clip import UpdateClip, rounded_sensitivity
from securefed.encoding.layout import Layout
from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError
from securefed.federated.flat_update import flattened, like
from securefed.federated.release import Outgoing
from securefed.federated.training import FloatArray, Trained

__all__ = ["CentralRelease", "MatrixNoised", "NoisedMean", "RoundByRound"]

WITHIN = "within the bounds"
"""Name of the tensor that says which groups were within their bound, where bounds adapt: noised with the update."""
_SPARE = 1 + 2.0**-10
"""Over the largest value of a vector: so that the encoding's clip never cuts one."""


class NoisedMean(Protocol):
    """The noise of a run."""

    def mean(
        self, round_number: int, total: npt.NDArray[np.float64], sensitivity: float, clients: tuple[ClientId, ...]
    ) -> npt.NDArray[np.float64]:
        """A sum with noise, over the expected cohort.

        Args:
            round_number: counted from 1.
            total: float64, shape [d].
            sensitivity: its L2 sensitivity to one client.
            clients: whose vectors are in it.

        Raises:
            BudgetExceeded: nothing was drawn.
        """
        ...


class RoundByRound:
    """Fresh Gaussian noise in every round.

    Args:
        noise: of the run.
        ledger: charged for every sum.
    """

    def __init__(self, noise: CentralNoise, ledger: Ledger) -> None:
        self._noise, self._ledger = noise, ledger

    def mean(
        self, round_number: int, total: npt.NDArray[np.float64], sensitivity: float, clients: tuple[ClientId, ...]
    ) -> npt.NDArray[np.float64]:
        """See `NoisedMean`."""
        return self._noise.mean(total, sensitivity, self._ledger)


class MatrixNoised:
    """Noise that is correlated over the rounds, so that the model, which is a sum of them, has less of it.

    Args:
        make: the mechanism, for vectors of so many values and their sensitivity; it holds state and ledger.
    """

    def __init__(self, make: Callable[[int, float], MatrixMechanism]) -> None:
        self._make = make
        self._mechanism: tuple[int, MatrixMechanism] | None = None

    def mean(
        self, round_number: int, total: npt.NDArray[np.float64], sensitivity: float, clients: tuple[ClientId, ...]
    ) -> npt.NDArray[np.float64]:
        """See `NoisedMean`."""
        if self._mechanism is None:
            self._mechanism = len(total), self._make(len(total), sensitivity)
        size, mechanism = self._mechanism
        if size != len(total):
            raise ConfigError("privacy.mechanism", "the matrix mechanism needs the same tensors in every round")
        return mechanism.mean(round_number - 1, total, clients)


class CentralRelease:
    """A `Release` of clipped updates, noised by the server.

    Args:
        bits: of the encoding (`encoding.quantize.Numbers`).
        clip: bounds of an update, for tensors of these names; adaptive ones are kept for each set of tensors.
        cohort: clients of a round.
        noise: of the sums.
    """

    greatest_weight = 1

    def __init__(
        self,
        bits: int,
        clip: Callable[[Mapping[str, FloatArray]], UpdateClip | AdaptiveClip],
        cohort: int,
        noise: NoisedMean,
    ) -> None:
        self.bits = bits
        self._clip_for = clip
        self._cohort = cohort
        self._noise = noise
        self._clips: dict[tuple[str, ...], UpdateClip | AdaptiveClip] = {}
        self._round: tuple[str, ...] = ()
        self._stored: dict[str, Any] = {}

    @property
    def clip(self) -> float:
        """See `Release`: no value of a clipped vector is larger."""
        clip = self._clips[self._round]
        if isinstance(clip, AdaptiveClip):
            return max(*clip.bounds.values(), clip.scale / 2) * _SPARE
        return max(clip.bounds.values()) * _SPARE

    def layout(self, tensors: Mapping[str, FloatArray], metrics: tuple[str, ...]) -> Layout:
        """See `Release`. Doubles: a mean that is rounded further would not be a sum of so much sensitivity."""
        if metrics:
            raise ConfigError("privacy.kind", f"clients would send {metrics[0]!r} without noise: none may be reported")
        self._round = tuple(tensors)
        stored = self._stored.pop("\n".join(tensors), None)
        if stored is not None or self._round not in self._clips:
            clip = self._clip_for(tensors)
            adapted = stored is not None and isinstance(clip, AdaptiveClip)
            self._clips[self._round] = AdaptiveClip.from_json(clip.groups, stored) if adapted else clip
        clip = self._clips[self._round]
        sent = {name: np.broadcast_to(np.float64(0), tensor.shape) for name, tensor in tensors.items()}
        if isinstance(clip, AdaptiveClip):
            sent[WITHIN] = np.zeros(len(clip.groups))
        return Layout.of(sent)

    def begin(self, spec: RoundSpec) -> None:
        """See `Release`: the server spends when it opens a sum."""

    def outgoing(self, deltas: Mapping[str, FloatArray], trained: Trained, round_number: int) -> Outgoing:
        """See `Release`."""
        clip = self._clips[self._round]
        update = clip.clip if isinstance(clip, AdaptiveClip) else clip
        wide = {name: np.asarray(delta, np.float64) for name, delta in deltas.items()}
        clipped = update.clip(wide)
        tensors = {name: np.asarray(clipped.tensors[name]) for name in deltas}
        if isinstance(clip, AdaptiveClip):
            tensors[WITHIN] = clip.entries(clipped).astype(np.float64)
        return Outgoing(tensors, 1, {})

    def opened(self, aggregate: Aggregate, tensors: Mapping[str, FloatArray], round_number: int) -> Aggregate:
        """See `Release`. The divisor is the cohort: a mean over the survivors would move with one of them."""
        clip, survivors = self._clips[self._round], aggregate.survivors
        step = Numbers(self._cohort, self.bits, self.clip).step
        bound = clip.sensitivity if isinstance(clip, AdaptiveClip) else clip.total
        total = flattened(aggregate.tensors) * len(survivors)
        sensitivity = rounded_sensitivity(bound, len(total), step)
        mean = self._noise.mean(round_number, total, sensitivity, survivors)
        size = sum(tensor.size for tensor in tensors.values())
        if isinstance(clip, AdaptiveClip):
            self._clips[self._round] = clip.after(mean[size:] * self._cohort)
        return replace(aggregate, tensors=like(mean[:size], tensors), metrics={}, words=None)

    def state(self) -> dict[str, Any]:
        """See `Release`: adaptive bounds, by the names of the tensors that they are of."""
        return {
            "\n".join(names): clip.to_json() for names, clip in self._clips.items() if isinstance(clip, AdaptiveClip)
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Release`."""
        self._stored = dict(state)


def groups_of(kind: str) -> Callable[[Mapping[str, FloatArray]], Groups]:
    """How a configuration's `privacy.clip` groups the tensors of an update."""
    return Groups.flat if kind == "flat" else Groups.each_layer
