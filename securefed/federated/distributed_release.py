"""Differential privacy of clients that needs no trusted server: each adds its share of the noise before it sends.

The server sees the noised sum and nothing else, under masks as under encryption. What is summed is one vector of noisy
integers: no weight but 1, and no metric, for a number without noise beside it would say what the noise hides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from securefed.aggregation import Adversary, Aggregate, RoundSpec
from securefed.dp.accounting import Ledger
from securefed.dp.central.groups import Groups
from securefed.dp.central.update_clip import UpdateClip
from securefed.dp.distributed import Mechanism
from securefed.dp.noise import Source
from securefed.encoding.layout import Layout
from securefed.errors import BudgetExceeded, ConfigError
from securefed.federated.flat_update import flattened, like
from securefed.federated.release import Outgoing
from securefed.federated.training import FloatArray, Trained

__all__ = ["DistributedRelease"]


class DistributedRelease:
    """A `Release` whose every sum is noised by the clients.

    Args:
        mechanism: for updates of so many values; the same at all clients. The bits of a number and the clip of the
            encoding do not depend on the round: all mechanisms of a job share them.
        groups: which of so named tensors are clipped together.
        planned: charged with the worst case before any client sends: what a client knows then.
        released: charged with what a sum cost, when it is known whose noise is in it.
        least_honest: fewest honest clients in any sum that the scheme lets the server learn
            (`schemes.SchemeEntry.least_honest`); by default the round's threshold less its corrupt clients.
        parted: whether a malicious server may learn sums over parts of the survivors: then what a sum cost is what was
            planned, whoever was there.
        source: of a client's noise, a fresh one for each update; another one in tests alone.
    """

    greatest_weight = 1

    def __init__(
        self,
        mechanism: Callable[[int], Mechanism],
        groups: Callable[[Mapping[str, FloatArray]], Groups],
        planned: Ledger,
        released: Ledger,
        *,
        least_honest: Callable[[int, Adversary], int] | None = None,
        parted: bool = False,
        source: Callable[[], Source] = Source.fresh,
    ) -> None:
        self._mechanism_for = mechanism
        self._groups = groups
        self._planned, self._released = planned, released
        self._least_honest, self._parted = least_honest, parted
        self._source = source
        self._mechanism: Mechanism | None = None
        self._seed = b""
        self._charged = True

    @property
    def mechanism(self) -> Mechanism:
        """Of the round whose layout was asked for last."""
        if self._mechanism is None:
            raise ValueError("no layout was asked for yet")
        return self._mechanism

    @property
    def bits(self) -> int:
        """See `Release`."""
        return self.mechanism.bits

    @property
    def clip(self) -> float:
        """See `Release`: of the encoding, in which integers travel as they are."""
        return self.mechanism.clip

    def layout(self, tensors: Mapping[str, FloatArray], metrics: tuple[str, ...]) -> Layout:
        """See `Release`."""
        if metrics:
            raise ConfigError("privacy.kind", f"clients would send {metrics[0]!r} without noise: none may be reported")
        self._mechanism = self._mechanism_for(sum(tensor.size for tensor in tensors.values()))
        return self._mechanism.layout

    def begin(self, spec: RoundSpec) -> None:
        """See `Release`. An attempt that ends before any client sends is not charged; one that ends later is."""
        least = None if self._least_honest is None else self._least_honest(len(spec.cohort), spec.adversary)
        self.mechanism.check_round(spec, least)
        noise, *_ = self.mechanism.planned
        if not self._planned.affords(noise):
            raise BudgetExceeded(
                f"[D9] round {spec.round} would pass ε = {self._planned.budget:g} for one client: no client was asked"
            )
        # Of the rotation: public, the same for all, and another one for each attempt.
        self._seed, self._charged = spec.session, False

    def outgoing(self, deltas: Mapping[str, FloatArray], trained: Trained, round_number: int) -> Outgoing:
        """See `Release`. The simulated clients of a round spend alike, so one ledger stands for all of theirs."""
        if not self._charged:
            for event in self.mechanism.planned:
                self._planned.spend(event)
            self._charged = True
        clipped = UpdateClip(self._groups(deltas), self.mechanism.parameters.clip).clip(deltas)
        vector = flattened({name: np.asarray(clipped.tensors[name]) for name in deltas})
        return Outgoing(self.mechanism.tensors(vector, self._source(), self._seed), 1, {})

    def opened(self, aggregate: Aggregate, tensors: Mapping[str, FloatArray], round_number: int) -> Aggregate:
        """See `Release`."""
        survivors, mechanism = len(aggregate.survivors), self.mechanism
        for event in mechanism.planned if self._parted else mechanism.event(survivors):
            self._released.spend(event)
        means = {name: mean.astype(np.float64, copy=False) for name, mean in aggregate.tensors.items()}
        mean = mechanism.decode(mechanism.sums(means, survivors), survivors, self._seed)
        return replace(aggregate, tensors=like(mean, tensors), metrics={}, words=None)

    def state(self) -> dict[str, Any]:
        """See `Release`: nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Release`."""
