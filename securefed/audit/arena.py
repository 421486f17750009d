"""All parties of one round in the hands of an adversary, and the invariants that nothing it does may break.

- **exact sum**: a result is the sum of the integers of those it names, each of whose uploads the server took; an upload
  that was changed on the way changes the sum by just that;
- **closed errors**: what leaves a party is a refusal or an abort of the round's, and nothing else;
- **one kind of share**: no client ever lets go of both shares of one peer, restarts included, and against a lying
  server never so many clients of both kinds of one owner as open each;
- **one mask**: no client ever lets go of two different uploads;
- **one sum**: a server that tells two stories about who answered never has the sum of either;
- **an end**: after the last stage there is a result, or the round was aborted;
- **a cause** (checked by the simulation): no round is aborted of which nothing was lost and nothing changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import numpy as np

from securefed.audit.round import Client, ClientId, Round, Server, Sum, Words
from securefed.audit.twin import Twin

__all__ = ["Answer", "Arena", "Event", "State", "Violation"]

T = TypeVar("T")
State = Literal["latest", "older", "nothing"]
"""What a client that is started again finds: its last snapshot, the one before, or none at all."""


class Violation(Exception):
    """An invariant is broken.

    Args:
        invariant: its name.
        detail: what was found.
    """

    def __init__(self, invariant: str, detail: str) -> None:
        self.invariant = invariant
        self.detail = detail
        super().__init__(f"{invariant}: {detail}")


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    stage: str
    what: str
    outcome: str = ""

    def __str__(self) -> str:
        return f"{self.stage}: {self.what}" + (f" → {self.outcome}" if self.outcome else "")


@dataclass(frozen=True, repr=False)
class Answer:
    """A client's answer that has not left it yet."""

    client: ClientId
    message: bytes
    upload: bool
    second_story: bool
    kinds: Mapping[ClientId, frozenset[int]]


class Arena:
    """One round.

    Attributes:
        events: what happened, in order.
        refused: how often each rule was what a refusal named.
        over: how the round ended: completed, aborted, or lost with its server; None while it goes on.
    """

    def __init__(self, round_: Round) -> None:
        self.round = round_
        self.events: list[Event] = []
        self.refused: Counter[str] = Counter()
        self.over: str | None = None
        self.result: Sum | None = None
        self._server: Server = round_.new_server()
        self._clients: dict[ClientId, Client | None] = {c: round_.new_client(c) for c in round_.cohort}
        self._stored: dict[ClientId, list[bytes]] = {c: [] for c in round_.cohort}
        self._twin: Twin | None = None
        self._for_twin: set[bytes] = set()
        self._at = 0
        self._uploads: dict[ClientId, bytes] = {}
        self._accepted: dict[str, dict[ClientId, bytes]] = {stage: {} for stage in round_.stages}
        self._held: dict[ClientId, dict[ClientId, tuple[bytes, bytes]]] = {c: {} for c in round_.cohort}
        self._released: dict[ClientId, dict[ClientId, frozenset[int]]] = {}
        for client in round_.cohort:
            self._store(client)

    @property
    def stage(self) -> str:
        """The stage that is open, or was the last one."""
        return self.round.stages[min(self._at, len(self.round.stages) - 1)]

    def note(self, what: str, outcome: str = "") -> None:
        """Write an event down."""
        self.events.append(Event(self.stage, what, outcome))

    def requests(self) -> Mapping[ClientId, bytes]:
        """What the server wants sent now."""
        return self._guarded("the server's requests", lambda: dict(self._server.requests())) or {}

    def ask(self, client: ClientId, request: bytes, what: str) -> Answer | None:
        """Hand a client a request; its answer is computed and not stored yet."""
        session = self._clients[client]
        if session is None:
            self.note(f"{what} to client {client}", "it is gone")
            return None
        held = self._held[client]
        held.update(self.round.held_shares(session) if self.round.held_shares else {})
        called = []

        def update() -> Any:
            called.append(client)
            return self.round.update(client)

        message = self._guarded(f"{what} to client {client}", lambda: session.reply(request, update))
        if message is None:
            return None
        kinds = {
            owner: frozenset(kind for kind, share in enumerate(shares) if share in message)
            for owner, shares in held.items()
        }
        return Answer(client, message, bool(called), request == self.twin_request(client), kinds)

    def store(self, answer: Answer) -> None:
        """The client stores its state, as it must before the answer leaves."""
        self._store(answer.client)

    def leave(self, answer: Answer) -> bytes:
        """The answer leaves its client: from now on the adversary has it.

        Raises:
            Violation: one mask, or one kind of share.
        """
        client = answer.client
        if answer.second_story:
            self._for_twin.add(answer.message)
        if answer.upload and self._uploads.setdefault(client, answer.message) != answer.message:
            raise Violation("one mask", f"client {client} sent two different uploads")
        given = self._released.setdefault(client, {})
        for owner, kinds in answer.kinds.items():
            given[owner] = given.get(owner, frozenset()) | kinds
            if len(given[owner]) > 1:
                raise Violation("one kind of share", f"client {client} gave both shares of client {owner}")
        if self.round.lying_server:
            self._check_holders()
        return answer.message

    def receive(self, client: ClientId, reply: bytes, what: str) -> None:
        """Hand the server an answer on a client's channel."""
        if self.over is not None:
            self.note(f"{what} of client {client}", "the round is over")
            return
        if self._twin is not None and reply in self._for_twin:
            self._twin.receive(client, reply)
            self.note(f"{what} of client {client}", "kept for the second story")
            return
        stage = self.stage

        def take() -> bool:
            self._server.receive(client, reply)
            return True

        if self._guarded(f"{what} of client {client}", take):
            self._accepted[stage][client] = reply

    def advance(self) -> None:
        """End the stage.

        Raises:
            Violation: exact sum, one sum, or an end.
        """
        if self._twin is not None:
            self._twin.advance()
        try:
            self._server.advance()
        except self.round.aborts as error:
            self.note("the stage ends", str(error))
            self.over = "aborted"
            return
        except Exception as error:
            raise Violation("closed errors", f"the server's advance: {type(error).__name__}: {error}") from error
        self.note("the stage ends")
        self._at = self.round.stages_done(self._server, self._at)
        aggregate = self._server.aggregate
        if aggregate is not None:
            self.result, self.over = self.round.read(aggregate), "completed"
            self._check_sum(self.result)
            if self._twin is not None and self._twin.result is not None:
                raise Violation("one sum", "a server with two stories has the sum of either")
        elif self._at == len(self.round.stages):
            raise Violation("an end", "all stages are over, with neither a result nor an abort")

    def restart_client(self, client: ClientId, state: State) -> None:
        """The client's program ends and is started again; where it finds no state, it is as new."""
        resume, stored = self.round.resume_client, self._stored[client]
        if state != "nothing" and resume is not None and stored:
            snapshot = stored[-1 if state == "latest" else max(0, len(stored) - 2)]
            what = f"client {client} is started again from its {state} snapshot"
            self._clients[client] = self._guarded(what, lambda: resume(client, snapshot))
        else:
            what = f"client {client} is started again without its state"
            self._clients[client] = self._guarded(what, lambda: self.round.new_client(client))

    def restart_server(self) -> None:
        """The server's program ends and is started again; where it cannot store itself, the round is lost."""
        resume = self.round.resume_server
        if resume is None:
            self.note("the server is gone")
            self.over = "lost"
            return

        def again() -> Server:
            return resume(cast(Any, self._server).snapshot())

        server = self._guarded("the server is started again", again)
        if server is None:
            raise Violation("closed errors", "the server refuses its own snapshot")
        self._server = server

    def tell_two_stories(self, lacking: ClientId) -> None:
        """From now on there is a second server, which did not get one client's last answer."""
        if self.round.lying_server and self._twin is None and self._at > 0:
            accepted = [self._accepted[stage] for stage in self.round.stages[: self._at]]
            self._twin = Twin(self.round, accepted, lacking)
            self.note(f"a second story begins: client {lacking} did not answer the stage before")

    def twin_request(self, client: ClientId) -> bytes | None:
        """What the second server would tell a client; None where there is none, or nothing to tell."""
        return None if self._twin is None else self._twin.request(client)

    def _guarded(self, what: str, act: Callable[[], T]) -> T | None:
        """What the act gives; None where it is refused.

        Raises:
            Violation: closed errors, for any other exception.
        """
        try:
            given = act()
        except self.round.refusals as error:
            self.refused[str(getattr(error, "rule", type(error).__name__))] += 1
            self.note(what, str(error))
            return None
        except Exception as error:
            raise Violation("closed errors", f"{what}: {type(error).__name__}: {error}") from error
        if what != "the server's requests":
            self.note(what, "accepted")
        return given

    def _store(self, client: ClientId) -> None:
        session = self._clients[client]
        if self.round.resume_client is not None and session is not None:
            self._stored[client].append(cast(Any, session).snapshot())

    def _check_holders(self) -> None:
        holders: Counter[tuple[ClientId, int]] = Counter()
        for given in self._released.values():
            holders.update((owner, kind) for owner, kinds in given.items() for kind in kinds)
        opens = self.round.shares_to_open or self.round.threshold
        for owner in self.round.cohort:
            if min(holders[owner, 0], holders[owner, 1]) >= opens:
                raise Violation("one kind of share", f"{opens} clients each gave the two kinds of client {owner}")

    def _check_sum(self, result: Sum) -> None:
        taken = self._accepted[self.round.update_stage]
        if not set(result.survivors) <= taken.keys():
            raise Violation("exact sum", f"survivors {list(result.survivors)}, uploads were taken of {sorted(taken)}")
        if len(result.survivors) < self.round.threshold:
            raise Violation("exact sum", f"a sum over {len(result.survivors)}, fewer than {self.round.threshold}")
        expected = np.array(self.round.plain_sum(result.survivors), object)
        for client in result.survivors:
            genuine = self._uploads.get(client)
            if genuine is None:
                raise Violation("exact sum", f"client {client} is named as a survivor and never sent an upload")
            if taken[client] != genuine:
                if self.round.words_of is None:
                    self.note("the sum holds a changed upload", "not checked, for want of the hook Round.words_of")
                    return
                lie = self.round.words_of(client, taken[client]), self.round.words_of(client, genuine)
                expected += _integers(lie[0]) - _integers(lie[1])
        if result.words.tolist() != [value % self.round.modulus for value in expected.tolist()]:
            raise Violation("exact sum", f"the result is not the sum over {list(result.survivors)}, which it names")


def _integers(words: Words) -> Any:
    return np.array(words.tolist(), object)
