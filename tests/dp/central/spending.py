"""A ledger that only writes down what was charged, and when."""

from __future__ import annotations

from securefed.dp.accounting import Event
from securefed.errors import BudgetExceeded


class Charged:
    """Charges into a list, and refuses from a number of events on."""

    def __init__(self, log: list[str] | None = None, most: int = 10**9) -> None:
        self.events: list[Event] = []
        self.log = log if log is not None else []
        self._most = most

    def spend(self, event: Event) -> None:
        if len(self.events) >= self._most:
            raise BudgetExceeded("the budget is used up")
        self.events.append(event)
        self.log.append("charged")
