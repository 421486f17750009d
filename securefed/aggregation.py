"""The seam: one way to ask for the sum of a round's updates, whatever protects them.

A scheme says how the updates of one round become one weighted mean. Every scheme has the same two state machines,
whatever its number of exchanges, so a loop that can carry bytes can carry any scheme:

    while server.aggregate is None:
        for client, request in server.requests().items():
            server.receive(client, sessions[client].reply(request, update))   # over any transport
        server.advance()                                   # the stage is over; who has not replied has dropped out
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from securefed.crypto.hashing import DIGEST_BYTES
from securefed.crypto.keystream import Words
from securefed.crypto.signing import SigningKey
from securefed.encoding.layout import Layout
from securefed.encoding.tensors import Floats, Tensor
from securefed.errors import ConfigError, RemoteProtocolError, RoundAborted
from securefed.participation import ClientId, ClientIdentity, Credentials, MemoryRecord, Policy, Record
from securefed.wire.adversary import Adversary
from securefed.wire.header import Suite
from securefed.wire.specification import NAMED_LATER, NONCE_BYTES, RoundSpec

__all__ = [
    "Adversary", "Aggregate", "Attendance", "ClientId", "ClientIdentity", "ClientSession", "Credentials",
    "MemoryRecord", "Policy", "Record", "RoundSpec", "Scheme", "ServerSession", "SigningKey", "Update", "new_round",
]  # fmt: skip


@dataclass(frozen=True, repr=False)
class Update:
    """What one client contributes to one round.

    Attributes:
        tensors: in the layout's names, order, shapes and dtypes, usually new − old weights: float arrays, `BFloat16`,
            or tensors that stay on the disk (`encoding.safetensors_file`).
        model: digest of the model and configuration that the client trained from, 32 bytes; a session
            refuses an update that was made from another one than the round's (V9).
        weight: integer, 1 … the round's greatest weight.
        metrics: the layout's metrics by name; they leave the client inside the protected vector alone.
    """

    tensors: Mapping[str, Tensor]
    model: bytes
    weight: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Aggregate:
    """What a round gives: a weighted mean over the survivors, and nothing about one of them.

    Attributes:
        tensors: Σ weight·tensor / Σ weight, by name, in the layout's dtypes.
        weight: Σ weight.
        metrics: Σ weight·metric / Σ weight, by name.
        survivors: the clients whose updates are in it.
        words: the sum of the survivors' ring words itself (uint64), for schemes that sum integers: equal bit for bit
            between all of them.
    """

    tensors: Mapping[str, Floats]
    weight: int
    metrics: Mapping[str, float]
    survivors: tuple[ClientId, ...]
    words: Words | None = None


class ClientSession(Protocol):
    """One client in one round: bytes in, bytes out."""

    def reply(self, request: bytes, update: Callable[[], Update]) -> bytes:
        """The answer to one request.

        `update` is called at the one stage that needs it: that is where training happens.

        Raises:
            RemoteProtocolError: the request breaks a rule; this client is out of the round.
            LocalProtocolError: the update breaks a rule; likewise.
        """
        ...

    def snapshot(self) -> bytes:
        """The state, to be taken up by `Scheme.resume_client` in another process. It holds secrets: its owner alone
        writes and reads it. To be stored after `reply` and before the answer is sent."""
        ...


class ServerSession(Protocol):
    """The server in one round."""

    @property
    def stage(self) -> str:
        """Name of the exchange that goes on; without meaning when the round is over."""
        ...

    def requests(self) -> Mapping[ClientId, bytes]:
        """What each client whose answer is still awaited must be sent now: of a session that was taken up again, the
        clients that the stored one had not heard. Empty where there is none, and when the round is over."""
        ...

    def receive(self, client: ClientId, reply: bytes) -> None:
        """Take one client's answer of this stage.

        Raises:
            RemoteProtocolError: the answer breaks a rule; it is not counted and nothing else changes.
        """
        ...

    def advance(self) -> None:
        """The stage is over: who has not answered has dropped out.

        Raises:
            RoundAborted: too few are left, or the sum makes no sense.
        """
        ...

    @property
    def aggregate(self) -> Aggregate | None:
        """None until the round is done."""
        ...

    def snapshot(self) -> bytes:
        """The state, to be taken up by `Scheme.resume_server` in another process.

        To be stored after `advance` and before any request of the new stage leaves: an older state that is taken up
        again could end a stage twice, with different survivors.
        """
        ...


class Scheme(Protocol):
    """A way from updates to their mean."""

    @property
    def name(self) -> str:
        """As in configurations and policies."""
        ...

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its exchanges, in order; a round may leave one out (`ServerSession.stage`)."""
        ...

    @property
    def update_stage(self) -> str:
        """The exchange in which the client calls for its update."""
        ...

    @property
    def suite(self) -> Suite:
        """On the wire."""
        ...

    @property
    def carriers(self) -> Mapping[str, str]:
        """By exchange of a round, the exchange of the next one's set-up that may ride on it (`securefed.chains`).

        Empty where a round cannot be prepared. Else the set-up ends before `update_stage`, and the server's sessions
        have `awaited`, whom the present stage still waits for, `name_model(digest)`, once, in that stage, and `model`.
        """
        ...

    def server(
        self, spec: RoundSpec, layout: Layout, identities: Mapping[ClientId, bytes] | None = None
    ) -> ServerSession:
        """The server's side of one round.

        Args:
            spec: of the round.
            layout: of its updates.
            identities: public identity keys by client id, 32 bytes each. Clients bring their own copy (`Credentials`):
                this one protects nobody, it tells the server whom the clients will refuse.
        """
        ...

    def client(self, identity: ClientIdentity) -> ClientSession:
        """A client's side of one round."""
        ...

    def resume_server(
        self, spec: RoundSpec, layout: Layout, snapshot: bytes, identities: Mapping[ClientId, bytes] | None = None
    ) -> ServerSession:
        """The server's side, as it was when the snapshot was taken.

        Raises:
            PersistenceError: P1 damaged, P2 another version, P3 of another round.
        """
        ...

    def resume_client(self, identity: ClientIdentity, snapshot: bytes) -> ClientSession:
        """A client's side, as it was when the snapshot was taken.

        Raises:
            PersistenceError: P1 damaged, P2 another version, P3 of another client.
        """
        ...


class Attendance:
    """Who was asked in a stage and who has answered: the rules that every server session has in common."""

    def __init__(self, asked: Iterable[ClientId]) -> None:
        self._asked = frozenset(asked)
        self._answered: set[ClientId] = set()
        self._refused: set[ClientId] = set()
        self._aborted = False

    @contextmanager
    def answer(self, client: ClientId) -> Iterator[None]:
        """While inside, a client's answer is read: it counts if nothing is raised, else the client has dropped out.

        Raises:
            RemoteProtocolError: R5 after the round was aborted or for a client whose answer was refused before, R6 for
                one that was not asked, R3 for a second answer; or what is raised inside, with the client as peer.
        """
        if self._aborted:
            raise RemoteProtocolError("R5", "the round was aborted", client)
        if client in self._refused:
            raise RemoteProtocolError("R5", "an answer of this client was refused before", client)
        if client not in self._asked:
            raise RemoteProtocolError("R6", "not asked in this stage, or the stage is over", client)
        if client in self._answered:
            raise RemoteProtocolError("R3", "has answered this stage already; the first answer stays", client)
        try:
            yield
        except RemoteProtocolError as error:
            self._refused.add(client)
            raise error.blame(client) from None
        self._answered.add(client)

    @property
    def refused(self) -> frozenset[ClientId]:
        """Clients of which an answer was refused."""
        return frozenset(self._refused)

    def refuse(self, clients: Iterable[ClientId]) -> None:
        """Listen to these no more."""
        self._refused.update(clients)

    def ask(self, clients: Iterable[ClientId], answered: Iterable[ClientId] = ()) -> None:
        """Begin a stage in which these alone are asked, of whom some have answered already."""
        self._asked, self._answered = frozenset(clients), set(answered)

    @property
    def answered(self) -> tuple[ClientId, ...]:
        """Who has answered in this stage, ascending."""
        return tuple(sorted(self._answered))

    @property
    def awaited(self) -> tuple[ClientId, ...]:
        """Who is asked in this stage and has neither answered nor been refused, ascending."""
        return tuple(sorted(self._asked - self._answered - self._refused))

    def next_stage(self, stage: str, threshold: int) -> tuple[ClientId, ...]:
        """End the stage; gives who answered, ascending, who alone are asked in the next.

        Raises:
            RoundAborted: fewer than the threshold; nobody is listened to any more.
        """
        if len(self._answered) < threshold:
            asked = len(self._asked)
            self.close(aborted=True)
            raise RoundAborted(stage, f"{len(self._answered)} of {asked} clients answered, {threshold} are needed")
        self._asked, self._answered = frozenset(self._answered), set()
        return tuple(sorted(self._asked))

    def close(self, *, aborted: bool = False) -> None:
        """The round is over: nobody is asked any more."""
        self._asked, self._aborted = frozenset(), aborted


def new_round(
    *,
    round_number: int,
    cohort: tuple[ClientId, ...],
    adversary: Adversary,
    model: bytes | None,
    layout: Layout,
    bits: int,
    clip: float,
    greatest_weight: int = 1,
) -> RoundSpec:
    """The specification of a new attempt at a round: a fresh nonce makes every key of it new.

    Args:
        round_number, cohort, adversary, bits, clip, greatest_weight: see `RoundSpec`; the cohort in any order.
        model: digest of the model and configuration that clients train from, 32 bytes, not all zeros; None where it is
            named when the round's set-up is done (`securefed.chains`).

    Raises:
        ConfigError: a field is out of bounds, or the cohort's sum cannot fit a word (V8).
    """
    if model is not None and (len(model) != DIGEST_BYTES or model == NAMED_LATER):
        raise ConfigError("model", f"a digest has {DIGEST_BYTES} bytes and is not all zeros: take `model_digest`")
    return RoundSpec(
        nonce=os.urandom(NONCE_BYTES),
        round=round_number,
        adversary=adversary,
        model=NAMED_LATER if model is None else model,
        layout=layout.digest,
        values=layout.size,
        scalars=len(layout.scalars),
        bits=bits,
        clip=clip,
        greatest_weight=greatest_weight,
        cohort=tuple(sorted(cohort)),
    )
