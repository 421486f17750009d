"""How a scheme of ours is broken: a party with one method in front of the good one, and the round that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from securefed.audit.own_rounds import OwnRound
from securefed.audit.protocol import ClientId, Contribution, Round
from tests.audit.rounds import Masks

T = TypeVar("T")


class ClientInFront:
    """A good client, with someone in front of it."""

    def __init__(self, client: Any, own: OwnRound, me: ClientId) -> None:
        self.client = client
        self.own = own
        self.me = me

    @property
    def _stage(self) -> Any:
        return self.client._stage

    def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
        answer: bytes = self.client.reply(request, update)
        return answer

    def snapshot(self) -> bytes:
        stored: bytes = self.client.snapshot()
        return stored


class ServerInFront:
    """A good server, with someone in front of it."""

    def __init__(self, server: Any, own: OwnRound) -> None:
        self.server = server
        self.own = own

    @property
    def stage(self) -> Any:
        return self.server.stage

    @property
    def aggregate(self) -> Any:
        return self.server.aggregate

    def requests(self) -> Mapping[ClientId, bytes]:
        wanted: Mapping[ClientId, bytes] = self.server.requests()
        return wanted

    def receive(self, client: ClientId, reply: bytes) -> None:
        self.server.receive(client, reply)

    def advance(self) -> None:
        self.server.advance()

    def snapshot(self) -> bytes:
        stored: bytes = self.server.snapshot()
        return stored


class Broken(Masks):
    """Pairwise masking with one thing wrong.

    Attributes:
        fails: the property that must find it, and the only one that does.
    """

    cohort = (2, 3, 5, 8)
    fails = ""
    Client: type[ClientInFront] = ClientInFront
    Server: type[ServerInFront] = ServerInFront

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        good, own = self.made(contributions)
        resume_client, resume_server = good.resume_client, good.resume_server
        assert resume_client is not None
        assert resume_server is not None
        return replace(
            good,
            new_client=lambda c: self.Client(good.new_client(c), own, c),
            resume_client=lambda c, snapshot: self.Client(resume_client(c, snapshot), own, c),
            new_server=lambda: self.Server(good.new_server(), own),
            resume_server=lambda snapshot: self.Server(resume_server(snapshot), own),
        )


def as_broken(good: Any, broken: type[T]) -> T:
    """A frozen state of a client as one of a subclass."""
    return broken(**{field.name: getattr(good, field.name) for field in fields(good)})
