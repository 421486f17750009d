"""Writing and reading the one large message, whole or in pieces: ring words packed to their bits behind a header."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.encoding.lanes import Words, pack_bits, packed_length, unpack_bits
from securefed.errors import RemoteProtocolError
from securefed.wire.frame import Expected
from securefed.wire.from_client import Input
from securefed.wire.header import HEADER_BYTES, MessageType

__all__ = ["WordsReader", "iter_words", "read_words", "write_words"]

_ALIGNED_WORDS: Final = 64
"""So many ring words fill whole packed words, whatever the ring."""
_GROUP_WORDS: Final = 2**16
"""Ring words that are unpacked at a time: half a megabyte."""


def iter_words(
    context: Expected, pieces: Iterable[Words], words: int, ring_bits: int, attestation: bytes = b""
) -> Iterator[bytes | memoryview]:
    """An INPUT message in pieces: the header with its attestation, then the packed words of each piece.

    Memory: one piece, however long the message is.

    Args:
        pieces: in order, all but the last a multiple of 64 words long; `words` in all.
        attestation: 64 bytes, or nothing.

    Raises:
        ValueError: pieces that are not so. Where the header has gone out, what follows it is no message.
    """
    yield Input.header(context, packed_length(words, ring_bits), attestation)
    done = 0
    for piece in pieces:
        if done % _ALIGNED_WORDS or done + len(piece) > words:
            raise ValueError(f"a piece of {len(piece)} ring words behind {done}, {words} in all")
        done += len(piece)
        yield pack_bits(piece, ring_bits).view(np.uint8).data
    if done != words:
        raise ValueError(f"the pieces have {done} ring words, {words} were announced")


def write_words(
    context: Expected, pieces: Iterable[Words], words: int, ring_bits: int, attestation: bytes = b""
) -> bytes:
    """An INPUT message from pieces of ring words, as `iter_words`; memory beyond the message: one piece."""
    # getvalue hands over the buffer itself: the message exists once.
    out = io.BytesIO()
    for part in iter_words(context, pieces, words, ring_bits, attestation):
        out.write(part)
    return out.getvalue()


def read_words(message: bytes, expected: Expected, words: int, ring_bits: int) -> Words:
    """The ring words of an INPUT message without attestation.

    Raises:
        RemoteProtocolError: W, R1, R2 and R4 rules, W13 for bits beyond the last word.
    """
    packed = Input.decode(message, expected, packed_length(words, ring_bits)).words
    return unpack_bits(packed, words, ring_bits)


class WordsReader:
    """The ring words of an INPUT message that comes in pieces; refuses what is refused of a whole one, by its rules.

    An answer is taken whole or not at all, and words that were added to a sum cannot be taken off again when the rest
    does not come: the bytes are gone. So the words wait in a vector of their own, and none leaves it before `finish`.

    Args:
        words: ring words that were agreed.
        attested: whether an attestation stands before them.
        room: where they wait, uint64, shape [words]; by default a new vector. It can be used again for the next
            message once its words are added up, and may be a mapped file.

    Memory: the room and about two megabytes; of the message itself nothing is kept.
    """

    def __init__(
        self, expected: Expected, words: int, ring_bits: int, *, attested: bool = False, room: Words | None = None
    ) -> None:
        if room is not None and (room.shape != (words,) or room.dtype != np.dtype("<u8")):
            raise ValueError(f"the room must hold {words} words of little-endian uint64")
        self._expected = expected
        self._ring_bits = ring_bits
        self._words = np.empty(words, "<u8") if room is None else room
        self._front = bytearray()  # header and attestation
        self._front_bytes = HEADER_BYTES + (SIGNATURE_BYTES if attested else 0)
        self._agreed = False  # whether the header is there and right
        self._length = 8 * packed_length(words, ring_bits)
        self._received = 0  # bytes behind the front, those that are too many included
        self._group = np.empty(min(self._length, _GROUP_WORDS * ring_bits // 8), np.uint8)
        self._filled = 0  # bytes of the group
        self._done = 0  # ring words

    @property
    def attestation(self) -> bytes:
        """64 bytes as soon as they are there, long before the last word; empty where there are none."""
        return bytes(self._front[HEADER_BYTES:]) if len(self._front) == self._front_bytes else b""

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the message, as many as there are.

        Raises:
            RemoteProtocolError: W, R1, R2 and R4 rules as soon as the header is there, W8 for a byte too many. Every
                later call raises too.
        """
        rest = memoryview(chunk).cast("B")
        missing = self._front_bytes - len(self._front)
        self._front += rest[:missing]
        rest = rest[missing:]
        if not self._agreed and len(self._front) >= HEADER_BYTES:
            self._check_header()
        self._received += len(rest)
        if self._received > self._length:
            self._check_length()
        while rest:
            step = min(len(self._group) - self._filled, len(rest))
            self._group[self._filled : self._filled + step] = rest[:step]
            self._filled += step
            rest = rest[step:]
            # The last words may fill their group's bytes too; they wait for the check of what lies beyond them.
            if self._filled == len(self._group) and self._done + _GROUP_WORDS <= len(self._words):
                self._unpack(_GROUP_WORDS)

    def finish(self, check: Callable[[bytes], None] = lambda _attestation: None) -> Words:
        """The words, once the message has ended.

        Args:
            check: of the attestation; called when the message is known to be whole, before what lies beyond its words.

        Raises:
            RemoteProtocolError: as `feed`, W1 or W8 for a message that is too short, W13 for bits beyond the last word.
        """
        if not self._agreed:
            self._check_header()
        self._check_length()
        check(self.attestation)
        self._unpack(len(self._words) - self._done)
        return self._words

    def _check_header(self) -> None:
        count = self._length // 8
        # What follows is not here yet: its length is checked as it comes.
        header = bytes(self._front[:HEADER_BYTES])
        self._expected.read(MessageType.INPUT, header, exactly=count, item_bytes=0)
        self._agreed = True

    def _check_length(self) -> None:
        received, agreed = len(self._front) + self._received, self._front_bytes + self._length
        if received != agreed:
            raise RemoteProtocolError("W8", f"{received} bytes, {agreed} were agreed")

    def _unpack(self, words: int) -> None:
        packed = self._group[: self._filled].view("<u8")
        self._words[self._done : self._done + words] = unpack_bits(packed, words, self._ring_bits)
        self._done, self._filled = self._done + words, 0
