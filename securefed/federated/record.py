"""What a client has given, in a file: a state from an older copy cannot give it again."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from securefed.errors import LocalProtocolError, PersistenceError
from securefed.federated.files import append_line, read_entries
from securefed.participation import MemoryRecord

__all__ = ["FileRecord"]


class FileRecord:
    """An append-only file of steps: one JSON object a line, `step`, `round` and `session` (hex).

    It protects against a session that is taken up from an older snapshot, as long as this file itself is the latest:
    keep it on a disk that is never rolled back, and apart from the snapshots. Processes may share it: the file is read
    again under a lock before each claim.

    Args:
        path: of the file; made with the first step.

    Raises:
        PersistenceError: P1, where a line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read()

    @property
    def last_round(self) -> int:
        """See `participation.Record`."""
        return self._read().last_round

    def claim(self, step: str, round_number: int, session: bytes) -> None:
        """See `participation.Record`; on disk when this returns.

        Raises:
            LocalProtocolError: R10.
            PersistenceError: P4, where the disk does not take it: the step must not leave then.
        """
        try:
            with self._lock():
                self._read().claim(step, round_number, session)
                append_line(self._path, json.dumps({"step": step, "round": round_number, "session": session.hex()}))
        except OSError as error:
            raise PersistenceError("P4", f"{self._path} could not be written ({error.strerror})") from None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with self._path.with_name(f"{self._path.name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read(self) -> MemoryRecord:
        damaged = "without its record a client must not go on"
        record = MemoryRecord()
        for entry in read_entries(self._path, ("step", "round", "session"), damaged):
            try:
                record.claim(str(entry["step"]), int(entry["round"]), bytes.fromhex(entry["session"]))
            except (TypeError, ValueError, OverflowError, LocalProtocolError):
                raise PersistenceError("P1", f"{self._path} says something twice or not at all; {damaged}") from None
        return record
