"""The server's side of one masked round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from securefed.aggregation import Aggregate, Attendance
from securefed.crypto.hashing import digest
from securefed.crypto.shamir import share_from_bytes
from securefed.crypto.signing import verifies
from securefed.crypto.x25519 import check_public_keys
from securefed.encoding.layout import Layout
from securefed.encoding.vector import VectorEncoding
from securefed.errors import LocalProtocolError, PersistenceError, RemoteProtocolError, RoundAborted
from securefed.participation import ClientId
from securefed.secagg.graph import Neighbourhood, check_promise
from securefed.secagg.input_sum import InputSum
from securefed.secagg.keys import PairContext, check_signature
from securefed.secagg.parameters import Parameters
from securefed.secagg.server_log import Log
from securefed.secagg.stages import SUITE, Stage, expected_from
from securefed.secagg.unmask import Evidence, unmask
from securefed.sessions import server_roster
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Advertisement, Consent, Entry, Release, Shares
from securefed.wire.from_server import Agreement, Delivered, Delivery, Offer, Roster, Survivors
from securefed.wire.header import SERVER
from securefed.wire.snapshot import Party, no_other_error, pack_snapshot, parse_snapshot
from securefed.wire.specification import RoundSpec

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
        self._entries: dict[ClientId, Entry] = {}
        self._public_keys: set[bytes] = set()
        self._roster = b""
        self._shares: dict[ClientId, Shares] = {}
        self._neighbourhoods: dict[ClientId, Neighbourhood] = {}
        self._deliveries: dict[ClientId, dict[ClientId, Delivered]] = {}
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

    def requests(self) -> Mapping[ClientId, bytes]:
        """What each client whose answer is awaited must be sent now."""
        cohort, context, awaited = self._spec.cohort, expected_from(self._spec, SERVER), self._present.awaited
        match self._stage:
            case Stage.ADVERTISE:
                return dict.fromkeys(awaited, Offer(self._spec).encode(SUITE))
            case Stage.SHARE:
                return dict.fromkeys(awaited, self._roster)
            case Stage.INPUT:
                shared = tuple(self._shares)
                packed = pack_set(shared, cohort)
                return {
                    client: Delivery(shared, self._deliveries[client]).encode(context, cohort, packed)
                    for client in awaited
                }
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
                signed = self._spec.adversary.malicious
                self._take_entry(client, Advertisement.decode(reply, expected, signed=signed).entry)
            case Stage.SHARE:
                self._take_shares(client, reply)
            case Stage.INPUT:
                self._inputs.add(client, reply)
            case Stage.CONSENT:
                signature = Consent.decode(reply, expected).signature
                if not verifies(self._identities[client], self._wanted, signature):
                    raise RemoteProtocolError("C1", "a consent that does not verify")
                self._consents[client] = signature
            case Stage.RELEASE:
                shares = Release.decode(reply, expected, self._shares.keys()).shares
                for share in shares.values():
                    share_from_bytes(share)
                for owner, share in shares.items():
                    if client in self._neighbourhoods[owner].holders:
                        self._released.setdefault(owner, {})[client] = share

    def _take_entry(self, client: ClientId, entry: Entry) -> None:
        keys = (entry.channel, entry.mask)
        check_public_keys(*keys)
        if entry.channel == entry.mask or not self._public_keys.isdisjoint(keys):
            raise RemoteProtocolError("K4", "a public key was advertised twice")
        check_signature(entry, self._spec.session, client, self._identities.get(client))
        self._public_keys.update(keys)
        self._entries[client] = entry

    def _take_shares(self, client: ClientId, reply: bytes) -> None:
        spec, expected = self._spec, expected_from(self._spec, client)
        neighbourhood = Neighbourhood.of(spec, self._parameters, client, Shares.peek_pick_secret(reply))
        recipients = (neighbourhood.holders & self._entries.keys()) - {client}
        shares = Shares.decode(reply, expected, recipients)
        check_promise(self._entries[client].promise, shares.pick_secret, spec.session, client)
        self._shares[client], self._neighbourhoods[client] = shares, neighbourhood

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

    def _consent(self) -> bytes:
        cohort = self._spec.cohort
        pairs = PairContext(self._spec.session, digest(self._roster))
        return pairs.consent(pack_set(self._shares, cohort), pack_set(self._survivors, cohort))

    def advance(self) -> None:
        """See `aggregation.ServerSession.advance`."""
        if self._stage is Stage.DONE:
            raise LocalProtocolError("R5", "the round is over: there is no further stage")
        self._log.advanced()
        # DONE until the next stage is complete: a round that aborts here stays over.
        stage, self._stage = self._stage, Stage.DONE
        # Who is lost after the input is in the sum all the same.
        until_input = stage in (Stage.ADVERTISE, Stage.SHARE, Stage.INPUT)
        needed = self._parameters.least_inputs if until_input else self._spec.threshold
        answered = self._present.next_stage(stage, needed)
        match stage:
            case Stage.ADVERTISE:
                self._entries = {client: self._entries[client] for client in answered}
                self._roster = Roster.of(self._entries).encode(expected_from(self._spec, SERVER))
                self._stage = Stage.SHARE
            case Stage.SHARE:
                self._deliver(answered)
                pairs = PairContext(self._spec.session, digest(self._roster))
                attested = pairs.attested(pack_set(answered, self._spec.cohort))
                self._inputs = InputSum(self._spec, attested if self._parameters.attested else None, self._identities)
                self._stage = Stage.INPUT
            case Stage.INPUT:
                self._survivors = answered
                self._wanted = self._consent()
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
        return pack_snapshot(Party.SERVER, [offer, opened, wrong, self._inputs.total.tobytes(), *events])

    @classmethod
    def resume(
        cls, spec: RoundSpec, layout: Layout, identities: Mapping[ClientId, bytes] | None, snapshot: bytes
    ) -> MaskingServer:
        """See `aggregation.Scheme.resume_server`: all that was received is checked again."""
        server = cls(spec, layout, identities)
        with no_other_error():
            offer, opened, wrong, total, *events = parse_snapshot(Party.SERVER, snapshot)
            if bytes(offer) != Offer(spec).encode(SUITE):
                raise PersistenceError("P3", "a snapshot of another round")
            log, refused = Log.parse(events)
            attestations = server._replay(log)
            server._inputs.taken_up(total, attestations)
            server._present.refuse(refused)
            if server._stage is Stage.DONE:
                server._present.close(aborted=not any(opened))
                if any(opened) and server._survivors:
                    named = [line.split(" ", 1) for line in bytes(wrong).decode().splitlines()]
                    server._wrong_shares = tuple(RemoteProtocolError("S7", text, int(peer)) for peer, text in named)
                    server._decode()
            return server

    def _replay(self, log: Log) -> dict[ClientId, bytes]:
        """Take everything again but inputs, whose sum is stored; gives their attestations."""
        attestations: dict[ClientId, bytes] = {}
        try:
            for client, reply in log.events:
                if client is None and self._stage is Stage.RELEASE:
                    self._log.advanced()
                    self._stage = Stage.DONE
                elif client is None:
                    self.advance()
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
        return {sender: known[sender] for sender in self._deliveries[client] if sender in known}

    def _deliver(self, shared: tuple[ClientId, ...]) -> None:
        """Turn what each client made for others into what was made for each."""
        self._shares = {client: self._shares[client] for client in shared}
        self._deliveries = {client: {} for client in shared}
        for sender, shares in self._shares.items():
            for receiver, sealed in shares.sealed.items():
                if receiver in self._deliveries:
                    self._deliveries[receiver][sender] = Delivered(shares.pick_secret, sealed)

    def _finish(self) -> None:
        alive = frozenset(self._survivors)
        evidence = Evidence(
            self._spec,
            self._parameters.threshold,
            digest(self._roster),
            {client: entry.mask for client, entry in self._entries.items()},
            {client: shares.commitment for client, shares in self._shares.items()},
            self._neighbourhoods,
            {client: client in alive for client in self._shares},
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
