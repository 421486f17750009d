"""The server's side of one homomorphic round: it adds what it cannot read."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from securefed.aggregation import Aggregate, Attendance
from securefed.encoding.lanes import packed_length, unpack_bits
from securefed.encoding.layout import Layout
from securefed.encoding.vector import VectorEncoding
from securefed.errors import LocalProtocolError, PersistenceError, RemoteProtocolError, RoundAborted
from securefed.he.cipher import Adder
from securefed.he.keys import check_entry
from securefed.he.stages import Parameters, Stage
from securefed.participation import ClientId
from securefed.sessions import server_roster
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER
from securefed.wire.homomorphic import (
    SEALED_KEY_BYTES,
    Ciphertexts,
    CiphertextSum,
    ExchangeKey,
    ExchangeKeys,
    Opened,
    SealedKey,
    SealedKeys,
)  # fmt: skip
from securefed.wire.snapshot import Party, no_other_error, pack_ids, pack_snapshot, parse_snapshot, unpack_ids
from securefed.wire.specification import RoundSpec

__all__ = ["HomomorphicServer"]


class HomomorphicServer:
    """State machine of the server in one round (`protocols/he_aggregation/README.md`).

    It holds public keys, keys that were sealed by others and for others, and the running sum of ciphertexts: nothing
    that any of them can be opened with.

    Args:
        parameters: of the scheme.
        spec: of the round.
        layout: of the updates; its digest is the specification's.
        identities: public identity keys by client id; needed where the specification's server is malicious.

    Raises:
        LocalProtocolError: O2, another layout; K7, one identity key for two clients.
        ConfigError: `adversary.corrupt` above 0, `identities` missing, V8 where the sum does not fit.

    Memory: one encrypted update as the library holds it (two polynomials), and the message that is being added.
    """

    def __init__(
        self,
        parameters: Parameters,
        spec: RoundSpec,
        layout: Layout,
        identities: Mapping[ClientId, bytes] | None = None,
    ) -> None:
        self._identities = server_roster(spec, layout, identities)
        parameters.check(spec)
        self._parameters = parameters
        self._spec = spec
        self._encoding = VectorEncoding(layout, spec.numbers)
        self._cipher = parameters.cipher(self._encoding)
        self._stage = Stage.ADVERTISE
        self._present = Attendance(spec.cohort)
        self._entries: dict[ClientId, ExchangeKey] = {}
        self._holders: list[ClientId] = []
        self._sealed = SealedKeys(b"", {})
        self._sum: Adder = self._cipher.adder()
        self._survivors: tuple[ClientId, ...] = ()
        self._sum_message = b""
        self._aggregate: Aggregate | None = None

    @property
    def stage(self) -> Stage:
        """The exchange that goes on; `DONE` when the round is over."""
        return self._stage

    @property
    def aggregate(self) -> Aggregate | None:
        """None until the round is done."""
        return self._aggregate

    @property
    def holder(self) -> ClientId | None:
        """The client that makes the round's key and opens the sum; None before one is asked."""
        return self._holders[-1] if self._holders else None

    def requests(self) -> Mapping[ClientId, bytes]:
        """What each client must be sent now that has not answered yet."""
        context = self._parameters.expected_from(self._spec, SERVER)
        match self._stage:
            case Stage.ADVERTISE:
                offer = Offer(self._spec).encode(self._parameters.suite)
                requests = dict.fromkeys(self._spec.cohort, offer)
            case Stage.KEYS:
                requests = {self._holders[-1]: ExchangeKeys(self._entries).encode(context)}
            case Stage.INPUT:
                requests = {client: self._sealed_key(client).encode(context) for client in self._entries}
            case Stage.OPEN:
                requests = {self._holders[-1]: self._sum_message}
            case _:
                return {}
        done = self._present.refused.union(self._present.answered)
        return {client: request for client, request in requests.items() if client not in done}

    def _sealed_key(self, client: ClientId) -> SealedKey:
        holder = self._holders[-1]
        sealed = self._sealed.sealed.get(client, bytes(SEALED_KEY_BYTES))
        return SealedKey(holder, len(self._sealed.sealed), self._entries[holder], self._sealed.key_id, sealed)

    def receive(self, client: ClientId, reply: bytes) -> None:
        """See `aggregation.ServerSession.receive`: an answer is taken whole or not at all."""
        with self._present.answer(client):
            self._take(client, reply)

    def _take(self, client: ClientId, reply: bytes) -> None:
        expected, signed = self._parameters.expected_from(self._spec, client), self._spec.adversary.malicious
        match self._stage:
            case Stage.ADVERTISE:
                entry = ExchangeKey.decode(reply, expected, signed=signed)
                check_entry(entry, self._spec, client, self._identities.get(client))
                if any(entry.public == other.public for other in self._entries.values()):
                    raise RemoteProtocolError("K4", "an exchange key was sent twice")
                self._entries[client] = entry
            case Stage.KEYS:
                self._sealed = SealedKeys.decode(reply, expected, self._entries.keys() - {client})
            case Stage.INPUT:
                message = Ciphertexts.decode(reply, expected, self._cipher.payload_bytes)
                if message.key_id != self._sealed.key_id:
                    raise RemoteProtocolError("H2", "ciphertexts under another key than the round's")
                self._sum.add(message.payload)
            case Stage.OPEN:
                lanes = self._spec.numbers.lanes
                packed = Opened.decode(reply, expected, packed_length(self._encoding.words, lanes.ring_bits)).words
                self._decode(unpack_bits(packed, self._encoding.words, lanes.ring_bits))
                self._sum_message = b""  # asked for no more, and large

    def _decode(self, words: np.typing.NDArray[np.uint64]) -> None:
        decoded = self._encoding.decode(words, len(self._survivors))
        self._aggregate = Aggregate(decoded.tensors, decoded.weight, decoded.metrics, self._survivors, words)

    def advance(self) -> None:
        """See `aggregation.ServerSession.advance`. In the stage `keys` another holder is asked where one is lost."""
        if self._stage is Stage.DONE:
            raise LocalProtocolError("R5", "the round is over: there is no further stage")
        # DONE until the next stage is complete: a round that aborts here stays over.
        stage, self._stage = self._stage, Stage.DONE
        match stage:
            case Stage.ADVERTISE:
                answered = self._present.next_stage(stage, self._spec.threshold)
                self._entries = {client: self._entries[client] for client in answered}
                self._ask_a_holder()
            case Stage.KEYS if not self._sealed.key_id:
                self._ask_a_holder()
            case Stage.KEYS:
                self._present.ask(self._entries)
                self._stage = Stage.INPUT
            case Stage.INPUT:
                self._survivors = self._present.next_stage(stage, self._spec.threshold)
                self._write_sum()
                self._present.ask(self._holders[-1:])
                self._stage = Stage.OPEN
            case Stage.OPEN:
                self._present.close(aborted=self._aggregate is None)
                if self._aggregate is None:
                    raise RoundAborted(
                        stage, f"client {self._holders[-1]} holds the key and gave no sum: nobody else may open it"
                    )

    def _write_sum(self) -> None:
        payload = self._sum.total()
        self._sum = self._cipher.adder()  # what was added is not needed any more, and is large
        context = self._parameters.expected_from(self._spec, SERVER)
        message = CiphertextSum(self._survivors, self._sealed.key_id, payload)
        self._sum_message = message.encode(context, self._spec.cohort)

    def _ask_a_holder(self) -> None:
        # One that made no key has left the round: the others' inputs do not need it.
        for lost in self._holders:
            self._entries.pop(lost, None)
        if len(self._entries) < self._spec.threshold:
            self._present.close(aborted=True)
            raise RoundAborted(Stage.KEYS, f"{len(self._entries)} clients are left, {self._spec.threshold} are needed")
        self._holders.append(next(iter(self._entries)))
        self._present.ask(self._holders[-1:])
        self._stage = Stage.KEYS

    def snapshot(self) -> bytes:
        """See `aggregation.ServerSession.snapshot`: what was received, but of the inputs their sum alone."""
        entries = [client.to_bytes(4, "big") + entry.pack() for client, entry in self._entries.items()]
        words = self._aggregate.words if self._aggregate is not None else None
        context = self._parameters.expected_from(self._spec, self._holders[-1] if self._holders else SERVER)
        in_sum = self._present.answered if self._stage is Stage.INPUT else self._survivors
        total = self._sum.total() if self._stage is Stage.INPUT and in_sum else self._sum_message
        return pack_snapshot(
            Party.SERVER,
            [
                Offer(self._spec).encode(self._parameters.suite),
                self._stage.value.encode(),
                pack_ids(self._present.refused),
                b"".join(client.to_bytes(4, "big") for client in self._holders),
                self._sealed.encode(context) if self._sealed.key_id else b"",
                pack_ids(in_sum),
                pack_ids(self._present.answered),
                total,
                words.tobytes() if words is not None else b"",
                *entries,
            ],
        )

    @classmethod
    def resume(
        cls,
        parameters: Parameters,
        spec: RoundSpec,
        layout: Layout,
        identities: Mapping[ClientId, bytes] | None,
        snapshot: bytes,
    ) -> HomomorphicServer:
        """See `aggregation.Scheme.resume_server`."""
        server = cls(parameters, spec, layout, identities)
        with no_other_error():
            offer, stage, refused, holders, sealed, in_sum, answered, total, words, *entries = parse_snapshot(
                Party.SERVER, snapshot
            )
            if bytes(offer) != Offer(spec).encode(parameters.suite):
                raise PersistenceError("P3", "a snapshot of another round")
            server._stage = Stage(bytes(stage).decode())
            server._entries = {
                int.from_bytes(entry[:4], "big"): ExchangeKey.parse(bytes(entry[4:])) for entry in entries
            }
            server._holders = [holder for (holder,) in struct.iter_unpack(">I", holders)]
            if sealed:
                holder = server._holders[-1]
                recipients = server._entries.keys() - {holder}
                server._sealed = SealedKeys.decode(bytes(sealed), parameters.expected_from(spec, holder), recipients)
            server._present.refuse(unpack_ids(refused))
            server._take_up(unpack_ids(in_sum), total, words)
            server._present.ask(server._asked(), unpack_ids(answered))
            server._check_stored(unpack_ids(in_sum))
            if server._stage is Stage.DONE:
                server._present.close(aborted=server._aggregate is None)
        return server

    def _take_up(self, in_sum: frozenset[ClientId], total: memoryview, words: memoryview) -> None:
        if self._stage is Stage.INPUT:
            if in_sum:
                self._sum.take_up(total)
            return
        self._survivors, self._sum_message = tuple(sorted(in_sum)), bytes(total)
        if words:
            self._decode(np.frombuffer(words, "<u8").copy())

    def _check_stored(self, in_sum: frozenset[ClientId]) -> None:
        """That a stored state is one that a round can be in: no later call meets what is not there.

        Raises:
            ValueError: it is none.
        """
        known, answered = self._entries.keys(), set(self._present.answered)
        keyed, opened = bool(self._sealed.key_id), self._aggregate is not None
        enough = known >= set(self._survivors) and len(self._survivors) >= self._spec.threshold
        match self._stage:
            case Stage.ADVERTISE:
                whole = known == answered and not opened
            case Stage.KEYS:
                whole = answered <= {self._holders[-1]} <= known and bool(answered) is keyed and not opened
            case Stage.INPUT:
                whole = keyed and self._holders[-1] in known and in_sum == answered <= known and not opened
            case Stage.OPEN:
                stored = opened or self._stored_sum() == self._survivors
                whole = keyed and enough and stored and bool(answered) is opened
            case _:
                whole = enough or not opened
        if not whole or not known <= set(self._spec.cohort):
            raise ValueError

    def _stored_sum(self) -> tuple[ClientId, ...]:
        """Whose sum the stored message is."""
        expected, size = self._parameters.expected_from(self._spec, SERVER), self._cipher.sum_bytes
        cohort, message = self._spec.cohort, self._sum_message
        return CiphertextSum.decode(message, expected, size, cohort, self._entries.keys()).survivors

    def _asked(self) -> tuple[ClientId, ...]:
        match self._stage:
            case Stage.ADVERTISE:
                return self._spec.cohort
            case Stage.KEYS | Stage.OPEN:
                return (self._holders[-1],)
            case Stage.INPUT:
                return tuple(self._entries)
            case _:
                return ()
