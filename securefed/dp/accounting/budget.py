"""Whether one more step fits a budget: cheap in almost every step, exact in the one that matters."""

from __future__ import annotations

from collections import Counter

from securefed.dp.accounting.accountant import epsilon, failure_of, total_curve, used_accountant, with_failure
from securefed.dp.accounting.events import Event
from securefed.dp.accounting.renyi import Curve, epsilon_of

__all__ = ["Budget"]


class Budget:
    """An ε that no sum of events may pass.

    A step is let through where the Rényi bound proves that it fits, which takes microseconds. Past that point privacy
    loss distributions decide; each answer of theirs serves many steps, for fewer events of the same kinds cost no more.
    A step is refused by the exact figure alone.

    Args:
        limit: ε > 0.
        delta: δ of the figure.
        records: of one unit.
    """

    def __init__(self, limit: float, delta: float, records: int) -> None:
        self.limit = limit
        self._delta = delta
        self._records = records
        self._fits: Counter[Event] | None = None
        self._over: Counter[Event] | None = None
        self._stride = 1

    def allows(self, spent: Counter[Event], event: Event, times: int) -> bool:
        """Whether so many more of these events keep within the limit.

        Args:
            spent: what was released before.
            event: what is about to be.
            times: how often.
        """
        after = spent + Counter({event: times})
        if self._proved_cheaply(after):
            return True
        if used_accountant(after, self._delta) == "rdp":
            return False  # that was the exact figure
        if self._fits is not None and after <= self._fits:
            return True
        while True:
            trial = spent + Counter({event: max(times, self._stride)})
            if (self._over is None or not trial >= self._over) and self._exact(trial) <= self.limit:
                self._fits = trial
                self._stride *= 2
                return True
            self._over = trial
            if trial == after:
                return False
            self._stride //= 2

    def _exact(self, events: Counter[Event]) -> float:
        return epsilon(events, self._delta, records=self._records)

    def _proved_cheaply(self, events: Counter[Event]) -> bool:
        total: Curve = total_curve(events, self._records)
        return with_failure(lambda delta: epsilon_of(total, delta), self._delta, failure_of(events)) <= self.limit
