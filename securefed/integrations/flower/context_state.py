"""A client's state in Flower's own context, for nodes whose owner gave them no client file."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from flwr.app import ConfigRecord, RecordDict

from securefed.crypto.kdf import KEY_BYTES
from securefed.errors import LocalProtocolError
from securefed.participation import INPUT

__all__ = ["ContextState"]

_NAME: Final = "securefed"
_CLAIMS_KEPT: Final = 64
"""Latest steps that are remembered: of older sessions a client keeps nothing that could be asked for again."""


class ContextState:
    """Sessions, record and rounding key in the record `securefed` of `Context.state`.

    Flower hands a context on from message to message of one run, also between processes. It lives in the memory of the
    node alone and ends with the run: after a restart of the node the client knows nothing of what it gave. So it is not
    durable, and takes part in no round against a malicious server. The last answer is not kept: within a run no request
    comes twice.

    Args:
        records: `Context.state`; the node's alone, Flower sends it nowhere.
    """

    durable = False

    def __init__(self, records: RecordDict) -> None:
        self._records = records
        self.record = _ContextRecord(self)

    def __repr__(self) -> str:
        return f"ContextState(sessions={self.sessions() is not None})"

    @property
    def rounding_key(self) -> bytes:
        """See `ClientState`."""
        key = self.kept().get("rounding-key")
        if not isinstance(key, bytes):
            key = os.urandom(KEY_BYTES)
            self.keep("rounding-key", key)
        return key

    def kept(self) -> ConfigRecord:
        """The record, as it is."""
        if _NAME not in self._records:
            self._records[_NAME] = ConfigRecord()
        record = self._records[_NAME]
        assert isinstance(record, ConfigRecord)  # noqa: S101 - the name is ours
        return record

    def keep(self, key: str, value: Any) -> None:
        """Write one value of the record."""
        self.kept()[key] = value

    def sessions(self) -> bytes | None:
        """See `ClientState`."""
        found = self.kept().get("sessions")
        return found if isinstance(found, bytes) else None

    def answered(self, request: bytes) -> bytes | None:
        """See `ClientState`: never known."""
        return None

    def store(self, sessions: bytes, request: bytes, answer: bytes | None) -> None:
        """See `ClientState`."""
        self.keep("sessions", sessions)

    def destroy(self) -> None:
        """See `ClientState`."""
        self.kept().pop("sessions", None)

    def lock(self, *, wait: bool = True) -> AbstractContextManager[Any]:
        """See `ClientState`: nothing. Each process has a context of its own from Flower: there is none to share."""
        return nullcontext()


class _ContextRecord:
    """See `participation.Record`."""

    def __init__(self, state: ContextState) -> None:
        self._state = state

    @property
    def last_round(self) -> int:
        """See `Record`."""
        found = self._state.kept().get("last-round", -1)
        return found if isinstance(found, int) else -1

    def claim(self, step: str, round_number: int, session: bytes) -> None:
        """See `Record`."""
        if [step, session.hex()] in self._claims() or (step == INPUT and round_number <= self.last_round):
            raise LocalProtocolError("R10", f"the record holds this session's {step}, or an input for a later round")
        self._state.keep("claims", json.dumps([*self._claims(), [step, session.hex()]][-_CLAIMS_KEPT:]))
        if step == INPUT:
            self._state.keep("last-round", round_number)

    def _claims(self) -> list[Any]:
        text = self._state.kept().get("claims", "[]")
        claims: list[Any] = json.loads(text) if isinstance(text, str) else []
        return claims
