"""Writing and reading the one large message: ring words packed to their bits behind a header."""

from __future__ import annotations

import io
from collections.abc import Iterable

from securefed.encoding.lanes import Words, pack_bits, packed_length, unpack_bits
from securefed.wire.messages import Expected, Input

__all__ = ["read_words", "write_words"]


def write_words(context: Expected, pieces: Iterable[Words], words: int, ring_bits: int) -> bytes:
    """An INPUT message from pieces of ring words; memory beyond the message: one piece.

    Args:
        pieces: in order, all but the last a multiple of 64 words long; `words` in all.
    """
    # getvalue hands over the buffer itself: the message exists once.
    out = io.BytesIO()
    out.write(Input.header(context, packed_length(words, ring_bits)))
    for piece in pieces:
        out.write(pack_bits(piece, ring_bits).data)
    return out.getvalue()


def read_words(message: bytes, expected: Expected, words: int, ring_bits: int) -> Words:
    """The ring words of an INPUT message.

    Raises:
        RemoteProtocolError: W, R1, R2 and R4 rules, W13 for bits beyond the last word.
    """
    packed = Input.decode(message, expected, packed_length(words, ring_bits)).words
    return unpack_bits(packed, words, ring_bits)
