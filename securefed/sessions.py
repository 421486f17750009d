"""What the sessions of several schemes have in common: a server's identity roster, a client that is started again."""

from __future__ import annotations

from collections.abc import Mapping

from securefed.aggregation import ClientSession, Update
from securefed.encoding.layout import Layout
from securefed.errors import ConfigError, LocalProtocolError, PersistenceError, RemoteProtocolError
from securefed.participation import ClientId, check_identities
from securefed.wire.specification import RoundSpec

__all__ = ["replay", "server_roster"]


def server_roster(
    spec: RoundSpec, layout: Layout, identities: Mapping[ClientId, bytes] | None
) -> Mapping[ClientId, bytes]:
    """The identity keys that a server checks its clients by; none in a round that trusts it with the keys.

    Raises:
        LocalProtocolError: O2, another layout than the specification's; K7, one identity key for two clients.
        ConfigError: `identities`, where they are needed and do not hold the whole cohort.
    """
    if layout.digest != spec.layout:
        raise LocalProtocolError("O2", "the layout is not the one that the specification names")
    known = identities or {}
    check_identities(known)
    if not spec.adversary.malicious:
        return {}
    strangers = set(spec.cohort).difference(known)
    if strangers:
        raise ConfigError(
            "identities", f"a round against a malicious server needs the identity key of client {min(strangers)}"
        )
    return known


def replay(session: ClientSession, request: bytes) -> None:
    """Answer a request before the input again, as nothing there depends on more than round secret and requests.

    Raises:
        LocalProtocolError: R10, where the record holds an input after it.
        PersistenceError: P3, where the request is refused.
    """
    try:
        session.reply(request, _no_update)
    except RemoteProtocolError as error:
        if error.rule == "R11":
            raise LocalProtocolError("R10", "an older snapshot: the record holds an input after it") from None
        raise PersistenceError("P3", f"the snapshot does not fit this client any more: {error}") from None


def _no_update() -> Update:
    raise AssertionError("no update is asked for before the input")
