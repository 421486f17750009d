"""How a lying server is played, and what a client does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from securefed.aggregation import Update
from securefed.errors import RemoteProtocolError
from securefed.he.client import HomomorphicClient
from securefed.he.stages import Stage
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER
from tests.he.rounds import (
    Round,
    he_spec,
    round_secret,
)
from tests.rules import refused

Lie = Callable[[Round], bytes]


def no_update() -> Update:
    raise AssertionError("nobody trains for a request that is refused")


def offer(round_: Round, **changes: Any) -> bytes:
    return Offer(replace(round_.spec, **changes)).encode(round_.scheme.parameters.suite)


def elsewhere(stage: Stage, client: int, **changes: Any) -> Lie:
    """What an honest server says in another session: a replay."""
    return lambda r: Round(he_spec(adversary=r.spec.adversary, **changes)).until(stage).requests[stage][client]


def closed(client: HomomorphicClient, request: bytes) -> None:
    """Nothing is answered any more, and nothing that could be is kept."""
    with refused("R5", peer=SERVER):
        client.reply(request, no_update)
    assert len(client.snapshot()) < 250
    assert round_secret(client._identity.id) not in client.snapshot()


def refuses(round_: Round, client: int, rule: str | tuple[str, ...], lie: Lie) -> None:
    request, good = lie(round_), round_.requests[round_.server.stage].get(client, b"")
    session = round_.clients[client]
    with pytest.raises(RemoteProtocolError) as caught:
        session.reply(request, no_update)
    assert caught.value.rule in (rule if isinstance(rule, tuple) else (rule,))
    assert caught.value.peer == SERVER
    closed(session, good)
