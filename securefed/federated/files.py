"""Durable writes: after a crash at any moment a file is the old one or the new one, whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from securefed.errors import PersistenceError

__all__ = ["append_line", "read_entries", "replace", "sync_folder"]


def replace(path: Path, *content: bytes, mode: int = 0o666) -> None:
    """Write a file that takes the old one's place in one step, on disk when this returns.

    Args:
        content: its parts, one behind the other.
        mode: permissions, less what the process masks (umask).

    Raises:
        OSError: the old file is still there (disk full, no permission).
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    try:
        beside.touch(mode, exist_ok=False)
        with beside.open("wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, on disk when this returns; a torn last line of an earlier crash is ended first."""
    new = not path.exists()
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def read_entries(path: Path, keys: tuple[str, ...], what_to_do: str) -> list[dict[str, Any]]:
    """The JSON objects of a file that `append_line` wrote, one a line; a torn line of a crash is none of them.

    Args:
        keys: that every object has, in the order in which they are written.
        what_to_do: for the error's text.

    Raises:
        PersistenceError: P1, where a line is damaged otherwise, or lacks a key.
    """
    entries, start = [], f'{{"{keys[0]}": '.encode()
    for number, raw in enumerate(path.read_bytes().split(b"\n") if path.exists() else [], start=1):
        try:
            if raw:
                entry = json.loads(raw)
                if not isinstance(entry, dict) or not entry.keys() >= set(keys):
                    raise TypeError
                entries.append(entry)
        except (ValueError, TypeError, RecursionError):
            # A crash in mid-write leaves a torn line: nothing had left under it. It stays the last one until the next
            # append ends it, so a damaged line with a successor may be one of those too.
            if not start.startswith(raw[: len(start)]) or raw.endswith(b"}"):
                raise PersistenceError("P1", f"{path}: line {number} is damaged; {what_to_do}") from None
    return entries


def sync_folder(folder: Path) -> None:
    """A new name is on disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
