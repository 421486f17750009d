"""A client's side of one masked round: four or five requests, as many answers, no way back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from securefed.aggregation import Update
from securefed.crypto.kdf import KEY_BYTES
from securefed.errors import PersistenceError, RemoteProtocolError
from securefed.participation import ClientIdentity
from securefed.secagg.client_input import Shared
from securefed.secagg.client_opening import Advertised, New
from securefed.secagg.client_release import Closed, Consented, Masked
from securefed.secagg.snapshot import pack_held, parse_held
from securefed.secagg.stages import expected_from
from securefed.sessions import replay
from securefed.wire.header import SERVER
from securefed.wire.snapshot import Party, no_other_error, pack_snapshot, parse_snapshot
from securefed.wire.vector_writer import iter_words

__all__ = ["MaskingClient"]

_OPENING, _HOLDING, _CLOSED = b"opening", b"holding", b"closed"


class MaskingClient:
    """State machine of one client in one round (`protocols/pairwise_masking/README.md`).

    Args:
        identity: who this client is and what it demands.
        round_secret: 32 bytes, for tests alone. By default fresh from the operating system, which is what makes
            every mask of this session new.
    """

    def __init__(self, identity: ClientIdentity, *, round_secret: bytes | None = None) -> None:
        self._identity = identity
        # All secrets are in the state, and gone with it.
        self._stage: New | Advertised | Shared | Masked | Consented | Closed = New(
            identity, round_secret or os.urandom(KEY_BYTES)
        )

    def __repr__(self) -> str:
        return f"MaskingClient(id={self._identity.id}, stage={type(self._stage).__name__})"

    def reply(self, request: bytes, update: Callable[[], Update]) -> bytes:
        """See `aggregation.ClientSession.reply`. Whatever is raised, this session answers nothing afterwards."""
        stage = self._leave()
        try:
            answer, after = stage.answer(request, update)
        except RemoteProtocolError as error:
            raise error.blame(SERVER) from None
        self._stage = after
        return answer

    def reply_in_pieces(self, request: bytes, update: Callable[[], Update]) -> Iterator[bytes | memoryview]:
        """As `reply`, the answer in pieces: an input of billions of parameters is never whole in memory.

        The checks and the training are done with the first piece. A caller that stops before the last piece has left
        the round: the record holds the input, and no masks are made again.
        """
        stage = self._leave()
        if not isinstance(stage, Shared):
            self._stage = stage
            yield self.reply(request, update)
            return
        try:
            words, attestation, after = stage.masked(request, update)
        except RemoteProtocolError as error:
            raise error.blame(SERVER) from None
        spec = stage.spec
        context, ring_bits = expected_from(spec, self._identity.id), spec.numbers.lanes.ring_bits
        yield from iter_words(context, words, spec.words, ring_bits, attestation)
        self._stage = after

    def _leave(self) -> New | Advertised | Shared | Masked | Consented | Closed:
        """The state, which this session is not in any more.

        Closed before the first byte is read: there is no path on which an error leaves the old state behind, so a
        session cannot be brought to mask or release twice.
        """
        stage = self._stage
        self._stage = (
            stage if isinstance(stage, Closed) else Closed("this client has left the round after an error", "R5")
        )
        return stage

    def snapshot(self) -> bytes:
        """See `aggregation.ClientSession.snapshot`: before the input the round secret and the messages received; after
        it what is held of others; nothing once the shares are released."""
        match self._stage:
            case Closed(reason, rule):
                sections = [_CLOSED, rule.encode(), reason.encode()]
            case Masked(held):
                sections = [_HOLDING, *pack_held(held, None)]
            case Consented(held, survived):
                sections = [_HOLDING, *pack_held(held, survived)]
            case New(_, round_secret):
                sections = [_OPENING, round_secret]
            case Advertised() | Shared():
                sections = [_OPENING, *self._stage.came_from]
        return pack_snapshot(Party.CLIENT, [self._identity.id.to_bytes(4, "big"), *sections])

    @classmethod
    def resume(cls, identity: ClientIdentity, snapshot: bytes) -> MaskingClient:
        """See `aggregation.Scheme.resume_client`. The identity's record decides what may still leave (R10)."""
        with no_other_error():
            owner, kind, *sections = map(bytes, parse_snapshot(Party.CLIENT, snapshot))
            if owner != identity.id.to_bytes(4, "big"):
                raise PersistenceError("P3", f"a snapshot of another client than {identity.id}")
            client = cls(identity)
            if kind == _OPENING:
                round_secret, *requests = sections
                if len(round_secret) != KEY_BYTES:
                    raise ValueError
                client._stage = New(identity, round_secret)
                for request in requests:
                    replay(client, request)
            elif kind == _HOLDING:
                held, survived = parse_held(identity, sections)
                client._stage = Masked(held) if survived is None else Consented(held, survived)
            else:
                rule, reason = sections
                client._stage = Closed(reason.decode(), rule.decode())
            return client
