"""The bytes of a stored session state: sections behind a header, a digest at the end. It holds secrets."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

from securefed.crypto.hashing import DIGEST_BYTES, digest
from securefed.errors import LocalProtocolError, PersistenceError, RemoteProtocolError

__all__ = ["Party", "no_other_error", "pack_ids", "pack_snapshot", "parse_snapshot", "unpack_ids"]

_MAGIC: Final = b"SFSN"
_VERSION: Final = 3
_HEADER: Final = struct.Struct(">4sBBHI")
_LENGTH: Final = struct.Struct(">Q")
_ID_BYTES: Final = 4


class Party(IntEnum):
    """Whose state it is."""

    CLIENT = 1
    SERVER = 2
    CLIENT_CHAIN = 3
    SERVER_CHAIN = 4


@contextmanager
def no_other_error() -> Iterator[None]:
    """While inside, a stored state is read: whatever does not fit is a damaged state.

    Raises:
        PersistenceError: P1, or what is raised inside with its rule.
        LocalProtocolError: R10 alone, which is the record's.
    """
    try:
        yield
    except (RemoteProtocolError, LocalProtocolError, ValueError, IndexError, OverflowError, struct.error) as error:
        if isinstance(error, LocalProtocolError) and error.rule == "R10":
            raise
        raise PersistenceError("P1", "the snapshot does not hold together: give the round up") from None


def pack_snapshot(party: Party, sections: Sequence[bytes | memoryview]) -> bytes:
    """Header, each section behind its length, SHA-256 of all: it finds damage and authenticates nothing."""
    parts: list[bytes | memoryview] = [_HEADER.pack(_MAGIC, _VERSION, party, 0, len(sections))]
    for section in sections:
        parts += [_LENGTH.pack(len(section)), section]
    return b"".join((*parts, digest(*parts)))


def parse_snapshot(party: Party, raw: bytes) -> list[memoryview]:
    """The sections.

    Raises:
        PersistenceError: P1 damaged, P2 another version, P3 another party's.
    """
    if len(raw) < _HEADER.size + DIGEST_BYTES or raw[:4] != _MAGIC:
        raise PersistenceError("P1", "not a snapshot of a session, or a damaged one: give the round up")
    body = memoryview(raw)[:-DIGEST_BYTES]
    if digest(body) != raw[-DIGEST_BYTES:]:
        raise PersistenceError("P1", "the snapshot is damaged (its digest does not fit): give the round up")
    _, version, of, _, count = _HEADER.unpack_from(body)
    if version != _VERSION:
        raise PersistenceError("P2", f"a snapshot of version {version}, this program reads {_VERSION}")
    if of != party:
        raise PersistenceError("P3", "a snapshot of the other party")
    sections, at = [], _HEADER.size
    with no_other_error():
        for _section in range(count):
            (length,) = _LENGTH.unpack_from(body, at)
            sections.append(body[at + _LENGTH.size : at + _LENGTH.size + length])
            at += _LENGTH.size + length
        if at != len(body):
            raise ValueError
    return sections


def pack_ids(clients: Iterable[int]) -> bytes:
    """Client ids as a section: 4 bytes each, ascending."""
    return b"".join(client.to_bytes(_ID_BYTES, "big") for client in sorted(clients))


def unpack_ids(section: bytes | memoryview) -> frozenset[int]:
    """What was packed.

    Raises:
        PersistenceError: P1.
    """
    if len(section) % _ID_BYTES:
        raise PersistenceError("P1", "the snapshot's list of clients is damaged")
    return frozenset(
        int.from_bytes(section[at : at + _ID_BYTES], "big") for at in range(0, len(section), _ID_BYTES)
    )  # fmt: skip
