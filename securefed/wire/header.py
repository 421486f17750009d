"""The 64 bytes in front of every message."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from securefed.errors import RemoteProtocolError

__all__ = ["HEADER_BYTES", "SERVER", "VERSION", "Header", "MessageType", "Suite"]

HEADER_BYTES: Final = 64
SERVER: Final = 0
"""The sender id of the server; clients have 1 … 2^32 − 1."""
VERSION: Final = 2

_MAGIC: Final = b"SFED"
_FORMAT: Final = struct.Struct(">4sBBH32sIIQQ")


class MessageType(IntEnum):
    """What a body holds."""

    OFFER = 1
    ADVERTISEMENT = 2
    ROSTER = 3
    SHARES = 4
    DELIVERY = 5
    INPUT = 6
    SURVIVORS = 7
    RELEASE = 8
    CONSENT = 9
    AGREEMENT = 10
    EXCHANGE_KEY = 11
    EXCHANGE_KEYS = 12
    SEALED_KEYS = 13
    SEALED_KEY = 14
    CIPHERTEXTS = 15
    CIPHERTEXT_SUM = 16
    OPENED = 17
    NAMED_DELIVERY = 18


class Suite(IntEnum):
    """Which scheme with which primitives."""

    PLAIN_INTEGERS = 0x00
    PAIRWISE_MASKS = 0x01
    BFV = 0x10
    BFV_2048 = 0x11
    CKKS = 0x20
    CKKS_COMPACT = 0x21
    PLAIN_FLOATS = 0xFF


_TYPES: Final = {kind.value: kind for kind in MessageType}


@dataclass(frozen=True)
class Header:
    """All fields but the constant ones (magic, version, reserved)."""

    type: MessageType
    suite: int
    session: bytes
    round: int
    sender: int
    count: int

    def pack(self) -> bytes:
        """64 bytes."""
        return _FORMAT.pack(
            _MAGIC, VERSION, self.type, self.suite, self.session, self.round, self.sender, self.count, 0
        )

    @classmethod
    def parse(cls, message: bytes | memoryview) -> Header:
        """The header, as far as it makes sense alone.

        Raises:
            RemoteProtocolError: W1, W2, W3, W4 or W6.
        """
        if len(message) < HEADER_BYTES:
            raise RemoteProtocolError("W1", f"a message of {len(message)} bytes is shorter than its header")
        magic, version, kind, suite, session, round_, sender, count, reserved = _FORMAT.unpack_from(message)
        if magic != _MAGIC:
            raise RemoteProtocolError("W2", "not a securefed message")
        if version != VERSION:
            raise RemoteProtocolError("W3", f"wire version {version}, this side speaks {VERSION}")
        if kind not in _TYPES:
            raise RemoteProtocolError("W4", f"message type {kind} does not exist")
        if reserved:
            raise RemoteProtocolError("W6", "reserved bytes are not zero")
        return cls(_TYPES[kind], suite, session, round_, sender, count)
