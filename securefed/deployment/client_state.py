"""What a client keeps between two messages, and the state that lives as long as its process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from securefed.crypto.hashing import digest
from securefed.crypto.kdf import KEY_BYTES
from securefed.errors import PersistenceError
from securefed.participation import MemoryRecord, Record

__all__ = ["ClientState", "MemoryState"]


class ClientState(Protocol):
    """One client's. All but `lock` is called with the lock held."""

    @property
    def durable(self) -> bool:
        """Whether it outlives the machine's restart."""
        ...

    @property
    def record(self) -> Record:
        """What the client has given, over all jobs."""
        ...

    @property
    def rounding_key(self) -> bytes:
        """32 bytes, made once (`ClientIdentity.rounding_key`)."""
        ...

    def sessions(self) -> bytes | None:
        """What was stored last; None where there is nothing, or it was destroyed."""
        ...

    def answered(self, request: bytes) -> bytes | None:
        """The answer that was stored with this very request (by its digest), if that was the last one."""
        ...

    def store(self, sessions: bytes, request: bytes, answer: bytes | None) -> None:
        """Keep all three in one step; durable when this returns, and before the answer leaves.

        Args:
            sessions: of the client, after the request.
            request: the last one.
            answer: None where it was refused.
        """
        ...

    def destroy(self) -> None:
        """Forget sessions and answer. Record and rounding key stay."""
        ...

    def lock(self, *, wait: bool = True) -> AbstractContextManager[None]:
        """While inside, no other thread or process works with this state.

        Raises:
            PersistenceError: P5, where another does and `wait` is false.
        """
        ...


class MemoryState:
    """A client's state for as long as this object lives: a restarted client knows nothing of what it gave.

    So it takes part in no round against a malicious server (`Participant`), which could restart it and ask again.
    """

    durable = False

    def __init__(self) -> None:
        self.record: Record = MemoryRecord()
        self.rounding_key = os.urandom(KEY_BYTES)
        self._sessions: bytes | None = None
        self._last: tuple[bytes, bytes | None] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"MemoryState(sessions={self._sessions is not None})"

    def sessions(self) -> bytes | None:
        """See `ClientState`."""
        return self._sessions

    def answered(self, request: bytes) -> bytes | None:
        """See `ClientState`."""
        return self._last[1] if self._last is not None and self._last[0] == digest(request) else None

    def store(self, sessions: bytes, request: bytes, answer: bytes | None) -> None:
        """See `ClientState`."""
        self._sessions, self._last = sessions, (digest(request), answer)

    def destroy(self) -> None:
        """See `ClientState`."""
        self._sessions = self._last = None

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """See `ClientState`."""
        if not self._lock.acquire(blocking=wait):
            raise PersistenceError("P5", "another thread works with this client's state")
        try:
            yield
        finally:
            self._lock.release()
