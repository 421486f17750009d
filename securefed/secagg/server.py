"""The server's side of one masked round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from securefed.aggregation import Aggregate, Attendance
from securefed.crypto.hashing import DIGEST_BYTES, digest
from securefed.crypto.shamir import share_from_bytes
from securefed.crypto.signing import verifies
from securefed.encoding.layout import Layout
from securefed.encoding.vector import VectorEncoding
from securefed.errors import LocalProtocolError, PersistenceError, RemoteProtocolError, RoundAborted
from securefed.participation import ClientId
from securefed.secagg.input_sum import InputSum
from securefed.secagg.keys import PairContext, named_session
from securefed.secagg.parameters import Parameters
from securefed.secagg.server_log import Log
from securefed.secagg.server_setup import SetUp
from securefed.secagg.stages import SUITE, Stage, expected_from
from securefed.secagg.unmask import Evidence, unmask
from securefed.sessions import server_roster
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Consent, Release
from securefed.wire.from_server import Agreement, Delivery, NamedDelivery, Offer, Survivors
from securefed.wire.header import SERVER
from securefed.wire.snapshot import Party, no_other_error, pack_snapshot, parse_snapshot
from securefed.wire.specification import NAMED_LATER, RoundSpec

__all__ = ["MaskingServer"]


class MaskingServer:
    """State machine of the server in one round (`protocols/pairwise_masking/README.md`).

    It holds public keys, sealed shares, the running sum of masked words, and in the last stage the shares that
    clients released; never a secret of a client whose update is in the sum.

    Args:
        spec: of the round.
        layout: of the updates; its digest is the specification's.
        identities: public identity keys by client id; needed where the specification's server is malicious. An honest
            server so drops whom the clients would refuse.

    Raises:
        LocalProtocolError: O2, another layout; K7, one identity key for two clients.
        ConfigError: `identities`, where they are missing or do not hold the whole cohort.

    Memory: two vectors of ring words, and 82 bytes for each client and holder of its shares.
    """

    def __init__(self, spec: RoundSpec, layout: Layout, identities: Mapping[ClientId, bytes] | None = None) -> None:
        self._identities = server_roster(spec, layout, identities)
        self._spec = spec
        self._parameters = Parameters.of(len(spec.cohort), spec.adversary)
        self._encoding = VectorEncoding(layout, spec.numbers)
        self._stage = Stage.ADVERTISE
        self._present = Attendance(spec.cohort)
        self._set_up = SetUp(spec, self._identities)
        self._model = b"" if spec.prepared else spec.model
        self._survivors: tuple[ClientId, ...] = ()
        self._inputs = InputSum(spec, None, {})
        self._wanted = b""
        self._consents: dict[ClientId, bytes] = {}
        self._released: dict[ClientId, dict[ClientId, bytes]] = {}
        self._aggregate: Aggregate | None = None
        self._wrong_shares: tuple[RemoteProtocolError, ...] = ()
        self._log = Log()

    @property
    def stage(self) -> Stage:
        """The exchange that goes on; `DONE` when the round is over."""
        return self._stage

    @property
    def aggregate(self) -> Aggregate | None:
        """None until the round is done."""
        return self._aggregate

    @property
    def wrong_shares(self) -> tuple[RemoteProtocolError, ...]:
        """Of a finished round: S7 for each wrong share that was located, with its sender as peer."""
        return self._wrong_shares

    @property
    def awaited(self) -> tuple[ClientId, ...]:
        """Whose answer this stage waits for, or will once the model is named; ascending."""
        return tuple(self._set_up.shares) if self._unnamed else self._present.awaited

    @property
    def model(self) -> bytes:
        """Digest of the model that the round is of, 32 bytes; nothing while it is to be named."""
        return self._model

    @property
    def _unnamed(self) -> bool:
        """Whether the set-up of a prepared round is done and its model is not known."""
        return self._stage is Stage.INPUT and not self._model

    def name_model(self, model: bytes) -> None:
        """Say what a prepared round is of, once: from now on its inputs are asked for.

        Args:
            model: digest of the model and configuration that clients train from, 32 bytes.

        Raises:
            LocalProtocolError: R12, a digest of zeros or of another length, before the input stage or after it, a
                second time, or in a round whose specification names its model.
        """
        if len(model) != DIGEST_BYTES or model == NAMED_LATER:
            raise LocalProtocolError("R12", f"name the model by a digest of {DIGEST_BYTES} bytes that are not all zero")
        if not self._unnamed:
            raise LocalProtocolError("R12", f"no model is named now: the round is in its stage {self._stage}")
        self._model = model
        self._ask_inputs()

    def _ask_inputs(self) -> None:
        shared = tuple(self._set_up.shares)
        attested = self._pairs().attested(pack_set(shared, self._spec.cohort))
        self._inputs = InputSum(self._spec, attested if self._parameters.attested else None, self._identities)
        self._present.ask(shared)

    def _pairs(self) -> PairContext:
        """What masks, attestations and consents are bound to."""
        return PairContext(named_session(self._spec, self._model), digest(self._set_up.roster))

    def requests(self) -> Mapping[ClientId, bytes]:
        """What each client whose answer is awaited must be sent now; nothing while a model is to be named."""
        cohort, context, awaited = self._spec.cohort, expected_from(self._spec, SERVER), self._present.awaited
        match self._stage:
            case Stage.ADVERTISE:
                return dict.fromkeys(awaited, Offer(self._spec).encode(SUITE))
            case Stage.SHARE:
                return dict.fromkeys(awaited, self._set_up.roster)
            case Stage.INPUT:
                packed = pack_set(self._set_up.shares, cohort)
                return {client: self._delivery(client).encode(context, cohort, packed) for client in awaited}
            case Stage.RELEASE if self._spec.adversary.malicious:
                packed = Agreement(self._consents).pack(cohort)
                return {
                    client: Agreement(self._consents, self._attesting(client)).encode(context, cohort, packed)
                    for client in awaited
                }
            case Stage.CONSENT | Stage.RELEASE:
                return dict.fromkeys(awaited, Survivors(self._survivors).encode(context, cohort))
            case _:
                return {}

    def _delivery(self, client: ClientId) -> Delivery | NamedDelivery:
        delivery = self._set_up.delivery(client)
        return NamedDelivery(self._model, delivery) if self._spec.prepared else delivery

    def receive(self, client: ClientId, reply: bytes) -> None:
        """See `aggregation.ServerSession.receive`: an answer is taken whole or not at all."""
        with self._present.answer(client):
            self._take(client, reply)
        # Of an input the attestation alone is kept, and its words in the sum.
        self._log.answered(client, self._inputs.attestations.get(client, b"") if self._stage is Stage.INPUT else reply)

    def _take(self, client: ClientId, reply: bytes) -> None:
        expected = expected_from(self._spec, client)
        match self._stage:
            case Stage.ADVERTISE:
                self._set_up.take_entry(client, reply)
            case Stage.SHARE:
                self._set_up.take_shares(client, reply)
            case Stage.INPUT:
                self._inputs.add(client, reply)
            case Stage.CONSENT:
                signature = Consent.decode(reply, expected).signature
                if not verifies(self._identities[client], self._wanted, signature):
                    raise RemoteProtocolError("C1", "a consent that does not verify")
                self._consents[client] = signature
            case Stage.RELEASE:
                shares = Release.decode(reply, expected, self._set_up.shares.keys()).shares
                for share in shares.values():
                    share_from_bytes(share)
                for owner, share in shares.items():
                    if client in self._set_up.neighbourhoods[owner].holders:
                        self._released.setdefault(owner, {})[client] = share

    def receive_in_pieces(self, client: ClientId, chunks: Iterable[bytes | memoryview]) -> None:
        """As `receive`, of an answer that comes in pieces: an input of billions of parameters is never whole in memory.

        Memory: its ring words, until the last byte has come and been checked.
        """
        if self._stage is not Stage.INPUT:
            self.receive(client, b"".join(chunks))
            return
        with self._present.answer(client):
            self._inputs.add_pieces(client, chunks)
        self._log.answered(client, self._inputs.attestations.get(client, b""))

    def advance(self) -> None:
        """See `aggregation.ServerSession.advance`.

        Raises:
            LocalProtocolError: R5, the round is over; R12, its model is not named.
        """
        if self._stage is Stage.DONE:
            raise LocalProtocolError("R5", "the round is over: there is no further stage")
        if self._unnamed:
            raise LocalProtocolError("R12", "the model of this prepared round is not named: nobody was asked yet")
        self._log.advanced()
        # DONE until the next stage is complete: a round that aborts here stays over.
        stage, self._stage = self._stage, Stage.DONE
        # Who is lost after the input is in the sum all the same.
        until_input = stage in (Stage.ADVERTISE, Stage.SHARE, Stage.INPUT)
        needed = self._parameters.least_inputs if until_input else self._spec.threshold
        answered = self._present.next_stage(stage, needed)
        match stage:
            case Stage.ADVERTISE:
                self._set_up.close_roster(answered)
                self._stage = Stage.SHARE
            case Stage.SHARE:
                self._set_up.close_shares(answered)
                self._stage = Stage.INPUT
                if self._model:
                    self._ask_inputs()
                else:
                    self._present.ask(())
            case Stage.INPUT:
                self._survivors = answered
                shared, survived = (pack_set(some, self._spec.cohort) for some in (self._set_up.shares, answered))
                self._wanted = self._pairs().consent(shared, survived)
                self._stage = Stage.CONSENT if self._spec.adversary.malicious else Stage.RELEASE
            case Stage.CONSENT:
                self._consents = {client: self._consents[client] for client in answered}
                self._stage = Stage.RELEASE
            case Stage.RELEASE:
                self._present.close()
                self._finish()

    def snapshot(self) -> bytes:
        """See `aggregation.ServerSession.snapshot`: what was received, but of the inputs their sum alone."""
        offer = Offer(self._spec).encode(SUITE)
        opened = bytes([self._aggregate is not None])
        wrong = "\n".join(f"{error.peer} {error.detail}" for error in self._wrong_shares).encode()
        events = self._log.pack(self._present.refused)
        model = self._model if self._spec.prepared else b""
        return pack_snapshot(Party.SERVER, [offer, model, opened, wrong, self._inputs.total.tobytes(), *events])

    @classmethod
    def resume(
        cls, spec: RoundSpec, layout: Layout, identities: Mapping[ClientId, bytes] | None, snapshot: bytes
    ) -> MaskingServer:
        """See `aggregation.Scheme.resume_server`: all that was received is checked again."""
        server = cls(spec, layout, identities)
        with no_other_error():
            offer, model, opened, wrong, total, *events = parse_snapshot(Party.SERVER, snapshot)
            if bytes(offer) != Offer(spec).encode(SUITE):
                raise PersistenceError("P3", "a snapshot of another round")
            log, refused = Log.parse(events)
            attestations = server._replay(log, bytes(model))
            if model and server._model != model:
                raise ValueError
            server._inputs.taken_up(total, attestations)
            server._present.refuse(refused)
            if server._stage is Stage.DONE:
                server._present.close(aborted=not any(opened))
                if any(opened) and server._survivors:
                    named = [line.split(" ", 1) for line in bytes(wrong).decode().splitlines()]
                    server._wrong_shares = tuple(RemoteProtocolError("S7", text, int(peer)) for peer, text in named)
                    server._decode()
            return server

    def _replay(self, log: Log, model: bytes) -> dict[ClientId, bytes]:
        """Take everything again but inputs, whose sum is stored; gives their attestations.

        The model is named where it was: as soon as it could be, as nothing else happens before.
        """
        attestations: dict[ClientId, bytes] = {}
        try:
            for client, reply in log.events:
                if client is None and self._stage is Stage.RELEASE:
                    self._log.advanced()
                    self._stage = Stage.DONE
                elif client is None:
                    self.advance()
                    if model and self._unnamed:
                        self.name_model(model)
                elif self._stage is Stage.INPUT:
                    with self._present.answer(client):
                        self._log.answered(client, reply)
                    if reply:
                        attestations[client] = reply
                else:
                    self.receive(client, reply)
        except RoundAborted:
            pass  # as the first time
        return attestations

    def _attesting(self, client: ClientId) -> dict[ClientId, bytes]:
        """The attestations of those survivors whose shares this client was delivered."""
        known = self._inputs.attestations
        return {sender: known[sender] for sender in self._set_up.delivery(client).senders if sender in known}

    def _finish(self) -> None:
        alive = frozenset(self._survivors)
        evidence = Evidence(
            self._spec,
            self._parameters.threshold,
            self._pairs(),
            {client: entry.mask for client, entry in self._set_up.entries.items()},
            {client: shares.commitment for client, shares in self._set_up.shares.items()},
            self._set_up.neighbourhoods,
            {client: client in alive for client in self._set_up.shares},
            self._released,
        )
        try:
            self._wrong_shares = tuple(unmask(self._inputs.total, evidence))
            self._inputs.total &= self._spec.numbers.lanes.ring_mask
            self._decode()
        except RemoteProtocolError as error:
            self._present.close(aborted=True)
            raise RoundAborted(Stage.RELEASE, str(error)) from None

    def _decode(self) -> None:
        decoded = self._encoding.decode(self._inputs.total, len(self._survivors))
        self._aggregate = Aggregate(
            decoded.tensors, decoded.weight, decoded.metrics, self._survivors, self._inputs.total
        )  # fmt: skip
