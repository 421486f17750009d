"""Two messages in one exchange: what the present round needs, and behind its back the next round's set-up.

Layout: magic "SFBN" ‖ version (u8) ‖ three zero bytes ‖ length of the rider (u64, big-endian) ‖ rider ‖ main message.
A single message travels as it is: its magic is another one.
"""

from __future__ import annotations

import struct
from typing import Final

from securefed.errors import RemoteProtocolError

__all__ = ["BUNDLE_HEADER_BYTES", "bundle_header", "is_bundle", "pack_bundle", "parse_bundle"]

_MAGIC: Final = b"SFBN"
_VERSION: Final = 1
_FORMAT: Final = struct.Struct(">4sB3sQ")
BUNDLE_HEADER_BYTES: Final = _FORMAT.size


def is_bundle(message: bytes | memoryview) -> bool:
    """Whether these bytes say that they are a bundle."""
    return bytes(message[: len(_MAGIC)]) == _MAGIC


def bundle_header(rider: bytes) -> bytes:
    """What stands before the main message: the header and the rider, which may be empty in an answer."""
    return _FORMAT.pack(_MAGIC, _VERSION, bytes(3), len(rider)) + rider


def pack_bundle(rider: bytes, main: bytes) -> bytes:
    """Both messages as one."""
    return bundle_header(rider) + main


def parse_bundle(message: bytes) -> tuple[bytes, memoryview]:
    """Rider and main message; the rider is empty where its request was refused.

    Raises:
        RemoteProtocolError: W16, where it is cut, of another version, or without a main message.
    """
    if len(message) < _FORMAT.size:
        raise RemoteProtocolError("W16", f"a bundle of {len(message)} bytes is shorter than its header")
    magic, version, zero, length = _FORMAT.unpack_from(message)
    if magic != _MAGIC or version != _VERSION or any(zero):
        raise RemoteProtocolError("W16", "not a bundle of this version")
    if length >= len(message) - _FORMAT.size:
        raise RemoteProtocolError("W16", "a bundle without its main message")
    body = memoryview(message)[_FORMAT.size :]
    return bytes(body[:length]), body[length:]
