"""Every session that was ever begun, written down before its first message leaves.

A mask is used twice only where a session is. A session's name holds 32 fresh random bytes, so a repeated one means that
an old specification or an old state was taken up again; the journal turns that into an error, also over restarts.
"""

from __future__ import annotations

import json
from pathlib import Path

from securefed.errors import LocalProtocolError
from securefed.federated.files import append_line, read_entries

__all__ = ["Journal"]


class Journal:
    """An append-only file of sessions: one JSON object a line, `round` and `session` (hex).

    Args:
        path: of the file; made with the first session.

    Raises:
        PersistenceError: P1, where a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        entries = read_entries(path, ("round", "session"), "start a new run")
        self._sessions = {str(entry["session"]) for entry in entries}

    def begin(self, round_number: int, session: bytes) -> None:
        """Write a session down; it is on disk when this returns.

        Raises:
            LocalProtocolError: R10, where it is there already.
        """
        name = session.hex()
        if name in self._sessions:
            raise LocalProtocolError("R10", "this session was begun before: its masks would be used twice")
        append_line(self._path, json.dumps({"round": round_number, "session": name}))
        self._sessions.add(name)

    def __len__(self) -> int:
        return len(self._sessions)
