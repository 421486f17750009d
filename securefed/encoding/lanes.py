"""Several small integers in one 64-bit word, and ring words cut to their bits.

A lane is wide enough for the sum of the whole cohort, so lanes never carry into each other and one addition of
words adds all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.errors import ConfigError, RemoteProtocolError

__all__ = ["Lanes", "Words", "pack_bits", "packed_length", "unpack_bits"]

Words = npt.NDArray[np.uint64]
_WORD_BITS: Final = 64
_GROUP_WORDS: Final = 2**16
"""Words that are packed at a time: half a megabyte, so that the transposed copy stays in the cache."""


@dataclass(frozen=True)
class Lanes:
    """How the lanes lie in a word for a cohort of `clients` and a greatest lane value of `greatest`.

    Attributes:
        word_bits: of a word: 64 in the ring of `masks`, fewer in the plaintexts of a homomorphic scheme.

    Raises:
        ConfigError: V8, where even one lane a word is too narrow for the sum.
    """

    clients: int
    greatest: int
    word_bits: int = _WORD_BITS

    def __post_init__(self) -> None:
        if self.width > self.word_bits:
            raise ConfigError(
                "aggregation.bits",
                f"[V8] the sum of {self.clients} clients needs {self.width} bits a value, a word has {self.word_bits}: "
                "use fewer bits or a smaller cohort",
            )

    @property
    def width(self) -> int:
        """Bits of a lane (L)."""
        return (self.clients * self.greatest).bit_length()

    @property
    def per_word(self) -> int:
        """Lanes in a word (k)."""
        return self.word_bits // self.width

    @property
    def ring_bits(self) -> int:
        """Words are elements of Z/2^R with this R."""
        return self.width * self.per_word

    @property
    def ring_mask(self) -> np.uint64:
        """All ones in the ring's bits."""
        return np.uint64((1 << self.ring_bits) - 1)

    def words_for(self, lanes: int) -> int:
        """Words that hold so many lanes."""
        return -(-lanes // self.per_word)

    def pack(self, lanes: Words) -> Words:
        """Lane values (uint64, each below 2^width) to words; zero lanes fill the last one up."""
        if self.per_word == 1:
            return lanes.astype("<u8", copy=False)
        words = np.zeros(self.words_for(len(lanes)), "<u8")
        for i in range(self.per_word):
            values = lanes[i :: self.per_word]
            words[: len(values)] |= values << np.uint64(i * self.width)
        return words

    def unpack(self, words: Words) -> Words:
        """Words to lane values: `len(words) * per_word` of them, padding lanes included."""
        lanes = np.empty(len(words) * self.per_word, "<u8")
        mask = np.uint64((1 << self.width) - 1)
        for i in range(self.per_word):
            lanes[i :: self.per_word] = (words >> np.uint64(i * self.width)) & mask
        return lanes


def packed_length(words: int, ring_bits: int) -> int:
    """64-bit words on the wire for so many ring words."""
    return -(-words * ring_bits // _WORD_BITS)


def _period(ring_bits: int) -> int:
    """Ring words after which a word boundary of the packed form is met again."""
    return _WORD_BITS // math.gcd(_WORD_BITS, ring_bits)


def pack_bits(words: Words, ring_bits: int) -> Words:
    """Ring words (bits above the ring are dropped) to their bit string, as little-endian 64-bit words."""
    if ring_bits == _WORD_BITS:
        return words.astype("<u8", copy=False)
    period = _period(ring_bits)
    out = np.empty(packed_length(len(words), ring_bits), "<u8")
    whole, group = len(words) // period * period, _GROUP_WORDS // period * period
    for start in range(0, whole, group):
        rows = words[start : min(start + group, whole)].reshape(-1, period)
        at = start * ring_bits // _WORD_BITS
        _pack_rows(rows, ring_bits, out[at : at + rows.size * ring_bits // _WORD_BITS])
    if whole < len(words):
        last, packed = np.zeros((1, period), "<u8"), np.empty(period * ring_bits // _WORD_BITS, "<u8")
        last[0, : len(words) - whole] = words[whole:]
        _pack_rows(last, ring_bits, packed)
        at = whole * ring_bits // _WORD_BITS
        out[at:] = packed[: len(out) - at]
    return out


def _pack_rows(rows: Words, ring_bits: int, out: Words) -> None:
    """Rows of one period each, to as many rows of packed words, which `out` holds one behind the other."""
    # Columns are laid out one behind the other, so that each shift below is one pass over neighbouring words.
    columns = np.bitwise_and(rows.T, np.uint64((1 << ring_bits) - 1), order="C")
    packed = np.empty((columns.shape[0] * ring_bits // _WORD_BITS, columns.shape[1]), "<u8")
    for at, column in enumerate(columns):
        word, shift = divmod(at * ring_bits, _WORD_BITS)
        if shift + ring_bits > _WORD_BITS:
            np.right_shift(column, np.uint64(_WORD_BITS - shift), out=packed[word + 1])
        if shift == 0:
            packed[word] = column
        else:
            column <<= np.uint64(shift)
            packed[word] |= column
    out.reshape(-1, len(packed))[:] = packed.T


def unpack_bits(packed: Words, words: int, ring_bits: int) -> Words:
    """The `words` ring words of a bit string; the inverse of `pack_bits`.

    Args:
        packed: exactly `packed_length(words, ring_bits)` words.

    Raises:
        RemoteProtocolError: W13, where bits are set beyond the last ring word.
    """
    if len(packed) != packed_length(words, ring_bits):
        raise ValueError(f"{words} ring words do not fill {len(packed)} packed words")
    used = words * ring_bits % _WORD_BITS
    if used and int(packed[-1]) >> used:
        raise RemoteProtocolError("W13", "bits are set beyond the last ring word")
    if ring_bits == _WORD_BITS:
        return packed
    period = _period(ring_bits)
    out = np.empty(words, "<u8")
    whole, group = words // period * period, _GROUP_WORDS // period * period
    for start in range(0, whole, group):
        rows = out[start : min(start + group, whole)].reshape(-1, period)
        at = start * ring_bits // _WORD_BITS
        _unpack_rows(packed[at : at + rows.size * ring_bits // _WORD_BITS], ring_bits, rows)
    if whole < words:
        last, rest = np.empty((1, period), "<u8"), packed[whole * ring_bits // _WORD_BITS :]
        padded = np.zeros(period * ring_bits // _WORD_BITS, "<u8")
        padded[: len(rest)] = rest
        _unpack_rows(padded, ring_bits, last)
        out[whole:] = last[0, : words - whole]
    return out


def _unpack_rows(packed: Words, ring_bits: int, rows: Words) -> None:
    """The inverse of `_pack_rows`."""
    period = rows.shape[1]
    source = np.ascontiguousarray(packed.reshape(len(rows), -1).T)
    columns = np.empty((period, len(rows)), "<u8")
    above = np.empty(len(rows), "<u8")
    for at, column in enumerate(columns):
        word, shift = divmod(at * ring_bits, _WORD_BITS)
        np.right_shift(source[word], np.uint64(shift), out=column)
        if shift + ring_bits > _WORD_BITS:
            column |= np.left_shift(source[word + 1], np.uint64(_WORD_BITS - shift), out=above)
    np.bitwise_and(columns.T, np.uint64((1 << ring_bits) - 1), out=rows)
