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
from securefed.crypto.kdf import KEY_BYTES, Label, derive
from securefed.crypto.keystream import Reader, Words
from securefed.encoding.layout import Floats, Layout
from securefed.encoding.vector import Randomness, VectorEncoding
from securefed.errors import ConfigError, LocalProtocolError, RemoteProtocolError, RoundAborted
from securefed.wire.header import SERVER
from securefed.wire.specification import NONCE_BYTES, RoundSpec

__all__ = [
    "Aggregate", "Attendance", "ClientId", "ClientIdentity", "ClientSession", "Policy", "RoundSpec", "Scheme",
    "ServerSession", "Update", "new_round",
]  # fmt: skip

ClientId = int
"""1 … 2^32 − 1, the same for one client over the whole job."""


@dataclass(frozen=True, repr=False)
class Update:
    """What one client contributes to one round.

    Attributes:
        tensors: float arrays in the layout's names, order, shapes and dtypes; usually new − old weights.
        model: digest of the model and configuration that the client trained from, 32 bytes; a session
            refuses an update that was made from another one than the round's (V9).
        weight: integer, 1 … the round's greatest weight.
        metrics: the layout's metrics by name; they leave the client inside the protected vector alone.
    """

    tensors: Mapping[str, Floats]
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


@dataclass(frozen=True)
class Policy:
    """What a client demands of a round, whatever the server asks for. It belongs to the client alone.

    Attributes:
        schemes: names of schemes that it takes part in.
        least_cohort: fewest clients in a cohort.
        least_sum: lowest threshold, which is also the fewest clients in a sum: of a sum over two, each knows the
            other's part.
        least_threshold: the threshold must be over this share of the cohort; 2/3 keeps a server that lies about
            dropouts from opening one client's both secrets, 1/2 one that follows the protocol.
        greatest_clip: largest clip bound; None for any.
        least_bits: fewest bits of a quantised value.
    """

    schemes: frozenset[str] = frozenset({"masks"})
    least_cohort: int = 3
    least_sum: int = 3
    least_threshold: float = 2 / 3
    greatest_clip: float | None = None
    least_bits: int = 2

    def check(self, scheme: str, spec: RoundSpec) -> None:
        """Refuse a round that asks for less.

        Raises:
            RemoteProtocolError: O1, with the server as peer.
        """
        n = len(spec.cohort)
        if scheme not in self.schemes:
            problem = f"scheme {scheme!r}, this client takes part in {', '.join(sorted(self.schemes))}"
        elif n < self.least_cohort:
            problem = f"a cohort of {n}, this client wants at least {self.least_cohort}"
        elif spec.threshold < self.least_sum:
            problem = f"threshold {spec.threshold}, this client wants at least {self.least_sum} in a sum"
        elif spec.threshold <= self.least_threshold * n:
            problem = (
                f"threshold {spec.threshold} of {n}, this client wants more than {self.least_threshold:.3g} of them"
            )
        elif self.greatest_clip is not None and spec.clip > self.greatest_clip:
            problem = f"clip {spec.clip:g}, this client allows at most {self.greatest_clip:g}"
        elif spec.bits < self.least_bits:
            problem = f"{spec.bits} bits a value, this client wants at least {self.least_bits}"
        else:
            return
        raise RemoteProtocolError("O1", f"refused by the client's policy: {problem}", SERVER)


@dataclass(frozen=True)
class ClientIdentity:
    """What a client brings into every round.

    Attributes:
        id: its client id.
        layout: of its updates; must be the round's.
        policy: what it demands.
        rounding_key: 32 secret bytes, the client's own for the whole job: with it the same update in the same round
            rounds to the same integers. Not shown in a repr.
    """

    id: ClientId
    layout: Layout
    policy: Policy = field(default_factory=Policy)
    rounding_key: bytes = field(default_factory=lambda: os.urandom(KEY_BYTES), repr=False)

    def accept(self, scheme: str, spec: RoundSpec) -> VectorEncoding:
        """Check an offered round against what this client has and wants; gives the encoding of its vector.

        Raises:
            RemoteProtocolError: O1 policy, R7 a cohort without this client, O2 another layout; the server is the peer.
        """
        if self.id not in spec.cohort:
            raise RemoteProtocolError("R7", f"the cohort does not hold this client ({self.id})", SERVER)
        self.policy.check(scheme, spec)
        if (spec.layout, spec.values, spec.scalars) != (
            self.layout.digest, self.layout.size, len(self.layout.scalars),
        ):  # fmt: skip
            raise RemoteProtocolError("O2", "the round's layout is not the layout of this client's updates", SERVER)
        return VectorEncoding(self.layout, spec.numbers)

    def check_model(self, spec: RoundSpec, update: Update) -> None:
        """Refuse an update that was not trained from the round's model.

        Raises:
            LocalProtocolError: V9.
        """
        if update.model != spec.model:
            raise LocalProtocolError(
                "V9", "the update was trained from another model or configuration than the round names"
            )

    def rounding(self, round_number: int) -> Randomness:
        """The stream that this client's stochastic rounding draws from in one round."""
        reader = Reader(derive(self.rounding_key, Label.ROUNDING, round_number.to_bytes(4, "big")))
        return lambda count: reader.take(4 * count).view("<u4")


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


class ServerSession(Protocol):
    """The server in one round."""

    def requests(self) -> Mapping[ClientId, bytes]:
        """What each client must be sent now; empty when the round is over."""
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


class Scheme(Protocol):
    """A way from updates to their mean."""

    @property
    def name(self) -> str:
        """As in configurations and policies."""
        ...

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its exchanges, in order."""
        ...

    @property
    def update_stage(self) -> str:
        """The exchange in which the client calls for its update."""
        ...

    def server(self, spec: RoundSpec, layout: Layout) -> ServerSession:
        """The server's side of one round."""
        ...

    def client(self, identity: ClientIdentity) -> ClientSession:
        """A client's side of one round."""
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
    threshold: int,
    model: bytes,
    layout: Layout,
    bits: int,
    clip: float,
    greatest_weight: int = 1,
) -> RoundSpec:
    """The specification of a new attempt at a round: a fresh nonce makes every key of it new.

    Args:
        round_number, cohort, threshold, bits, clip, greatest_weight: see `RoundSpec`; the cohort in any order.
        model: digest of the model and configuration that clients train from, 32 bytes.

    Raises:
        ConfigError: a field is out of bounds, or the cohort's sum cannot fit a word (V8).
    """
    if len(model) != DIGEST_BYTES:
        raise ConfigError("model", f"a digest has {DIGEST_BYTES} bytes, got {len(model)}")
    return RoundSpec(
        nonce=os.urandom(NONCE_BYTES),
        round=round_number,
        threshold=threshold,
        model=model,
        layout=layout.digest,
        values=layout.size,
        scalars=len(layout.scalars),
        bits=bits,
        clip=clip,
        greatest_weight=greatest_weight,
        cohort=tuple(sorted(cohort)),
    )
