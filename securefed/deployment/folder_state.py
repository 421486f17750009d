"""A client's state in a folder of its own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from securefed.crypto.hashing import digest
from securefed.crypto.kdf import KEY_BYTES
from securefed.deployment.stored_file import PRIVATE, on_disk, read_stored, write_stored
from securefed.errors import ConfigError, PersistenceError
from securefed.federated.files import replace, sync_folder
from securefed.federated.record import FileRecord

__all__ = ["FolderState"]

_KIND: Final = "client sessions"
_OWN_FOLDER: Final = 0o700
_OTHERS: Final = 0o077
_DAMAGED: Final = "delete it and the client is out of the present round, and in the next one again"


class FolderState:
    """Record, rounding key, sessions and the last answer of one client; see `ClientState`.

    The sessions hold secrets: the folder is its owner's alone (0700, files 0600). What was stored last takes the older
    state's name; the place on the disk where the older one lay may still hold it: only an encrypted disk makes what is
    deleted unreadable.

    A folder that is rolled back to an older copy is found out by the record alone (R10, R11), and so only where the
    record is the newer one: where all of the folder is rolled back (a restored virtual machine) nothing in it can tell.
    Keep it out of snapshots and backups.

    Args:
        folder: made with the first use; an own one for each client.

    Raises:
        ConfigError: `state`, where others may read it, or it cannot be made.
        PersistenceError: P1, a damaged file; P4, where the disk does not do it.
    """

    durable = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _make_private(folder)
        self._state = folder / "sessions.bin"
        with on_disk(folder):
            record = folder / "record.jsonl"
            for path in (record, folder / "record.jsonl.lock", folder / "lock"):
                os.close(os.open(path, os.O_CREAT | os.O_RDONLY, PRIVATE))
            sync_folder(folder)
        self.record = FileRecord(record)

    def __repr__(self) -> str:
        return f"FolderState({str(self.folder)!r})"

    @property
    def rounding_key(self) -> bytes:
        """See `ClientState`."""
        path = self.folder / "rounding.key"
        with on_disk(path):
            if not path.exists():
                replace(path, os.urandom(KEY_BYTES), mode=PRIVATE)
            key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise PersistenceError("P1", f"{path} is damaged: delete it between two rounds, and another one is made")
        return key

    def sessions(self) -> bytes | None:
        """See `ClientState`."""
        stored = read_stored(self._state, _KIND, _DAMAGED)
        return stored[1] if stored is not None else None

    def answered(self, request: bytes) -> bytes | None:
        """See `ClientState`."""
        stored = read_stored(self._state, _KIND, _DAMAGED)
        if stored is None or stored[0].get("request") != digest(request).hex() or stored[0].get("answer") is None:
            return None
        path = self._answer_path(request)
        try:
            answer = path.read_bytes()
        except OSError as error:
            raise PersistenceError("P1", f"{path} cannot be read ({error.strerror}): {self._without_answer}") from None
        if digest(answer).hex() != stored[0]["answer"]:
            raise PersistenceError("P1", f"{path} is damaged: {self._without_answer}")
        return answer

    @property
    def _without_answer(self) -> str:
        return f"without it this request cannot be answered again; delete {self._state.name} too to go on with the next"

    def _answer_path(self, request: bytes) -> Path:
        return self.folder / f"answer-{digest(request).hex()}.bin"

    def store(self, sessions: bytes, request: bytes, answer: bytes | None) -> None:
        """See `ClientState`. The answer lies beside: it may be large, and is whole before the sessions name it."""
        head: dict[str, str | None] = {"request": digest(request).hex(), "answer": None}
        path = self._answer_path(request)
        if answer is not None:
            head["answer"] = digest(answer).hex()
            with on_disk(path):
                replace(path, answer, mode=PRIVATE)
        write_stored(self._state, _KIND, head, sessions)
        self._forget_answers(path if answer is not None else None)

    def _forget_answers(self, kept: Path | None) -> None:
        with on_disk(self.folder):
            for path in self.folder.glob("answer-*.bin"):
                if path != kept:
                    path.unlink(missing_ok=True)

    def destroy(self) -> None:
        """See `ClientState`."""
        with on_disk(self.folder):
            self._state.unlink(missing_ok=True)
        self._forget_answers(None)
        with on_disk(self.folder):
            sync_folder(self.folder)

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """See `ClientState`."""
        with on_disk(self.folder):
            handle = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR, PRIVATE)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except OSError:
                raise PersistenceError(
                    "P5", f"{self.folder} is another process's at the moment: wait until that has answered"
                ) from None
            # What a crash in the middle of a write has left holds secrets too.
            for torn in self.folder.glob(".*.new"):
                with suppress(OSError):
                    torn.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(_OWN_FOLDER, parents=True, exist_ok=True)
        if folder.stat().st_mode & _OTHERS and not any(folder.iterdir()):
            folder.chmod(_OWN_FOLDER)
        mode = folder.stat().st_mode
    except OSError as error:
        raise ConfigError("state", f"no state can be kept in {folder} ({error.strerror})") from None
    if mode & _OTHERS:
        raise ConfigError("state", f"others may read {folder}, which holds secrets: chmod 700 {folder}")
