"""A client's side of rounds that follow each other: one object for a whole job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from securefed.aggregation import ClientSession, Scheme, Update
from securefed.crypto.hashing import DIGEST_BYTES
from securefed.encoding.layout import Layout
from securefed.errors import LocalProtocolError, PersistenceError, RemoteProtocolError
from securefed.participation import ClientIdentity
from securefed.wire.bundle import bundle_header, is_bundle, parse_bundle
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER, Header, MessageType
from securefed.wire.snapshot import Party, no_other_error, pack_snapshot, parse_snapshot

__all__ = ["ClientChain"]

_AT_ONCE: Final = 2
"""Sessions that a client keeps: the present round and the next one's set-up."""
_ROUND_BYTES: Final = 4


@dataclass(frozen=True, repr=False)
class _Kept:
    """A session, and what its offer said of layout and round."""

    layout: bytes
    round: int
    session: ClientSession


class ClientChain:
    """One client in all rounds of a job.

    A session begins with an offer. When a third one does, the oldest is given up with all its secrets: a server that
    breaks rounds off leaves nothing behind here. Rounds follow each other: with an input, all other sessions of that
    round and of earlier ones are given up too.

    Args:
        scheme: of all rounds.
        identity: who the client is and what it demands; its layout is of the updates.
        layouts: others that rounds may have.
    """

    def __init__(self, scheme: Scheme, identity: ClientIdentity, layouts: tuple[Layout, ...] = ()) -> None:
        self._scheme = scheme
        self._identities = {layout.digest: replace(identity, layout=layout) for layout in (*layouts, identity.layout)}
        self._default = identity
        self._sessions: dict[bytes, _Kept] = {}

    def __repr__(self) -> str:
        return f"ClientChain(id={self._default.id}, sessions={len(self._sessions)})"

    def reply(self, request: bytes, update: Callable[[], Update]) -> bytes:
        """The answer to one request, which may be a bundle; see `aggregation.ClientSession.reply`.

        Raises:
            RemoteProtocolError: the present round's message breaks a rule, R1 one of a session that is not known here,
                or W16. A rider that is refused leaves its place empty.
            LocalProtocolError: the update breaks a rule.
        """
        return b"".join(self.reply_in_pieces(request, update))

    def reply_in_pieces(self, request: bytes, update: Callable[[], Update]) -> Iterator[bytes | memoryview]:
        """As `reply`; an input is never whole in memory where the scheme can write it in pieces."""
        if not is_bundle(request):
            yield from self._answer_main(request, update)
            return
        try:
            rider, main = parse_bundle(request)
        except RemoteProtocolError as error:
            raise error.blame(SERVER) from None
        try:
            ridden = b"".join(self._answer(rider, _no_update))
        except (RemoteProtocolError, LocalProtocolError):
            ridden = b""
        pieces = self._answer_main(bytes(main), update)
        # The first piece comes when all is checked and trained: nothing leaves before.
        first = next(pieces)
        yield bundle_header(ridden)
        yield first
        yield from pieces

    def _answer_main(self, request: bytes, update: Callable[[], Update]) -> Iterator[bytes | memoryview]:
        trained = False

        def training() -> Update:
            nonlocal trained
            trained = True
            return update()

        pieces = self._answer(request, training)
        first = next(pieces)
        if trained:
            self._give_up(Header.parse(request))
        yield first
        yield from pieces

    def _give_up(self, given: Header) -> None:
        """All others of this round or of an earlier one. The record lets none of them give an input any more, and
        what is held of clients that gave one is not kept for a server that went on without it."""
        self._sessions = {
            name: kept for name, kept in self._sessions.items() if name == given.session or kept.round > given.round
        }

    def _answer(self, request: bytes, update: Callable[[], Update]) -> Iterator[bytes | memoryview]:
        session = self._session_of(request)
        in_pieces = getattr(session, "reply_in_pieces", None)
        if in_pieces is None:
            yield session.reply(request, update)
        else:
            yield from in_pieces(request, update)

    def _session_of(self, request: bytes) -> ClientSession:
        try:
            header = Header.parse(request)
            if header.session in self._sessions:
                return self._sessions[header.session].session
            if header.type is not MessageType.OFFER:
                raise RemoteProtocolError("R1", "a message of a session that this client is not in")
            spec = Offer.decode(request, self._scheme.suite).spec
        except RemoteProtocolError as error:
            raise error.blame(SERVER) from None
        # A layout that is not known is refused by the session (O2).
        session = self._scheme.client(self._identities.get(spec.layout, self._default))
        self._sessions[header.session] = _Kept(spec.layout, spec.round, session)
        while len(self._sessions) > _AT_ONCE:
            self._sessions.pop(next(iter(self._sessions)))
        return session

    def snapshot(self) -> bytes:
        """See `aggregation.ClientSession`: of all sessions."""
        sections = []
        for name, kept in self._sessions.items():
            sections += [name, kept.layout + kept.round.to_bytes(_ROUND_BYTES, "big"), kept.session.snapshot()]
        return pack_snapshot(Party.CLIENT_CHAIN, sections)

    @classmethod
    def resume(
        cls, scheme: Scheme, identity: ClientIdentity, snapshot: bytes, layouts: tuple[Layout, ...] = ()
    ) -> ClientChain:
        """The client's side, as it was when the snapshot was taken.

        Raises:
            PersistenceError: P1 damaged, P2 another version, P3 of another client.
            LocalProtocolError: R10, an older snapshot than the record.
        """
        chain = cls(scheme, identity, layouts)
        with no_other_error():
            sections = [bytes(section) for section in parse_snapshot(Party.CLIENT_CHAIN, snapshot)]
            if len(sections) > 3 * _AT_ONCE:
                raise PersistenceError("P1", "a snapshot of more sessions than a client keeps")
            for name, of, state in zip(sections[::3], sections[1::3], sections[2::3], strict=True):
                layout, round_number = of[:DIGEST_BYTES], of[DIGEST_BYTES:]
                if len(name) != DIGEST_BYTES or len(round_number) != _ROUND_BYTES:
                    raise ValueError
                session = scheme.resume_client(chain._identities.get(layout, identity), state)
                chain._sessions[name] = _Kept(layout, int.from_bytes(round_number, "big"), session)
        return chain


def _no_update() -> Update:
    raise LocalProtocolError("R4", "a rider asks for an update")
