"""Honest homomorphic rounds, and their parties as they stood when each stage opened."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from securefed.he import bfv_2048
from securefed.he.client import HomomorphicClient
from securefed.he.server import HomomorphicServer
from securefed.he.stages import Stage
from securefed.participation import ClientIdentity
from securefed.wire.header import HEADER_BYTES, MessageType
from securefed.wire.homomorphic import ExchangeKey
from tests.fuzz.homomorphic import HomomorphicShape, he_spec
from tests.he.rounds import HOLDER, VICTIM, Round, he_identity
from tests.rounds import LAYOUT, identities

__all__ = ["HE_ASKED", "HE_TOLD", "LONGEST", "HePlayed", "he_played", "he_resumed"]

LONGEST: Final = 60_000
HE_TOLD: Final = {
    Stage.ADVERTISE: MessageType.OFFER, Stage.KEYS: MessageType.EXCHANGE_KEYS, Stage.INPUT: MessageType.SEALED_KEY,
    Stage.OPEN: MessageType.CIPHERTEXT_SUM,
}  # fmt: skip
HE_ASKED: Final = {
    Stage.ADVERTISE: MessageType.EXCHANGE_KEY, Stage.KEYS: MessageType.SEALED_KEYS,
    Stage.INPUT: MessageType.CIPHERTEXTS, Stage.OPEN: MessageType.OPENED,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class HePlayed:
    """An honest round whose last client drops out before its input; parties as each stage opened."""

    round: Round
    servers: dict[Stage, bytes] = field(repr=False)
    clients: dict[int, dict[Stage, HomomorphicClient]] = field(repr=False)
    records: dict[int, dict[Stage, dict[str, Any]]] = field(repr=False)

    def stages_of(self, client: int) -> list[Stage]:
        """In which it is asked, and the end."""
        return [stage for stage, asked in self.round.requests.items() if client in asked] + [Stage.DONE]

    def identity(self, client: int, remembers: Stage) -> ClientIdentity:
        """With the record as it was then."""
        identity = he_identity(client)
        vars(identity.record).update(copy.deepcopy(self.records[client][remembers]))
        return identity

    def server(self, stage: Stage) -> HomomorphicServer:
        """As the stage opened."""
        return he_resumed(self, self.servers[stage])

    def shape(self, kind: MessageType, sender: int) -> HomomorphicShape:
        """How a message lies in its bytes."""
        return HomomorphicShape(kind, self.round.spec, sender, sign=self._sign)

    def _sign(self, kind: MessageType, sender: int, body: bytes) -> bytes:
        """Exchange keys signed by the identity keys of their owners: what corrupt clients help with."""
        good = {reply[HEADER_BYTES:] for reply in self.round.replies[Stage.ADVERTISE].values()}
        if not self.round.spec.adversary.malicious:
            return body

        def signed(client: int, entry: bytes) -> bytes:
            if client not in self.round.spec.cohort or entry in good or len(entry) != 96:
                return entry
            return self.round.entry(client, ExchangeKey.parse(entry).public).pack()

        if kind is MessageType.EXCHANGE_KEY:
            return signed(sender, body)
        if kind is not MessageType.EXCHANGE_KEYS:
            return body
        count = len(body) // 100
        ids = [int.from_bytes(body[4 * at : 4 * at + 4], "big") for at in range(count)]
        entries = [body[4 * count + 96 * at : 4 * count + 96 * at + 96] for at in range(count)]
        return body[: 4 * count] + b"".join(signed(*pair) for pair in zip(ids, entries, strict=True))


@cache
def he_played(server: str) -> HePlayed:
    round_ = Round(he_spec(server), scheme=bfv_2048())
    servers: dict[Stage, bytes] = {}
    clients: dict[int, dict[Stage, HomomorphicClient]] = {HOLDER: {}, VICTIM: {}}
    records: dict[int, dict[Stage, dict[str, Any]]] = {HOLDER: {}, VICTIM: {}}
    while True:
        stage = round_.server.stage
        servers[stage] = round_.server.snapshot()
        for client in clients:
            clients[client][stage] = copy.copy(round_.clients[client])
            records[client][stage] = copy.deepcopy(vars(round_.identities[client].record))
        if stage is Stage.DONE:
            break
        round_.answer(absent=(8,) if stage is Stage.INPUT else ())
        round_.server.advance()
    return HePlayed(round_, servers, clients, records)


def he_resumed(played: HePlayed, snapshot: bytes) -> HomomorphicServer:
    spec = played.round.spec
    return played.round.scheme.resume_server(spec, LAYOUT, snapshot, identities(spec.cohort))
