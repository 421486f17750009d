"""What many simulated rounds came to: counts for a table, and the violations with how to see them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from securefed.audit.simulation import MakeRound, Outcome, own_round, shortest, simulate

__all__ = ["Tally", "simulate_many"]


class Tally:
    """Counts over rounds.

    Attributes:
        rounds: simulated in all.
        clients: in all rounds.
        ended: how often a round was completed, aborted, lost or violated.
        faults: how often each kind of fault was made.
        silenced: by stage, faults that kept a request or an answer from arriving in time.
        refused: how often each rule was what a refusal named.
        survivors: clients in all sums.
        violations: with as few faults as the violation needs.
    """

    def __init__(self) -> None:
        self.rounds = 0
        self.clients = 0
        self.ended: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.silenced: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.survivors = 0
        self.violations: list[Outcome] = []

    def count(self, outcome: Outcome) -> None:
        """One more round."""
        self.rounds += 1
        self.clients += outcome.clients
        self.ended[outcome.ended] += 1
        self.survivors += outcome.survivors
        self.faults.update(fault.kind for fault in outcome.faults)
        self.silenced.update(f.stage for f in outcome.faults if f.kind.split()[0] in ("drop", "delay"))
        self.refused.update(outcome.refused)


def simulate_many(seeds: int, first: int = 0, make: MakeRound = own_round) -> Iterator[Tally]:
    """The tally after each of so many seeds from the first one on."""
    tally = Tally()
    for seed in range(first, first + seeds):
        outcome = simulate(seed, make)
        tally.count(outcome)
        if outcome.violation is not None:
            tally.violations.append(shortest(outcome, make))
        yield tally
