"""What a client has given, in a file: a state from an older copy cannot give it again."""

from __future__ import annotations

import json
from pathlib import Path

from securefed.errors import PersistenceError
from securefed.federated.files import append_line, is_torn
from securefed.participation import MemoryRecord

__all__ = ["FileRecord"]


class FileRecord(MemoryRecord):
    """An append-only file of steps: one JSON object a line, `step`, `round` and `session` (hex).

    It protects against a session that is taken up from an older snapshot, as long as this file itself is the latest:
    keep it on a disk that is never rolled back, and apart from the snapshots.

    Args:
        path: of the file; made with the first step.

    Raises:
        PersistenceError: P1, where a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        lines = path.read_text().split("\n") if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                if line:
                    entry = json.loads(line)
                    super().claim(str(entry["step"]), int(entry["round"]), bytes.fromhex(entry["session"]))
            except (ValueError, KeyError, TypeError):
                # A crash in mid-write leaves a torn line: nothing had left the client under it.
                if not is_torn(line, '{"step": '):
                    raise PersistenceError(
                        "P1", f"{path}: line {number} is damaged; without its record a client must not go on"
                    ) from None

    def claim(self, step: str, round_number: int, session: bytes) -> None:
        """See `participation.Record`; on disk when this returns.

        Raises:
            LocalProtocolError: R10.
            PersistenceError: P4, where the disk does not take it: the step must not leave then.
        """
        super().claim(step, round_number, session)
        try:
            append_line(self._path, json.dumps({"step": step, "round": round_number, "session": session.hex()}))
        except OSError as error:
            raise PersistenceError("P4", f"{self._path} could not be written ({error.strerror})") from None
