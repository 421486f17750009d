"""What an adversary does in one round: a list of faults drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securefed.audit.round import ClientId, Round

__all__ = ["FAULTS", "HARMLESS", "Fault", "schedule"]

FAULTS = {
    "drop request": "a request never arrives",
    "drop reply": "an answer never arrives",
    "delay request": "a request arrives one or two stages later",
    "delay reply": "an answer arrives one or two stages later",
    "duplicate request": "a request arrives twice",
    "duplicate reply": "an answer arrives twice",
    "change request": "bits of a request are changed",
    "change reply": "bits of an answer are changed",
    "conflict": "an answer is followed by the same one with bits changed",
    "cut request": "a request is cut short, or a byte too long",
    "cut reply": "an answer is cut short, or a byte too long",
    "swap request": "a client gets another client's request",
    "swap reply": "an answer comes on another client's channel",
    "replay request": "a request of an earlier stage comes first",
    "replay reply": "an answer of an earlier stage comes first",
    "two stories": "from now on some clients are told that this one did not answer the stage before",
    "crash client": "a client is started again, before or after it stored or sent its answer, and asked again",
    "crash server": "the server is started again between two answers",
}
"""Every kind of fault, with what it means."""

HARMLESS = frozenset({"duplicate reply", "crash server"})
"""Faults that no round may fail of."""

_MANY = (0, 1, 1, 2, 2, 3, 4, 6, 9, 14)
"""How many faults a round has, each number as likely: most rounds end with a sum, some with everything at once."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: of `FAULTS`.
        stage: when.
        client: to whom.
        number: 0 … 2^32 − 1, what its details are drawn from.
    """

    kind: str
    stage: str
    client: ClientId
    number: int

    def __str__(self) -> str:
        return f"{self.stage}: {self.kind}, client {self.client}, {self.number:#010x}"

    def choose(self, count: int) -> int:
        """One of so many possibilities."""
        return self.number % max(1, count)


def schedule(seed: int, round_: Round) -> tuple[Fault, ...]:
    """The faults of one round, the same for the same seed, cohort and stages."""
    generator = np.random.default_rng((seed, 1))
    kinds, count = list(FAULTS), _MANY[generator.integers(len(_MANY))]
    faults = []
    for _ in range(count):
        kind = kinds[generator.integers(len(kinds))]
        # A lie about an earlier stage is a smaller roster; the one worth telling is about who survived.
        stages = (round_.after_update() if kind == "two stories" else ()) or round_.stages
        stage = stages[generator.integers(len(stages))]
        client = round_.cohort[generator.integers(len(round_.cohort))]
        faults.append(Fault(kind, stage, client, int(generator.integers(2**32))))
    return tuple(faults)
