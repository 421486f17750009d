"""A file of a head and a body, replaced in one step: a digest finds damage, its owner alone reads it, no pickle.

Layout: magic (8 bytes) ‖ SHA-256 of all that follows (32) ‖ length of the head (u32, big-endian) ‖ head (JSON) ‖ body.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from securefed.crypto.hashing import DIGEST_BYTES, digest
from securefed.errors import PersistenceError
from securefed.federated.files import replace

__all__ = ["PRIVATE", "on_disk", "read_stored", "write_stored"]

PRIVATE: Final = 0o600
_MAGIC: Final = b"SFEDKEPT"
_VERSION: Final = 1
_LENGTH_BYTES: Final = 4


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """While inside, files are read and written.

    Raises:
        PersistenceError: P4, where the disk does not do it.
    """
    try:
        yield
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise PersistenceError(
            "P4", f"{path}: {problem}; nothing has left since the last state that is stored: see to the disk, try again"
        ) from None


def write_stored(path: Path, kind: str, head: Mapping[str, Any], body: bytes) -> None:
    """Write it in one step; on disk when this returns.

    Args:
        kind: what the file holds; only a reader that asks for it reads it.

    Raises:
        PersistenceError: P4; the old file is whole.
    """
    packed = json.dumps({"kind": kind, "version": _VERSION, **head}).encode()
    length = len(packed).to_bytes(_LENGTH_BYTES, "big")
    with on_disk(path):
        replace(path, _MAGIC + digest(length, packed, body) + length + packed, body, mode=PRIVATE)


def read_stored(path: Path, kind: str, what_to_do: str) -> tuple[dict[str, Any], bytes] | None:
    """Head and body; None where there is no file.

    Args:
        what_to_do: for the error's text.

    Raises:
        PersistenceError: P1 damaged, P2 another version, P3 of another kind, P4 not to be read.
    """
    try:
        with on_disk(path):
            raw = path.read_bytes()
    except PersistenceError:
        if path.exists():
            raise
        return None
    start = len(_MAGIC) + DIGEST_BYTES
    checked = memoryview(raw)[start:]
    if raw[: len(_MAGIC)] != _MAGIC or digest(checked) != raw[len(_MAGIC) : start]:
        raise PersistenceError("P1", f"{path} is damaged: {what_to_do}")
    at = _LENGTH_BYTES + int.from_bytes(checked[:_LENGTH_BYTES], "big")
    try:
        head = json.loads(bytes(checked[_LENGTH_BYTES:at]))
        if not isinstance(head, dict):
            raise TypeError
        version, found = head["version"], head["kind"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PersistenceError("P1", f"{path} is whole, but nothing that this program wrote: {what_to_do}") from None
    if version != _VERSION:
        raise PersistenceError("P2", f"{path} has another version than {_VERSION}, which this program reads")
    if found != kind:
        raise PersistenceError("P3", f"{path} holds {found!r}, not {kind!r}: {what_to_do}")
    return head, bytes(checked[at:])
