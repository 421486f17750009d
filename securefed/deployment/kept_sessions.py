"""A client's sessions as they are stored: the chain's snapshot, and what is needed to take it up in another process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from securefed.chains import ClientChain
from securefed.crypto.hashing import DIGEST_BYTES
from securefed.deployment.terms import layout_from_parts, layout_parts
from securefed.encoding.layout import Layout
from securefed.errors import LocalProtocolError, PersistenceError, RemoteProtocolError
from securefed.participation import ClientId, ClientIdentity
from securefed.schemes import SCHEMES
from securefed.wire.snapshot import Party, pack_snapshot, parse_snapshot

__all__ = ["REQUESTS_REMEMBERED", "KeptSessions", "layouts_in"]

REQUESTS_REMEMBERED: Final = 32
_A_SESSION: Final = 3
"""Sections of a session in a chain's snapshot: its name, its layout's digest and its round, its state."""


@dataclass(frozen=True, repr=False)
class KeptSessions:
    """What a `ClientState` stores as `sessions`.

    Attributes:
        scheme: of all sessions.
        client: whose they are.
        stored_at: seconds since the epoch.
        requests: digests of those that came last, in hex, the latest last.
        layouts: of the sessions.
        snapshot: of the chain.
    """

    scheme: str
    client: ClientId
    stored_at: float
    requests: tuple[str, ...]
    layouts: tuple[Layout, ...]
    snapshot: bytes

    def pack(self) -> bytes:
        """A line of JSON, then the snapshot."""
        head = {
            "scheme": self.scheme, "client": self.client, "stored_at": self.stored_at, "requests": self.requests,
            "layouts": [layout_parts(layout) for layout in self.layouts],
        }  # fmt: skip
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self.snapshot

    @classmethod
    def parse(cls, stored: bytes) -> KeptSessions:
        """What `pack` gave.

        Raises:
            PersistenceError: P1.
        """
        try:
            line, snapshot = stored.split(b"\n", 1)
            head = json.loads(line)
            layouts = tuple(layout_from_parts(parts) for parts in head["layouts"])
            requests = tuple(map(str, head["requests"]))
            return cls(str(head["scheme"]), int(head["client"]), float(head["stored_at"]), requests, layouts, snapshot)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, RemoteProtocolError):
            raise PersistenceError("P1", "the stored sessions do not hold together: give the round up") from None

    def chain(self, identity: ClientIdentity) -> tuple[ClientChain, frozenset[bytes]]:
        """The chain, and the names of the sessions that the record has overtaken: they are lost.

        A session is lost where the process ended between writing down its input and storing what came after, or where
        its round was given up for a later one.

        Raises:
            PersistenceError: P1 damaged, P2 another version, P3 of another client.
        """
        scheme = SCHEMES[self.scheme].make()
        try:
            return ClientChain.resume(scheme, identity, self.snapshot, self.layouts), frozenset()
        except LocalProtocolError:
            pass
        sections, kept, lost = parse_snapshot(Party.CLIENT_CHAIN, self.snapshot), [], []
        for at in range(0, len(sections), _A_SESSION):
            session = sections[at : at + _A_SESSION]
            try:
                ClientChain.resume(scheme, identity, pack_snapshot(Party.CLIENT_CHAIN, session), self.layouts)
            except LocalProtocolError:
                lost.append(bytes(session[0]))
            else:
                kept += session
        chain = ClientChain.resume(scheme, identity, pack_snapshot(Party.CLIENT_CHAIN, kept), self.layouts)
        return chain, frozenset(lost)


def layouts_in(snapshot: bytes) -> frozenset[bytes]:
    """Digests of the layouts that a chain's snapshot needs."""
    return frozenset(bytes(of[:DIGEST_BYTES]) for of in parse_snapshot(Party.CLIENT_CHAIN, snapshot)[1::_A_SESSION])
