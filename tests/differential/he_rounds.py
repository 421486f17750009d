"""Homomorphic rounds of the vectors and of random cases, played by securefed."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from securefed.aggregation import Policy, Update
from securefed.errors import RoundAborted
from securefed.he import HomomorphicScheme, bfv, bfv_2048, ckks, ckks_compact
from securefed.he.client import HomomorphicClient
from securefed.he.server import HomomorphicServer
from securefed.he.stages import Stage
from securefed.wire.header import SERVER
from securefed.wire.specification import RoundSpec
from tests.differential.reading import identities_from, layout_from, participant_from, update_from
from tests.rounds import OPEN as OPEN_TO_MASKS

SCHEMES: dict[int, HomomorphicScheme] = {
    int(s.parameters.suite): s for s in (bfv(), bfv_2048(), ckks(), ckks_compact())
}
OPEN: Policy = replace(OPEN_TO_MASKS, schemes=frozenset({"bfv", "bfv-2048", "ckks", "ckks-compact"}))
"""Takes part in everything."""
NUMBERS = {Stage.ADVERTISE: 1, Stage.KEYS: 2, Stage.INPUT: 3, Stage.OPEN: 4}
"""The stages as the text counts them."""
NEVER = 9

Sent = tuple[int, int, tuple[int, ...], bytes]
"""Stage, sender, recipients, message."""


def spec_from(vector: Mapping[str, Any]) -> RoundSpec:
    return RoundSpec.parse(memoryview(bytes.fromhex(vector["specification"])))


@dataclass
class Played:
    """What happened: every message, who answered each stage, and how it ended."""

    sent: list[Sent] = field(default_factory=list)
    own: dict[int, bytes] = field(default_factory=dict)
    """CIPHERTEXTS as our clients made them, where others were given to the server in their place."""
    answered: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    aborted_at: int | None = None


def play(
    server: HomomorphicServer,
    clients: Mapping[int, HomomorphicClient],
    updates: Mapping[int, Update],
    drops_out_at: Mapping[int, int | None],
    ciphertexts: Mapping[int, bytes] | None = None,
    drawn: Mapping[int, tuple[bytes, ...]] | None = None,
    away: Collection[tuple[int, int]] = (),
) -> Played:
    """A round to its end.

    Args:
        ciphertexts: the server receives them in place of our clients' own.
        drawn: what clients draw for their encryption: a seed and an error key.
        away: (client, stage) where the client does not see its request.
    """
    played = Played()
    while server.stage is not Stage.DONE and played.aborted_at is None:
        number, requests = NUMBERS[server.stage], dict(sorted(server.requests().items()))
        recipients: dict[bytes, list[int]] = {}
        for client, request in requests.items():
            recipients.setdefault(request, []).append(client)
        played.sent += [(number, SERVER, tuple(who), message) for message, who in recipients.items()]
        present = []
        for client, request in requests.items():
            if (drops_out_at.get(client) or NEVER) <= number or (client, number) in away:
                continue
            with drawing(*(drawn or {}).get(client, ())):
                reply = clients[client].reply(request, lambda c=client: updates[c])
            if number == NUMBERS[Stage.INPUT]:
                played.own[client] = reply
                reply = reply if ciphertexts is None else ciphertexts[client]
            server.receive(client, reply)
            played.sent.append((number, client, (SERVER,), reply))
            present.append(client)
        played.answered.append((number, tuple(present)))
        try:
            server.advance()
        except RoundAborted:
            played.aborted_at = number
    return played


@contextmanager
def drawing(*secrets: bytes) -> Iterator[None]:
    """Inside, our encryption draws these from the operating system; the system's own where none are given."""
    if not secrets:
        yield
        return
    left = list(secrets)
    with pytest.MonkeyPatch.context() as patch:
        system = SimpleNamespace(urandom=lambda length: _checked(left.pop(0), length))
        patch.setattr(sys.modules["securefed.he.exact"], "os", system)
        yield
    assert not left or left == list(secrets)


def _checked(secret: bytes, length: int) -> bytes:
    assert len(secret) == length
    return secret


def server_of(vector: Mapping[str, Any]) -> HomomorphicServer:
    """The server of a vector's round."""
    spec, layout = spec_from(vector), layout_from(vector["layout"])
    return SCHEMES[vector["suite"]].server(spec, layout, identities_from(dict(vector)))


def client_of(vector: Mapping[str, Any], client: dict[str, Any], policy: Policy = OPEN, last: int | None = None) -> Any:
    """A client of a vector's round."""
    layout, identities = layout_from(vector["layout"]), identities_from(dict(vector))
    identity = participant_from(client, layout, identities, policy, last)
    parameters, secret = SCHEMES[vector["suite"]].parameters, bytes.fromhex(client["round_secret"])
    return HomomorphicClient(parameters, identity, round_secret=secret)


def play_vector(
    vector: Mapping[str, Any], ciphertexts: Mapping[int, bytes] | None = None, *, as_drawn: bool = False
) -> tuple[Any, Played]:
    """A round of the vectors, with its server; `as_drawn`: our clients draw what the vector's did."""
    server = server_of(vector)
    clients = {client["id"]: client_of(vector, client) for client in vector["clients"]}
    updates = {client["id"]: update_from(client["update"]) for client in vector["clients"]}
    drops = {client["id"]: client.get("drops_out_at") for client in vector["clients"]}
    away = [(client["id"], client["away_at"]) for client in vector["clients"] if client.get("away_at")]
    drawn = {client["id"]: drawn_by(client) for client in vector["clients"]} if as_drawn else None
    return server, play(server, clients, updates, drops, ciphertexts, drawn, away)


def drawn_by(client: Mapping[str, Any]) -> tuple[bytes, ...]:
    """Seed and error key of a client's exact ciphertexts."""
    drawn = client["randomness"]
    return tuple(bytes.fromhex(drawn[name]) for name in ("seed", "error_key") if name in drawn)
