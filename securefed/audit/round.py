"""What the audit kit asks of a protocol: an object for one round of it, and one way to play that round.

Everything here is numpy and the standard library: whoever audits another aggregation needs no more of securefed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from securefed.errors import LocalProtocolError, RemoteProtocolError, RoundAborted

__all__ = ["Client", "ClientId", "Contribution", "Play", "Round", "Server", "Sum", "Words", "sum_of", "whole"]

ClientId = int
Words = npt.NDArray[np.uint64]
"""Integers of a vector, shape [w]; at least `modulus` wide."""


@dataclass(frozen=True, eq=False)
class Contribution:
    """What the suite has one client contribute; the adapter makes an update of its protocol from it.

    Attributes:
        values: float64, shape [parameters], in [−clip, clip] of the suite.
        weight: 1 … the suite's greatest weight; a protocol without weights leaves it out.
        metric: a finite number, such as a loss; likewise.
    """

    values: npt.NDArray[np.float64]
    weight: int
    metric: float


@dataclass(frozen=True, eq=False)
class Sum:
    """What a finished round gives: whose vectors are in it, ascending, and the sum of their integers."""

    survivors: tuple[ClientId, ...]
    words: Words


class Client(Protocol):
    """One client in one round."""

    def reply(self, request: bytes, update: Callable[[], Any], /) -> bytes:
        """The answer; raises one of `Round.refusals` where the request is refused."""
        ...


class Server(Protocol):
    """The server in one round."""

    def requests(self) -> Mapping[ClientId, bytes]:
        """What each client is sent now."""
        ...

    def receive(self, client: ClientId, reply: bytes, /) -> None:
        """One answer; raises one of `Round.refusals` where it is refused."""
        ...

    def advance(self) -> None:
        """The exchange is over; raises one of `Round.aborts` where the round cannot go on."""
        ...

    @property
    def aggregate(self) -> Any | None:
        """None until the round is done."""
        ...


def sum_of(aggregate: Any) -> Sum:
    """The reading of an aggregate that has `survivors` and `words`, as those of securefed's integer schemes."""
    return Sum(tuple(sorted(aggregate.survivors)), np.asarray(aggregate.words))


def whole(message: bytes) -> bytes:
    """The body of an upload that has no framing."""
    return message


def _never(_: Mapping[ClientId, str]) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Round:
    """One new round of the protocol under audit, in which nobody has said anything yet.

    Attributes:
        cohort: ids of its clients, ascending.
        stages: names of its exchanges, in order.
        update_stage: the one whose answer carries the protected vector.
        threshold: fewest answers in every stage with which the round goes on.
        modulus: of the integers that are summed.
        new_server: the server of this round. Two of them that are given the same answers say the same: a server that
            tells two stories is two of these.
        new_client: a client of this round, as after the start of its program.
        update: what a client's `reply` gets when it calls for its update.
        plain: the integers that a client's update becomes before they are protected, uint64, shape [w].
        body: the part of an upload that must look uniform, without header and padding.
        read: survivors and integers of an aggregate.
        refusals: exceptions with which a party refuses one message (or its own update) and says so.
        aborts: exceptions with which `advance` ends a round.
        lying_server: whether the protocol claims anything against a server that lies about who survived.
        held_shares: optional hook. The two shares of each owner that a client holds, as they are written in a message,
            by owner; called after the update stage.
        shares_to_open: how many shares open a secret; None for as many as the threshold.
        forge: optional hook. For a stage, a client and the honest request to it: requests by name that a lying server
            could send instead, all of which the client must refuse.
        mask_stream: optional hook. The first bytes (32 or more) of the mask that a seed of 32 bytes gives.
        resume_client, resume_server: optional hooks. A party from the bytes of its `snapshot()`.
        words_of: optional hook. The integers that an upload of this client adds to the sum, protected as they are.
        stage_of: optional hook. The stage that a server is in, None when its round is over: for a protocol that may
            repeat a stage, such as one that asks the next client where one does not answer.
        gives_up: whether the protocol gives a round up in which these clients fall silent from these stages on,
            although as many as the threshold are left: it says of some client that it cannot do without it.
        shown_to: how many clients must have been shown a set of survivors for its sum to be had; None for as many as
            the threshold.
        result_stage: the stage whose answers hold the sum in clear, if the protocol has one.
    """

    cohort: tuple[ClientId, ...]
    stages: tuple[str, ...]
    update_stage: str
    threshold: int
    modulus: int
    new_server: Callable[[], Server]
    new_client: Callable[[ClientId], Client]
    update: Callable[[ClientId], Any]
    plain: Callable[[ClientId], Words]
    body: Callable[[bytes], bytes] = whole
    read: Callable[[Any], Sum] = sum_of
    refusals: tuple[type[Exception], ...] = (RemoteProtocolError, LocalProtocolError)
    aborts: tuple[type[Exception], ...] = (RoundAborted,)
    lying_server: bool = True
    held_shares: Callable[[Any], Mapping[ClientId, tuple[bytes, bytes]]] | None = None
    shares_to_open: int | None = None
    forge: Callable[[str, ClientId, bytes], Mapping[str, bytes]] | None = None
    mask_stream: Callable[[bytes], bytes] | None = None
    resume_client: Callable[[ClientId, bytes], Client] | None = None
    resume_server: Callable[[bytes], Server] | None = None
    words_of: Callable[[ClientId, bytes], Words] | None = None
    stage_of: Callable[[Any], str | None] | None = None
    gives_up: Callable[[Mapping[ClientId, str]], bool] = _never
    shown_to: int | None = None
    result_stage: str | None = None

    def plain_sum(self, clients: Iterable[ClientId]) -> list[int]:
        """The sum of these clients' integers, in Python's own."""
        rows = [self.plain(client).tolist() for client in clients]
        return [sum(column) % self.modulus for column in zip(*rows, strict=True)]

    def after_update(self) -> tuple[str, ...]:
        """The stages behind the one that carries the update."""
        return self.stages[self.stages.index(self.update_stage) + 1 :]

    def stages_done(self, server: Server, before: int) -> int:
        """How many stages are over after the end of one; `before`: and before it."""
        if self.stage_of is None:
            return before + 1
        stage = self.stage_of(server)
        return len(self.stages) if stage is None else self.stages.index(stage)


class Play:
    """One round as it is played: all parties, and everything that was sent.

    Attributes:
        replies: by stage and client, what the server took.
        refused: what parties refused so far, in their words.
        aborted: the exception that ended the round, if one did.
    """

    def __init__(self, round_: Round) -> None:
        self.round = round_
        self.server = round_.new_server()
        self.clients = {client: round_.new_client(client) for client in round_.cohort}
        self.requests: dict[str, Mapping[ClientId, bytes]] = {}
        self.replies: dict[str, dict[ClientId, bytes]] = {stage: {} for stage in round_.stages}
        self.refused: list[str] = []
        self.aborted: Exception | None = None
        self._done = 0

    @property
    def stage(self) -> str | None:
        """The stage that is open; None when all are over or the round was aborted."""
        over = self.aborted is not None or self._done == len(self.round.stages)
        return None if over else self.round.stages[self._done]

    @property
    def result(self) -> Sum | None:
        """What the server has in the end."""
        aggregate = self.server.aggregate
        return None if aggregate is None else self.round.read(aggregate)

    def ask(self, client: ClientId, request: bytes) -> bytes:
        """What the client answers; raises what it raises."""
        return self.clients[client].reply(request, lambda: self.round.update(client))

    def ask_or_none(self, client: ClientId, request: bytes) -> bytes | None:
        """What the client answers; None where it refuses."""
        try:
            return self.ask(client, request)
        except self.round.refusals:
            return None

    def refuses(self, client: ClientId, request: bytes) -> bool:
        """Whether the client refuses a request."""
        return self.ask_or_none(client, request) is None

    def hand_in(self, client: ClientId, reply: bytes) -> bool:
        """Give the server an answer; False where it is refused."""
        try:
            self.server.receive(client, reply)
        except self.round.refusals as error:
            self.refused.append(str(error))
            return False
        return True

    def answer(self, absent: Collection[ClientId] = (), order: Sequence[ClientId] | None = None) -> None:
        """All answers of the open stage, but those of the absent; the stage stays open."""
        stage = self.stage
        if stage is None:
            raise RuntimeError("the round is over: there is nothing to answer")
        requests = self.server.requests()
        self.requests[stage] = {**self.requests.get(stage, {}), **requests}
        for client in order if order is not None else sorted(requests):
            if client not in requests or client in absent:
                continue
            try:
                reply = self.ask(client, requests[client])
            except self.round.refusals as error:
                self.refused.append(str(error))
                continue
            if self.hand_in(client, reply):
                self.replies[stage][client] = reply

    def snapshot(self, client: ClientId) -> bytes:
        """What the client stores of itself."""
        stored: bytes = cast(Any, self.clients[client]).snapshot()
        return stored

    def restart_client(self, client: ClientId, snapshot: bytes) -> None:
        """The client's program is started again, with what it had stored."""
        if self.round.resume_client is None:
            raise RuntimeError("this round cannot resume a client")
        self.clients[client] = self.round.resume_client(client, snapshot)

    def restart_server(self) -> None:
        """The server's program is started again, with what it stored just now."""
        if self.round.resume_server is None:
            raise RuntimeError("this round cannot resume its server")
        self.server = self.round.resume_server(cast(Any, self.server).snapshot())

    def advance(self) -> None:
        """End the open stage; whether the round was aborted is in `aborted`."""
        try:
            self.server.advance()
        except self.round.aborts as error:
            self.aborted = error
            return
        self._done = self.round.stages_done(self.server, self._done)

    def until(self, stage: str) -> Play:
        """Honest stages until this one is open."""
        while self.stage not in (stage, None):
            self.answer()
            self.advance()
        return self

    def finish(
        self, drops: Mapping[ClientId, str] | None = None, order: Sequence[ClientId] | None = None
    ) -> Sum | None:
        """Play on to the end.

        Args:
            drops: by client, the stage from which on it does not answer.
            order: of the answers in every stage; ascending by default.
        """
        position = {stage: at for at, stage in enumerate(self.round.stages)}
        while (stage := self.stage) is not None:
            gone = [client for client, at in (drops or {}).items() if position[stage] >= position[at]]
            self.answer(gone, order)
            self.advance()
        return self.result
