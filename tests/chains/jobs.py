"""A job of a few clients whose rounds follow each other, played honestly up to where a test wants otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from securefed.aggregation import Adversary, Aggregate, ClientIdentity, Policy, RoundSpec, Scheme, Update
from securefed.chains import ClientChain, RoundPlan, ServerChain
from securefed.encoding.layout import Layout
from securefed.errors import LocalProtocolError, RemoteProtocolError
from securefed.secagg import PairwiseMasks
from securefed.secagg.stages import Stage
from securefed.wire.bundle import is_bundle, parse_bundle
from securefed.wire.header import Header, MessageType
from tests.rounds import COHORT, LAYOUT, MALICIOUS, OPEN, identities, identity_of, plain_sum, seed, update_of

__all__ = ["ANY", "Job", "at_input", "kinds_in", "model_of", "parts"]

ANY = replace(OPEN, schemes=frozenset({"bfv", "bfv-2048", "ckks", "ckks-compact", "masks", "plain", "float"}))
Exchange = Callable[["Job", int, bytes], bytes]
"""What comes back from a client that was sent a request."""


def model_of(number: int) -> bytes:
    """The digest of what a round's clients train from."""
    return seed(f"model of round {number}")


def kinds_in(message: bytes) -> tuple[MessageType | None, ...]:
    """Types of the messages of an exchange: rider (None where its place is empty) and main message, or the one."""
    if not is_bundle(message):
        return (Header.parse(message).type,)
    rider, main = parse_bundle(message)
    return (Header.parse(rider).type if rider else None, Header.parse(main).type)


class Job:
    """Both sides of all rounds.

    Attributes:
        identities: of the clients; records outlive restarts.
        trained: (client, round) whenever an update was made.
        refused: by client, the rule that its answer, or the request to it, ended in; of the present round.
        seen: by stage, types of the messages that were asked and answered, of the present round.
    """

    def __init__(
        self, adversary: Adversary = MALICIOUS, cohort: tuple[int, ...] = COHORT, scheme: Scheme | None = None,
        layout: Layout = LAYOUT, others: tuple[Layout, ...] = (), policies: Mapping[int, Policy] | None = None,
    ) -> None:  # fmt: skip
        self.scheme = scheme or PairwiseMasks()
        self.adversary, self.cohort, self.layout, self.others = adversary, cohort, layout, others
        policy = dict.fromkeys(cohort, ANY) | dict(policies or {})
        self.identities: dict[int, ClientIdentity] = {c: identity_of(c, layout, policy[c], cohort) for c in cohort}
        self.server = ServerChain(self.scheme, identities(cohort))
        self.clients = {c: ClientChain(self.scheme, self.identities[c], others) for c in cohort}
        self.trained: list[tuple[int, int]] = []
        self.refused: dict[int, str] = {}
        self.seen: dict[str, set[tuple[MessageType | None, ...]]] = {}
        self.number = 0

    def plan(self, number: int, **changes: Any) -> RoundPlan:
        """Of one round."""
        return replace(RoundPlan(number, self.cohort, self.adversary, self.layout, 16, 0.5, 100), **changes)

    def begin(self, number: int, following: RoundPlan | bool = True, **changes: Any) -> RoundSpec:
        """A round, and the guess that it is followed by the next one of the same kind."""
        if following is True:
            following = self.plan(number + 1)
        self.number, self.refused, self.seen = number, {}, {}
        return self.server.begin(self.plan(number, **changes), model_of(number), following or None)

    def update(self, client: int) -> Callable[[], Update]:
        """What the client trains in the present round."""

        def train() -> Update:
            self.trained.append((client, self.number))
            return replace(update_of(client, self.layout), model=model_of(self.number))

        return train

    def ask(self, client: int, request: bytes) -> bytes:
        """The client's own answer."""
        return self.clients[client].reply(request, self.update(client))

    def ask_all(self, lost: tuple[int, ...] = (), exchange: Exchange | None = None) -> None:
        """One stage, which stays open; what a party refuses is that client's end."""
        stage = self.server.stage
        for client, request in self.server.requests().items():
            if client in lost:
                continue
            self.seen.setdefault(stage, set()).add(kinds_in(request))
            try:
                answer = exchange(self, client, request) if exchange else self.ask(client, request)
                self.server.receive(client, answer)
            except (RemoteProtocolError, LocalProtocolError) as error:
                self.refused[client] = error.rule

    def finish(
        self,
        drops: Mapping[int, str] | None = None,
        exchange: Exchange | None = None,
        between: Callable[[Job], None] = lambda _: None,
    ) -> int:
        """The rest of the round; the number of its exchanges."""
        exchanges, gone = 0, ()
        while self.server.aggregate is None:
            between(self)
            gone += tuple(client for client, at in (drops or {}).items() if at == self.server.stage)
            exchanges += bool(self.server.requests())
            self.ask_all(gone, exchange)
            between(self)
            self.server.advance()
        between(self)
        return exchanges

    def until(self, stage: str, exchange: Exchange | None = None) -> Job:
        """Until this stage is open and nobody has answered it."""
        while self.server.stage != stage:
            self.ask_all(exchange=exchange)
            self.server.advance()
        return self

    def round(self, number: int, drops: Mapping[int, str] | None = None, **rest: Any) -> int:
        """A whole round with a good guess of the next one; the number of its exchanges."""
        self.begin(number)
        return self.finish(drops, **rest)

    def aggregate(self) -> Aggregate:
        """Of the present round."""
        found = self.server.aggregate
        assert found is not None
        return found

    def check_sum(self, survivors: tuple[int, ...] | None = None) -> None:
        """The words are the sum of the integers, bit for bit."""
        survivors = survivors or self.cohort
        assert self.aggregate().survivors == survivors
        words = self.aggregate().words
        assert words is not None
        assert words.tolist() == plain_sum(self.server.spec, survivors, self.layout)

    def restart(self, clients: tuple[int, ...] | None = None, *, server: bool = True) -> None:
        """These go away and come back from what they stored; a client's record stays where it is."""
        for client in self.cohort if clients is None else clients:
            stored = self.clients[client].snapshot()
            self.clients[client] = ClientChain.resume(self.scheme, self.identities[client], stored, self.others)
            assert self.clients[client].snapshot() == stored
        if server:
            stored, before = self.server.snapshot(), self.server
            layouts = (self.layout, *self.others)
            self.server = ServerChain.resume(self.scheme, layouts, stored, identities(self.cohort))
            assert self.server.snapshot() == stored
            assert (self.server.stage, self.server.model) == (before.stage, before.model)
            assert self.server.requests() == before.requests()


def at_input(number: int = 2, adversary: Adversary = MALICIOUS, client: int = 3) -> tuple[Job, bytes]:
    """A round whose input is asked for, a prepared one but for the first, and a client's request, which is a bundle."""
    job = Job(adversary)
    for before in range(1, number):
        job.round(before)
    job.begin(number)
    job.until(Stage.INPUT)
    request = job.server.requests()[client]
    assert is_bundle(request)
    return job, request


def parts(bundle: bytes) -> tuple[bytes, bytes]:
    """Rider and main message."""
    rider, main = parse_bundle(bundle)
    return rider, bytes(main)
