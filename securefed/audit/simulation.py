"""A round under an adversary that drops, delays, reorders, duplicates, changes, swaps, lies and crashes, from one seed.

    outcome = simulate(17)          # the same events for the same seed, every time
    print(outcome.told())           # what happened, and how to see it again

The rounds are securefed's own; with `make` they are anyone's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from securefed.aggregation import Adversary
from securefed.audit.arena import Answer, Arena, Event, State, Violation
from securefed.audit.own_rounds import masked_round, plain_round
from securefed.audit.round import ClientId, Contribution, Round
from securefed.audit.schedule import HARMLESS, Fault, schedule
from securefed.crypto.hashing import digest_in_domain

__all__ = ["MakeRound", "Outcome", "drawn", "own_round", "replay", "shortest", "simulate", "stated"]

MakeRound = Callable[[int], Round]
"""A round of a seed: the same cohort, stages and contributions for the same seed."""


@dataclass(frozen=True)
class Outcome:
    """How one simulated round went.

    Attributes:
        ended: completed, aborted, lost (with a server that cannot be resumed), or violated.
        survivors: how many are in the sum; 0 without one.
        events: what happened, in order.
        refused: how often each rule was broken and refused.
        violation: what no schedule may bring about; None where nothing did.
    """

    seed: int
    clients: int
    stages: tuple[str, ...]
    faults: tuple[Fault, ...]
    ended: str
    survivors: int
    events: tuple[Event, ...]
    refused: Mapping[str, int] = field(default_factory=dict)
    violation: Violation | None = None

    def told(self) -> str:
        """The whole story, for a report of a failure."""
        lines = [f"seed {self.seed}: {self.clients} clients, {len(self.faults)} faults, {self.ended}"]
        lines += [f"  fault  {fault}" for fault in self.faults]
        lines += [f"  {at:3d}  {event}" for at, event in enumerate(self.events, 1)]
        if self.violation is not None:
            lines.append(f"  VIOLATED  {self.violation}")
        return "\n".join(lines)


def drawn(seed: int) -> tuple[dict[ClientId, Contribution], bytes, np.random.Generator]:
    """What the clients of a seed's round contribute, the secret that their keys are drawn from, and what draws more."""
    generator = np.random.default_rng((seed, 0))
    cohort = sorted(int(client) for client in generator.choice(2**16, generator.integers(3, 9), replace=False) + 1)
    parameters = int(generator.integers(2, 9))
    contributions = {
        client: Contribution(
            generator.uniform(-1, 1, parameters), int(generator.integers(1, 101)), float(generator.normal())
        )
        for client in cohort
    }
    return contributions, digest_in_domain("audit-simulation", seed.to_bytes(8, "big")), generator


def stated(server: str, corrupt: float, clients: int, generator: np.random.Generator) -> Adversary:
    """An adversary that a cohort of so many can be protected against."""
    adversary = Adversary(server, corrupt, float(generator.choice([0.1, 0.2, 0.34])))
    feasible = adversary.least_survivors(clients) <= clients - adversary.lost_clients(clients)
    return adversary if feasible else Adversary(server, corrupt, 0.0)


def own_round(seed: int) -> Round:
    """A small round of one of our own schemes: nine in ten masked, most of these against a malicious server."""
    contributions, secret, generator = drawn(seed)
    kind = generator.integers(10)
    adversary = stated("malicious" if kind >= 3 else "semi-honest", 0.1, len(contributions), generator)
    return (plain_round if kind == 0 else masked_round)(contributions, adversary, secret=secret)[0]


def simulate(seed: int, make: MakeRound = own_round, faults: tuple[Fault, ...] | None = None) -> Outcome:
    """One round under the faults of a seed.

    Args:
        seed: 0 … 2^63 − 1: of the round, the order of messages and the faults.
        make: the round of a seed.
        faults: others than the seed's, in a search for fewer.
    """
    round_ = make(seed)
    chosen = schedule(seed, round_) if faults is None else faults
    arena = Arena(round_)
    violation: Violation | None = None
    try:
        _Adversary(arena, chosen, seed).play()
        if arena.over == "aborted" and all(fault.kind in HARMLESS for fault in chosen):
            raise Violation("a cause", "a round was aborted of which nothing was lost and nothing changed")
    except Violation as found:
        violation = found
    ended = "violated" if violation is not None else arena.over or "lost"
    survivors = len(arena.result.survivors) if arena.result is not None else 0
    return Outcome(
        seed, len(round_.cohort), round_.stages, chosen, ended, survivors, tuple(arena.events), dict(arena.refused),
        violation,
    )  # fmt: skip


def replay(seed: int, make: MakeRound = own_round) -> tuple[Event, ...]:
    """The events of a seed, again."""
    return simulate(seed, make).events


def shortest(outcome: Outcome, make: MakeRound = own_round) -> Outcome:
    """The same violation with every fault left out that it does not need."""
    best = outcome
    for fault in outcome.faults:
        fewer = tuple(other for other in best.faults if other is not fault)
        again = simulate(outcome.seed, make, fewer)
        if again.violation is not None and outcome.violation is not None:
            same = again.violation.invariant == outcome.violation.invariant
            best = again if same else best
    return best


class _Adversary:
    """Carries the messages of one round, with its faults."""

    def __init__(self, arena: Arena, faults: tuple[Fault, ...], seed: int) -> None:
        self._arena = arena
        self._faults = faults
        self._order = np.random.default_rng((seed, 2))
        self._late_requests: dict[str, list[tuple[ClientId, bytes]]] = defaultdict(list)
        self._late_replies: dict[str, list[tuple[ClientId, bytes]]] = defaultdict(list)
        self._told: set[ClientId] = set()
        self._sent: dict[ClientId, list[bytes]] = defaultdict(list)
        self._answered: dict[ClientId, list[bytes]] = defaultdict(list)

    def play(self) -> None:
        """The round, to its end."""
        arena = self._arena
        while arena.over is None:
            stage = arena.stage
            incoming: list[tuple[ClientId, bytes]] = []
            for client, request in self._shuffled(self._outgoing(stage)):
                incoming += self._answers(stage, client, request)
            incoming += self._late_replies.pop(stage, [])
            crashes = Counter(f.choose(len(incoming) + 1) for f in self._now(stage, "crash server"))
            for at, (client, reply) in enumerate(self._shuffled(incoming)):
                self._crash_server(crashes[at])
                arena.receive(client, reply, "an answer")
            self._crash_server(crashes[len(incoming)])
            if arena.over is None:
                arena.advance()

    def _crash_server(self, times: int) -> None:
        for _ in range(times):
            if self._arena.over is None:
                self._arena.restart_server()

    def _now(self, stage: str, kind: str, client: ClientId | None = None) -> list[Fault]:
        return [f for f in self._faults if (f.stage, f.kind) == (stage, kind) and client in (None, f.client)]

    def _outgoing(self, stage: str) -> list[tuple[ClientId, bytes]]:
        requests = self._arena.requests()
        outgoing = self._late_requests.pop(stage, [])
        for fault in self._now(stage, "two stories"):
            self._arena.tell_two_stories(fault.client)
            everyone = fault.number >> 31
            self._told |= {c for at, c in enumerate(self._arena.round.cohort) if everyone or fault.number >> at & 1}
        for client, request in requests.items():
            copies = [request]
            for fault in (f for f in self._faults if (f.stage, f.client) == (stage, client)):
                copies = self._with_request_fault(fault, copies, requests)
            lie = self._arena.twin_request(client) if client in self._told else None
            outgoing += [(client, copy) for copy in ([] if lie is None else [lie]) + copies]
            self._sent[client].append(request)
        return outgoing

    def _with_request_fault(self, fault: Fault, copies: list[bytes], requests: Mapping[ClientId, bytes]) -> list[bytes]:
        match fault.kind:
            case "drop request":
                return []
            case "delay request":
                self._late_requests[self._later(fault)] += [(fault.client, copy) for copy in copies]
                return []
            case "duplicate request":
                return copies * 2
            case "change request":
                return [_changed(copy, fault) for copy in copies]
            case "cut request":
                return [_cut(copy, fault) for copy in copies]
            case "swap request":
                return [requests[sorted(requests)[fault.choose(len(requests))]] for _ in copies]
            case "replay request":
                earlier = self._sent[fault.client]
                return ([earlier[fault.choose(len(earlier))]] if earlier else []) + copies
            case _:
                return copies

    def _answers(self, stage: str, client: ClientId, request: bytes) -> list[tuple[ClientId, bytes]]:
        copies: list[tuple[ClientId, bytes]] = []
        for answer in self._asked(stage, client, request):
            reply = self._arena.leave(answer)
            copies.append((client, reply))
            self._answered[client].append(reply)
        for fault in (f for f in self._faults if (f.stage, f.client) == (stage, client)):
            copies = self._with_reply_fault(fault, copies)
        return copies

    def _asked(self, stage: str, client: ClientId, request: bytes) -> Iterator[Answer]:
        """A client's answer; where it crashes, it is asked again, as a server would that hears nothing."""
        crash = next(iter(self._now(stage, "crash client", client)), None)
        moment = -1 if crash is None else crash.choose(4)
        states: tuple[State, ...] = ("latest", "older", "nothing")
        state = "latest" if crash is None else states[crash.number // 4 % 3]
        if moment == 0:  # before the request
            self._arena.restart_client(client, state)
        answer = self._arena.ask(client, request, "a request")
        if answer is not None and moment != 1:  # before the answer is stored
            self._arena.store(answer)
            if moment != 2:  # before it is sent
                yield answer
        if moment > 0:
            self._arena.restart_client(client, state)
            again = self._arena.ask(client, request, "the request again")
            if again is not None:
                self._arena.store(again)
                yield again

    def _with_reply_fault(self, fault: Fault, copies: list[tuple[ClientId, bytes]]) -> list[tuple[ClientId, bytes]]:
        match fault.kind:
            case "drop reply":
                return []
            case "delay reply":
                self._late_replies[self._later(fault)] += copies
                return []
            case "duplicate reply":
                return copies * 2
            case "change reply":
                return [(client, _changed(reply, fault)) for client, reply in copies]
            case "conflict":
                return [*copies, *((client, _changed(reply, fault)) for client, reply in copies)]
            case "cut reply":
                return [(client, _cut(reply, fault)) for client, reply in copies]
            case "swap reply":
                cohort = self._arena.round.cohort
                return [(cohort[fault.choose(len(cohort))], reply) for _, reply in copies]
            case "replay reply":
                earlier = self._answered[fault.client]
                return ([(fault.client, earlier[fault.choose(len(earlier))])] if earlier else []) + copies
            case _:
                return copies

    def _later(self, fault: Fault) -> str:
        """One or two stages on; after the last one nothing arrives any more."""
        stages = self._arena.round.stages
        at = stages.index(fault.stage) + 1 + fault.choose(2)
        return stages[at] if at < len(stages) else ""

    def _shuffled(self, messages: list[tuple[ClientId, bytes]]) -> list[tuple[ClientId, bytes]]:
        return [messages[at] for at in self._order.permutation(len(messages))]


def _changed(message: bytes, fault: Fault) -> bytes:
    """One to three bits the other way, near each other or not."""
    if not message:
        return message
    changed = bytearray(message)
    for step in range(1 + fault.number // 7 % 3):
        bit = (fault.number >> 3) * (1 + 12_345 * step) % (8 * len(message))
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _cut(message: bytes, fault: Fault) -> bytes:
    return message + b"\0" if fault.number % 5 == 0 else message[: fault.choose(len(message))]
