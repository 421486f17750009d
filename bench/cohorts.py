"""What one client and the server pay in cohorts of up to ten thousand, with the real functions and real messages.

One client is a real session. Of the others just what it and the server meet is made: entries, picks, consents, and
the sealed shares of those who picked it. The server's part is timed on messages of all clients but one, whose seals
(which a server never opens) are random bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from securefed.aggregation import (
    Adversary,
    Aggregate,
    ClientIdentity,
    Credentials,
    Policy,
    RoundSpec,
    SigningKey,
    Update,
    new_round,
)
from securefed.crypto.aead import seal
from securefed.crypto.hashing import digest
from securefed.encoding.lanes import packed_length
from securefed.encoding.layout import Layout
from securefed.federated.rounds import InProcess, RoundCost, run_round
from securefed.secagg import PairwiseMasks
from securefed.secagg.client import MaskingClient
from securefed.secagg.graph import Neighbourhood, promise
from securefed.secagg.keys import ClientSecrets, PairContext, advertised, commitment
from securefed.secagg.parameters import Parameters
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import SUITE, Stage, expected_from
from securefed.secagg.unmask import Evidence, unmask
from securefed.wire.frame import pack_set
from securefed.wire.from_client import SEALED_BYTES, Advertisement, Consent, Entry, Input, Shares
from securefed.wire.from_server import Agreement, Delivered, Delivery, Offer, Roster, Survivors
from securefed.wire.header import SERVER

__all__ = ["Cost", "RealCohort", "SimulatedCohort"]

ME = 1


@dataclass
class Cost:
    """Of one party in one round: seconds by stage, bytes up and down."""

    seconds: dict[str, float]
    up: int = 0
    down: int = 0

    @property
    def total(self) -> float:
        """All stages."""
        return sum(self.seconds.values())


@dataclass
class RealCohort:
    """Real sessions of clients 1 … n in this process, about to send updates of d zeros (16 bits).

    Attributes:
        server: a new session.
        transport: to the clients, none of them lost but those that a bench names.
        cost: filled in by the round.
    """

    server: MaskingServer
    transport: InProcess
    cost: RoundCost

    @classmethod
    def of(cls, clients: int, parameters: int, adversary: Adversary, lost: Mapping[int, str]) -> RealCohort:
        """From scratch: `lost` says by client the stage from which on it does not answer."""
        tensors = {"update": np.zeros(parameters, np.float32)}
        layout = Layout.of(tensors, ("loss",))
        cohort = tuple(range(1, clients + 1))
        spec = new_round(
            round_number=1, cohort=cohort, adversary=adversary, model=bytes([1]) * 32, layout=layout, bits=16, clip=1.0
        )
        keys = {client: SigningKey() for client in cohort}
        public = {client: key.public for client, key in keys.items()}
        scheme, cost, policy = PairwiseMasks(), RoundCost(), Policy(adversary=adversary)
        sessions = {
            client: scheme.client(ClientIdentity(client, layout, policy, credentials=Credentials(keys[client], public)))
            for client in cohort
        }
        update = Update(tensors, bytes([1]) * 32, 1, {"loss": 0.0})
        transport = InProcess(sessions, lambda _: update, cost, lost=lost, stages=scheme.stages)
        return cls(scheme.server(spec, layout, public), transport, cost)

    def run(self) -> Aggregate:
        """The whole round."""
        return run_round(self.server, self.transport, self.cost)


class SimulatedCohort:
    """A cohort of n under one adversary, about to send updates of d parameters (16 bits)."""

    def __init__(self, clients: int, parameters: int, adversary: Adversary) -> None:
        tensors = {"update": np.zeros(parameters, np.float32)}
        self.layout = Layout.of(tensors, ("loss",))
        self.update = Update(tensors, bytes([1]) * 32, 1, {"loss": 0.0})
        self.spec: RoundSpec = new_round(
            round_number=1, cohort=tuple(range(1, clients + 1)), adversary=adversary, model=bytes([1]) * 32,
            layout=self.layout, bits=16, clip=1.0,
        )  # fmt: skip
        self.parameters = Parameters.of(clients, adversary)
        session = self.spec.session
        self.keys = {client: SigningKey() for client in self.spec.cohort}
        self.public = {client: key.public for client, key in self.keys.items()}
        self.secrets = {client: ClientSecrets(os.urandom(32), session) for client in self.spec.cohort if client != ME}
        self.picks = {client: self._picks(client) for client in self.secrets}
        self.entries = {client: self._entry(client) for client in self.secrets}

    def _picks(self, client: int) -> Neighbourhood:
        return Neighbourhood.of(self.spec, self.parameters, client, self.secrets[client].pick_secret)

    def _entry(self, client: int) -> Entry:
        secrets, session = self.secrets[client], self.spec.session
        entry = Entry(secrets.channel.public, secrets.mask.public, promise(secrets.pick_secret, session, client))
        signature = self.keys[client].sign(advertised(entry, session, client))
        return Entry(entry.channel, entry.mask, entry.promise, signature)

    def client_cost(self) -> Cost:
        """One real client's round, everybody alive."""
        spec, context = self.spec, expected_from(self.spec, SERVER)
        cost = Cost({})
        credentials = Credentials(self.keys[ME], self.public)
        policy = Policy(adversary=spec.adversary)
        client = MaskingClient(ClientIdentity(ME, self.layout, policy, credentials=credentials))

        def ask(stage: str, request: bytes) -> bytes:
            start = perf_counter()
            reply = client.reply(request, lambda: self.update)
            cost.seconds[stage] = perf_counter() - start
            cost.up, cost.down = cost.up + len(reply), cost.down + len(request)
            return reply

        own = Advertisement.decode(ask("advertise", Offer(spec).encode(SUITE)), expected_from(spec, ME), signed=True)
        roster = Roster.of({ME: own.entry, **self.entries}).encode(context)
        ask("share", roster)
        pairs = PairContext(spec.session, digest(roster))
        senders = {
            sender: Delivered(self.secrets[sender].pick_secret, self._seal(pairs, sender, own.entry.channel))
            for sender, picks in self.picks.items()
            if ME in picks.holders
        }
        ask("input", Delivery(spec.cohort, senders).encode(context, spec.cohort))
        mine = Consent.decode(
            ask("consent", Survivors(spec.cohort).encode(context, spec.cohort)), expected_from(spec, ME)
        )
        everyone = pack_set(spec.cohort, spec.cohort)
        wanted, attested = pairs.consent(everyone, everyone), pairs.attested(everyone)
        consents = {client: self.keys[client].sign(wanted) for client in self.secrets} | {ME: mine.signature}
        attestations = {sender: self.keys[sender].sign(attested) for sender in senders if self.parameters.attested}
        ask("release", Agreement(consents, attestations).encode(context, spec.cohort))
        return cost

    def _seal(self, pairs: PairContext, sender: int, channel: bytes) -> bytes:
        secrets, holders = self.secrets[sender], tuple(sorted(self.picks[sender].holders))
        shares = secrets.share_out(pairs.roster, holders, self.parameters.threshold)[ME]
        header = Shares.header(expected_from(self.spec, sender), len(set(holders) - {sender}))
        key = pairs.channel_key(secrets.channel, channel, sender, ME)
        return seal(key, shares, header + ME.to_bytes(4, "big"))

    def server_cost(self) -> Cost:
        """The server's round by stage, as many clients lost before the input as the adversary says."""
        spec, cost = self.spec, Cost({})
        server = MaskingServer(spec, self.layout, self.public)
        clients = tuple(self.secrets)
        lost = set(clients[: spec.adversary.lost_clients(len(spec.cohort)) - 1])

        def stage(name: str, message: Callable[[int], bytes], absent: set[int] | None = None) -> None:
            messages = {client: message(client) for client in clients if client not in (absent or ())}
            start = perf_counter()
            server.requests()
            for client, reply in messages.items():
                server.receive(client, reply)
            if name != Stage.CONSENT:
                server.advance()
            cost.seconds[name] = perf_counter() - start

        stage("advertise", lambda c: Advertisement(self.entries[c]).encode(expected_from(spec, c)))
        roster = digest(server.requests()[clients[0]])
        stage("share", self._shares)
        everyone, alive = pack_set(clients, spec.cohort), pack_set(set(clients) - lost, spec.cohort)
        pairs = PairContext(spec.session, roster)
        attested, wanted = pairs.attested(everyone), pairs.consent(everyone, alive)
        stage("input", lambda c: self._input(c, attested), lost)
        stage("consent", lambda c: Consent(self.keys[c].sign(wanted)).encode(expected_from(spec, c)), lost)
        evidence = self._evidence(clients, lost, roster)
        start = perf_counter()
        unmask(np.zeros(spec.words, "<u8"), evidence)
        cost.seconds["unmask"] = perf_counter() - start
        return cost

    def _shares(self, client: int) -> bytes:
        secrets, session = self.secrets[client], self.spec.session
        recipients = self.picks[client].holders - {client, ME}
        sealed = {holder: os.urandom(SEALED_BYTES) for holder in recipients}
        promised = commitment(secrets.self_mask_seed, session, client)
        return Shares(secrets.pick_secret, promised, sealed).encode(expected_from(self.spec, client))

    def _input(self, client: int, attested: bytes) -> bytes:
        """Zeros: to the server any words are as good as masked ones."""
        words = packed_length(self.spec.words, self.spec.numbers.lanes.ring_bits)
        attestation = self.keys[client].sign(attested) if self.parameters.attested else b""
        return Input.header(expected_from(self.spec, client), words, attestation) + bytes(8 * words)

    def _evidence(self, clients: tuple[int, ...], lost: set[int], roster: bytes) -> Evidence:
        released: dict[int, dict[int, bytes]] = {}
        for client in clients:
            holders = tuple(sorted(self.picks[client].holders - lost - {ME}))
            both = self.secrets[client].share_out(roster, holders, self.parameters.threshold)
            half = slice(33, 66) if client in lost else slice(0, 33)
            released[client] = {holder: pair[half] for holder, pair in both.items()}
        session = self.spec.session
        return Evidence(
            self.spec, self.parameters.threshold, PairContext(session, roster),
            {client: self.entries[client].mask for client in clients},
            {client: commitment(self.secrets[client].self_mask_seed, session, client) for client in clients},
            self.picks, {client: client not in lost for client in clients}, released,
        )  # fmt: skip
