"""A client's side of one masked round: four requests, four answers, no way back."""

from __future__ import annotations

import os
from collections.abc import Callable

from securefed.aggregation import ClientIdentity, Update
from securefed.crypto.kdf import KEY_BYTES
from securefed.errors import RemoteProtocolError
from securefed.secagg.client_stages import ClientStage, Closed, New
from securefed.wire.header import SERVER

__all__ = ["MaskingClient"]


class MaskingClient:
    """State machine of one client in one round (`protocols/pairwise_masking/README.md`).

    Args:
        identity: who this client is and what it demands.
        round_secret: 32 bytes, for tests alone. By default fresh from the operating system, which is what makes
            every mask of this session new.
    """

    def __init__(self, identity: ClientIdentity, *, round_secret: bytes | None = None) -> None:
        self._id = identity.id
        self._stage: ClientStage = New(identity, round_secret or os.urandom(KEY_BYTES))

    def __repr__(self) -> str:
        return f"MaskingClient(id={self._id}, stage={type(self._stage).__name__})"

    def reply(self, request: bytes, update: Callable[[], Update]) -> bytes:
        """See `aggregation.ClientSession.reply`. Whatever is raised, this session answers nothing afterwards."""
        # Closed before the first byte is read: there is no path on which an error leaves the old state behind,
        # so a session cannot be brought to mask or release twice.
        stage, self._stage = self._stage, Closed("this client has left the round after an error", "R5")
        try:
            if isinstance(stage, Closed):
                self._stage = stage
            answer, self._stage = stage.answer(request, update)
        except RemoteProtocolError as error:
            raise error.blame(SERVER) from None
        return answer
