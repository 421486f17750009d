"""How often, and how far apart, one client takes part: what the sensitivity of the matrix mechanism stands on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["Attendance", "Schema"]

MOST_ROUNDS: Final = 10**5


@dataclass(frozen=True)
class Schema:
    """b-min-separation with at most k participations (Choquette-Choo et al. 2023, arXiv 2306.08153, section 2).

    Args:
        rounds: n, 1 … 10^5.
        separation: b, 1 … n: a client that took part in round t may not before round t + b.
        participations: k ≥ 1: how often one client takes part at most; 0 for as often as b allows. It is cut to
            ⌈n/b⌉, which b allows at most.

    Raises:
        ConfigError: M2.
    """

    rounds: int
    separation: int
    participations: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise ConfigError("rounds", f"[M2] {self.rounds} rounds are not 1 … {MOST_ROUNDS}")
        if not 1 <= self.separation <= self.rounds:
            raise ConfigError("privacy.separation", f"[M2] a separation of {self.separation} is not 1 … {self.rounds}")
        if self.participations < 0:
            raise ConfigError("privacy.participations", f"[M2] {self.participations} participations are none")
        most = -(-self.rounds // self.separation)
        object.__setattr__(self, "participations", min(self.participations or most, most))

    @classmethod
    def once(cls, rounds: int) -> Schema:
        """Every client takes part at most once."""
        return cls(rounds, rounds)


class Attendance:
    """Who took part when, held against a schema.

    Args:
        schema: of the run.
        seen: for each client the last round in which it took part and how often it did, as `seen` gave it.
    """

    def __init__(self, schema: Schema, seen: Mapping[int, tuple[int, int]] | None = None) -> None:
        self.schema = schema
        self.seen: dict[int, tuple[int, int]] = dict(seen or {})

    def why_not(self, client: int, row: int) -> str | None:
        """Why a client may not take part in round `row` (from 0), or None where it may."""
        last, times = self.seen.get(client, (-self.schema.separation, 0))
        if times >= self.schema.participations:
            return f"took part {times} times, which is the most"
        if row - last < self.schema.separation:
            return f"took part in round {last} and may not before round {last + self.schema.separation}"
        return None

    def eligible(self, clients: Iterable[int], row: int) -> list[int]:
        """Those of the clients that may take part in round `row` (from 0), in their order."""
        return [client for client in clients if self.why_not(client, row) is None]

    def check(self, clients: Iterable[int], row: int) -> None:
        """Refuse a round with a client that may not take part in it.

        Raises:
            LocalProtocolError: M3.
        """
        met = set[int]()
        for client in clients:
            reason = "is in the round twice" if client in met else self.why_not(client, row)
            if reason is not None:
                raise LocalProtocolError("M3", f"round {row}: client {client} {reason}: choose the cohort without it")
            met.add(client)

    def record(self, clients: Iterable[int], row: int) -> None:
        """Note who takes part in round `row`; nothing is noted where one may not.

        Raises:
            LocalProtocolError: M3.
        """
        clients = list(clients)
        self.check(clients, row)
        for client in clients:
            self.seen[client] = (row, self.seen.get(client, (0, 0))[1] + 1)
