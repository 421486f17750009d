"""A client's side of one homomorphic round, the key holder's included: a few requests, as many answers, no way back."""

from __future__ import annotations

import os
from collections.abc import Callable

from securefed.aggregation import Update
from securefed.crypto.kdf import KEY_BYTES
from securefed.errors import PersistenceError, RemoteProtocolError
from securefed.he.client_states import Advertised, Closed, Holding, New
from securefed.he.stages import Parameters
from securefed.participation import ClientIdentity
from securefed.sessions import replay
from securefed.wire.header import SERVER
from securefed.wire.snapshot import Party, no_other_error, pack_ids, pack_snapshot, parse_snapshot, unpack_ids

__all__ = ["HomomorphicClient"]

_OPENING, _HOLDING, _CLOSED = b"he-opening", b"he-holding", b"he-closed"


class HomomorphicClient:
    """State machine of one client in one round (`protocols/he_aggregation/README.md`).

    Args:
        parameters: of the scheme.
        identity: who this client is and what it demands.
        round_secret: 32 bytes, for tests alone; by default fresh from the operating system.
    """

    def __init__(self, parameters: Parameters, identity: ClientIdentity, *, round_secret: bytes | None = None) -> None:
        self._parameters = parameters
        self._identity = identity
        # All secrets are in the state, and gone with it.
        self._state: New | Advertised | Holding | Closed = New(
            parameters, identity, round_secret or os.urandom(KEY_BYTES)
        )

    def __repr__(self) -> str:
        return f"HomomorphicClient(id={self._identity.id}, state={type(self._state).__name__})"

    def reply(self, request: bytes, update: Callable[[], Update]) -> bytes:
        """See `aggregation.ClientSession.reply`. Whatever is raised, this session answers nothing afterwards."""
        # Closed before the first byte is read: no error leaves the old state behind, so nothing is given twice.
        state = self._state
        self._state = (
            state if isinstance(state, Closed) else Closed("R5", "this client has left the round after an error")
        )
        try:
            answer, after = state.answer(request, update)
        except RemoteProtocolError as error:
            raise error.blame(SERVER) from None
        self._state = after
        return answer

    def snapshot(self) -> bytes:
        """See `aggregation.ClientSession.snapshot`: the round secret and what was received, until nothing is left to
        give."""
        match self._state:
            case Closed(rule, reason):
                sections = [_CLOSED, rule.encode(), reason.encode()]
            case Holding():
                sections = [_HOLDING, self._state.round_secret, self._state.offer, pack_ids(self._state.recipients)]
            case New(_, _, round_secret):
                sections = [_OPENING, round_secret]
            case Advertised():
                sections = [_OPENING, self._state.round_secret, *self._state.requests]
        return pack_snapshot(Party.CLIENT, [self._identity.id.to_bytes(4, "big"), *sections])

    @classmethod
    def resume(cls, parameters: Parameters, identity: ClientIdentity, snapshot: bytes) -> HomomorphicClient:
        """See `aggregation.Scheme.resume_client`. The identity's record decides what may still leave (R10)."""
        with no_other_error():
            owner, kind, *sections = map(bytes, parse_snapshot(Party.CLIENT, snapshot))
            if owner != identity.id.to_bytes(4, "big"):
                raise PersistenceError("P3", f"a snapshot of another client than {identity.id}")
            client = cls(parameters, identity)
            if kind == _CLOSED:
                rule, reason = sections
                client._state = Closed(rule.decode(), reason.decode())
                return client
            if kind not in (_OPENING, _HOLDING) or len(sections[0]) != KEY_BYTES:
                raise ValueError
            if kind == _HOLDING:
                round_secret, offer, recipients = sections
                client._state = Holding.taken_up(parameters, identity, round_secret, offer, unpack_ids(recipients))
                return client
            round_secret, *requests = sections
            client._state = New(parameters, identity, round_secret)
            for request in requests:
                replay(client, request)
            return client
