"""Two messages in one exchange: what the present round needs, and behind its back the next round's set-up.

Layout: magic "SFBN" ‖ version (u8) ‖ three zero bytes ‖ length of the rider (u64, big-endian) ‖ rider ‖ main message.
A single message travels as it is: its magic is another one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from securefed.errors import RemoteProtocolError

__all__ = ["BUNDLE_HEADER_BYTES", "bundle_header", "is_bundle", "pack_bundle", "parse_bundle", "split_bundle"]

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
    length = _rider_bytes(message)
    if length >= len(message) - _FORMAT.size:
        raise RemoteProtocolError("W16", "a bundle without its main message")
    body = memoryview(message)[_FORMAT.size :]
    return bytes(body[:length]), body[length:]


def _rider_bytes(message: bytes) -> int:
    if len(message) < _FORMAT.size:
        raise RemoteProtocolError("W16", f"a bundle of {len(message)} bytes is shorter than its header")
    magic, version, zero, length = _FORMAT.unpack_from(message)
    if magic != _MAGIC or version != _VERSION or any(zero):
        raise RemoteProtocolError("W16", "not a bundle of this version")
    return int(length)


def split_bundle(
    chunks: Iterable[bytes | bytearray | memoryview], greatest: int
) -> tuple[bytes, Iterator[bytes | bytearray | memoryview]]:
    """As `parse_bundle`, of a message that comes in pieces: the main message is handed on as it comes.

    A message that is no bundle is a main message without a rider. Memory: the rider, and one chunk.

    Args:
        greatest: bytes of a rider that are waited for, as its length is the sender's word.

    Raises:
        RemoteProtocolError: W16, as `parse_bundle`, or for a rider that is longer than the greatest.
    """
    source = _Source(chunks)
    front = source.take(len(_MAGIC))
    if not is_bundle(front):
        return b"", source.rest(front)
    length = _rider_bytes(front + source.take(_FORMAT.size - len(_MAGIC)))
    if length > greatest:
        raise RemoteProtocolError("W16", f"a rider of {length} bytes, at most {greatest} are awaited")
    rider, first = source.take(length), source.take(1)
    if not first:
        raise RemoteProtocolError("W16", "a bundle without its main message")
    return rider, source.rest(first)


class _Source:
    """Bytes from chunks of any size."""

    def __init__(self, chunks: Iterable[bytes | bytearray | memoryview]) -> None:
        self._chunks = iter(chunks)
        self._left = memoryview(b"")

    def take(self, wanted: int) -> bytes:
        """So many bytes, or as many as there are."""
        taken = bytearray()
        while len(taken) < wanted:
            if not self._left:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._left = memoryview(chunk).cast("B")
            missing = wanted - len(taken)
            taken += self._left[:missing]
            self._left = self._left[missing:]
        return bytes(taken)

    def rest(self, taken: bytes) -> Iterator[bytes | bytearray | memoryview]:
        """What was taken once more, and all behind it."""
        yield taken
        yield self._left
        yield from self._chunks
