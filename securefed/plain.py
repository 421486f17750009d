"""The same sum without protection: what every protected scheme is compared against.

`plain` sends the very integers that `masks` would hide, so its aggregate is equal bit for bit. `float` sends float64
values that were neither clipped nor rounded: the difference between the two is what the encoding takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from securefed.aggregation import Aggregate, Attendance, Update
from securefed.crypto.keystream import Words
from securefed.encoding.layout import WEIGHT, Layout
from securefed.encoding.vector import VectorEncoding
from securefed.errors import LocalProtocolError, PersistenceError, RemoteProtocolError, RoundAborted
from securefed.participation import ClientId, ClientIdentity
from securefed.wire.frame import Expected
from securefed.wire.from_client import Input
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER, Suite
from securefed.wire.snapshot import Party, no_other_error, pack_ids, pack_snapshot, parse_snapshot, unpack_ids
from securefed.wire.specification import RoundSpec
from securefed.wire.vector_writer import read_words, write_words

__all__ = ["PlainFloats", "PlainIntegers"]

STAGE = "input"


@dataclass(frozen=True)
class PlainIntegers:
    """One exchange; the server sees every client's quantised update."""

    name = "plain"
    stages = (STAGE,)
    update_stage = STAGE
    carriers: ClassVar[Mapping[str, str]] = {}
    suite = Suite.PLAIN_INTEGERS

    def server(
        self, spec: RoundSpec, layout: Layout, identities: Mapping[ClientId, bytes] | None = None
    ) -> PlainServer:
        """The server's side of one round."""
        return PlainServer(self, spec, layout)

    def client(self, identity: ClientIdentity) -> PlainClient:
        """A client's side of one round."""
        return PlainClient(self, identity)

    def resume_server(
        self, spec: RoundSpec, layout: Layout, snapshot: bytes, identities: Mapping[ClientId, bytes] | None = None
    ) -> PlainServer:
        """See `aggregation.Scheme`."""
        server = self.server(spec, layout)
        with no_other_error():
            session, over, refused, *answers = parse_snapshot(Party.SERVER, snapshot)
            if session != spec.session:
                raise PersistenceError("P3", "a snapshot of another round")
            for answer in answers:
                server.receive(int.from_bytes(answer[:4], "big"), bytes(answer[4:]))
            if bytes(over) == b"\1":
                with suppress(RoundAborted):  # as the first time
                    server.advance()
            server._present.refuse(unpack_ids(refused))
        return server

    def resume_client(self, identity: ClientIdentity, snapshot: bytes) -> PlainClient:
        """See `aggregation.Scheme`."""
        with no_other_error():
            owner, *over = map(bytes, parse_snapshot(Party.CLIENT, snapshot))
            if owner != identity.id.to_bytes(4, "big"):
                raise PersistenceError("P3", f"a snapshot of another client than {identity.id}")
            client = self.client(identity)
            client._over = (over[0].decode(), over[1].decode()) if over else None
            return client

    def encode(self, context: Expected, identity: ClientIdentity, encoding: VectorEncoding, update: Update) -> bytes:
        """The INPUT message."""
        numbers = encoding.numbers
        pieces = encoding.encode(update.tensors, update.weight, update.metrics, identity.rounding(context.round))
        return write_words(context, pieces, encoding.words, numbers.lanes.ring_bits)

    def read(self, expected: Expected, encoding: VectorEncoding, message: bytes) -> Words:
        """The words that a client adds to the sum."""
        return read_words(message, expected, encoding.words, encoding.numbers.lanes.ring_bits)

    def aggregate(self, encoding: VectorEncoding, inputs: Mapping[ClientId, Words]) -> Aggregate:
        """The weighted mean of all inputs."""
        total = np.zeros(encoding.words, "<u8")
        for words in inputs.values():
            total += words
        decoded = encoding.decode(total, len(inputs))
        return Aggregate(decoded.tensors, decoded.weight, decoded.metrics, tuple(sorted(inputs)), total)


@dataclass(frozen=True)
class PlainFloats(PlainIntegers):
    """Ordinary FedAvg: one exchange of float64 values, parameters first, then weight and metrics."""

    name = "float"
    suite = Suite.PLAIN_FLOATS

    def encode(self, context: Expected, identity: ClientIdentity, encoding: VectorEncoding, update: Update) -> bytes:
        """The INPUT message; 8 bytes a parameter."""
        layout = encoding.layout
        encoding.scalars(update.weight, update.metrics)  # refuses what the other schemes refuse
        scalars = [float(update.weight), *(update.metrics[name] for name in layout.metrics)]
        flat = list(layout.pieces(update.tensors, layout.size))
        return Input(np.concatenate([*flat, np.array(scalars, "<f8")]).view("<u8")).encode(context)

    def read(self, expected: Expected, encoding: VectorEncoding, message: bytes) -> Words:
        """The float64 values, as words.

        Raises:
            RemoteProtocolError: V1, where one is not finite.
        """
        words = Input.decode(message, expected, encoding.layout.size + len(encoding.layout.scalars)).words
        if not np.isfinite(words.view("<f8")).all():
            raise RemoteProtocolError("V1", "a value is NaN or infinite")
        return words

    def aggregate(self, encoding: VectorEncoding, inputs: Mapping[ClientId, Words]) -> Aggregate:
        """The weighted mean of all inputs, in order of their ids."""
        layout = encoding.layout
        rows = [inputs[client].view("<f8") for client in sorted(inputs)]
        weights = [float(row[layout.size]) for row in rows]
        mean = np.sum([weight * row for weight, row in zip(weights, rows, strict=True)], axis=0) / sum(weights)
        metrics = dict(zip(layout.scalars, mean[layout.size :].tolist(), strict=True))
        metrics.pop(WEIGHT)
        return Aggregate(layout.unflatten(mean[: layout.size]), int(sum(weights)), metrics, tuple(sorted(inputs)))


class PlainClient:
    """One request, one answer."""

    def __init__(self, scheme: PlainIntegers, identity: ClientIdentity) -> None:
        self._scheme = scheme
        self._identity = identity
        self._over: tuple[str, str] | None = None

    def reply(self, request: bytes, update: Callable[[], Update]) -> bytes:
        """See `aggregation.ClientSession.reply`."""
        if self._over is not None:
            raise RemoteProtocolError(*self._over, SERVER)
        self._over = ("R5", "this client has left the round after an error")
        try:
            spec = Offer.decode(request, self._scheme.suite).spec
        except RemoteProtocolError as error:
            raise error.blame(SERVER) from None
        encoding = self._identity.accept(self._scheme.name, spec)
        contribution = update()
        self._identity.check_model(spec, contribution.model)
        context = Expected(self._scheme.suite, spec.session, spec.round, self._identity.id)
        answer = self._scheme.encode(context, self._identity, encoding, contribution)
        self._over = ("R4", "the round is over for this client")
        return answer

    def snapshot(self) -> bytes:
        """See `aggregation.ClientSession`."""
        over = [part.encode() for part in self._over or ()]
        return pack_snapshot(Party.CLIENT, [self._identity.id.to_bytes(4, "big"), *over])


class PlainServer:
    """Asks all, adds what comes."""

    def __init__(self, scheme: PlainIntegers, spec: RoundSpec, layout: Layout) -> None:
        if layout.digest != spec.layout:
            raise LocalProtocolError("O2", "the layout is not the one that the specification names")
        self._scheme = scheme
        self._spec = spec
        self._encoding = VectorEncoding(layout, spec.numbers)
        self._present = Attendance(spec.cohort)
        self._inputs: dict[ClientId, Words] = {}
        self._answers: dict[ClientId, bytes] = {}
        self._over = False
        self._aggregate: Aggregate | None = None

    @property
    def aggregate(self) -> Aggregate | None:
        """None until the round is done."""
        return self._aggregate

    @property
    def stage(self) -> str:
        """The one exchange."""
        return STAGE

    def snapshot(self) -> bytes:
        """See `aggregation.ServerSession`: all answers, as nothing is secret here."""
        answers = [client.to_bytes(4, "big") + answer for client, answer in self._answers.items()]
        refused = pack_ids(self._present.refused)
        return pack_snapshot(Party.SERVER, [self._spec.session, bytes([self._over]), refused, *answers])

    def requests(self) -> Mapping[ClientId, bytes]:
        """The offer to all whose answer is awaited, then nothing."""
        return {} if self._over else dict.fromkeys(self._present.awaited, Offer(self._spec).encode(self._scheme.suite))

    def receive(self, client: ClientId, reply: bytes) -> None:
        """See `aggregation.ServerSession.receive`."""
        with self._present.answer(client):
            expected = Expected(self._scheme.suite, self._spec.session, self._spec.round, client)
            self._inputs[client] = self._scheme.read(expected, self._encoding, reply)
            self._answers[client] = reply

    def advance(self) -> None:
        """See `aggregation.ServerSession.advance`."""
        if self._over:
            raise LocalProtocolError("R5", "the round is over: there is no further stage")
        self._over = True
        try:
            self._present.next_stage(STAGE, self._spec.threshold)
            self._aggregate = self._scheme.aggregate(self._encoding, self._inputs)
        except RemoteProtocolError as error:
            self._present.close(aborted=True)
            raise RoundAborted(STAGE, str(error)) from None
        self._present.close()
