"""Durable writes: after a crash at any moment a file is the old one or the new one, whole."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["append_line", "is_torn", "replace"]


def replace(path: Path, content: bytes) -> None:
    """Write a file that takes the old one's place in one step, on disk when this returns.

    Raises:
        OSError: the old file is still there (disk full, no permission).
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(path.parent)


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
        _sync_folder(path.parent)


def is_torn(line: str, start: str) -> bool:
    """Whether this is the front of a JSON object that opens with `start` and was never ended."""
    return start.startswith(line[: len(start)]) and not line.endswith("}")


def _sync_folder(folder: Path) -> None:
    # A new name is on disk when its folder is.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
