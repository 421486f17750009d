"""Snapshots of sessions, taken up again: PersistenceError alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from securefed.participation import MemoryRecord
from securefed.secagg.client import MaskingClient
from securefed.secagg.server import MaskingServer
from securefed.wire.snapshot import Party, pack_snapshot, parse_snapshot
from tests.fuzz.honest import ROUNDS, played, twin
from tests.fuzz.target import Havoc, Target, reader_target
from tests.rounds import LAYOUT

__all__ = ["client_snapshot_target", "mutate_snapshot", "server_snapshot_target", "with_digest"]

_DIGEST_BYTES: Final = 32


def _sections(raw: bytes, party: Party) -> list[bytes] | None:
    try:
        return [bytes(section) for section in parse_snapshot(party, raw)]
    except Exception:  # whatever: this is the mutator, not the target
        return None


def with_digest(raw: bytes) -> bytes:
    """The digest that fits, which anyone can compute."""
    body = raw[:-_DIGEST_BYTES]
    return body + hashlib.sha256(body).digest()


def mutate_snapshot(party: Party) -> Callable[[bytes, Random, Havoc], bytes]:
    """Mostly with the digest that fits, which anyone can compute."""

    def mutate(raw: bytes, rng: Random, havoc: Havoc) -> bytes:
        sections = _sections(raw, party)
        choice = rng.randrange(8)
        if sections is None or choice == 0:
            return havoc(raw)
        if choice == 1:
            return with_digest(havoc(raw))
        for _ in range(rng.choice((1, 1, 2))):
            at, other = rng.randrange(len(sections) + 1), rng.randrange(len(sections) + 1)
            match rng.randrange(6):
                case 0:
                    del sections[at : at + 1]
                case 1:
                    sections[at:at] = sections[other : other + 1]
                case 2:
                    sections[at : at + 1], sections[other : other + 1] = (
                        sections[other : other + 1],
                        sections[at : at + 1],
                    )
                case _ if at < len(sections):
                    sections[at] = havoc(sections[at])
        return pack_snapshot(party, sections)

    return mutate


def client_snapshot_target() -> Target:
    """Snapshots of the victims of all rounds; each is taken up by the client that it names a round of."""
    rounds = [played(name) for name in ROUNDS]
    seeds = [client.snapshot() for round_ in rounds for client in round_.clients.values()]
    victims = {round_.victim: replace(round_.identity, record=MemoryRecord()) for round_ in rounds}

    def read(raw: bytes) -> None:
        owner = int.from_bytes(raw[20:24], "big")
        identity = victims.get(owner, next(iter(victims.values())))
        client = MaskingClient.resume(identity, raw)
        client.snapshot()

    return reader_target("client-snapshot", seeds, read, mutate_snapshot(Party.CLIENT), with_digest)


def server_snapshot_target() -> Target:
    """Snapshots of the servers of two rounds, with all, some and no answers of a stage, and of an aborted round."""
    rounds = [played("malicious"), played("semi-honest")]
    seeds = []
    for round_ in rounds:
        for stage, server in round_.servers.items():
            some = twin(server)
            for client, reply in list(round_.replies.get(stage, {}).items())[:2]:
                some.receive(client, reply)
            seeds += [server.snapshot(), some.snapshot()]

    def read(raw: bytes) -> None:
        round_ = next((one for one in rounds if one.spec.pack() in raw), rounds[0])
        server = MaskingServer.resume(round_.spec, LAYOUT, round_.identities, raw)
        server.snapshot()
        server.requests()

    return reader_target("server-snapshot", seeds, read, mutate_snapshot(Party.SERVER), with_digest)
