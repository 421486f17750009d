"""Exact sums: BFV (Brakerski 2012; Fan and Vercauteren 2012) with powers of two as moduli and lanes in coefficients.

Only sums are taken. So plaintexts need no slots, and moduli no primes: q / t is a whole number, and a coefficient
modulo q lies in the high bits of a 64-bit word, whose own arithmetic is that of the ring.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from securefed.crypto.kdf import KEY_BYTES
from securefed.crypto.keystream import Reader, Words
from securefed.encoding.lanes import pack_bits, packed_length, unpack_bits
from securefed.he.packing import ERROR_BITS, TOGETHER, CoefficientPacking
from securefed.he.products import SmallFactor

__all__ = ["SEED_BYTES", "Bfv", "BfvAdder"]

SEED_BYTES = 32
"""Of the public stream that all second polynomials of an update are expanded from."""
_WORD = 64


class Bfv:
    """See `cipher.Cipher`.

    A payload holds a seed, then of all used coefficients of the first polynomials the bits that are sent. A sum holds
    the sums of these, cut to as many bits, then all coefficients of the summed second polynomials.
    """

    def __init__(self, packing: CoefficientPacking) -> None:
        self.packing = packing
        self.shape = (packing.polynomials, packing.ring.degree)
        self.unit = np.uint64(_WORD - packing.ring.bits)
        """Where the lowest bit of a coefficient modulo q lies in a word."""
        self.sent = np.uint64(_WORD - packing.sent_bits)
        """Where the lowest bit that is sent lies."""

    @property
    def payload_bytes(self) -> int:
        """Of an encrypted update."""
        return SEED_BYTES + self.packing.sent_bytes

    @property
    def sum_bytes(self) -> int:
        """Of a sum of them."""
        return self.packing.sent_bytes + 8 * packed_length(self.shape[0] * self.shape[1], self.packing.ring.bits)

    def encrypt(
        self, secret: npt.NDArray[np.int8], values: Iterator[Words], *, seed: bytes = b"", error_key: bytes = b""
    ) -> bytes:
        """See `cipher.Cipher`: c0 = e + (q/t) u − c1 s for each plaintext u.

        Args:
            seed, error_key: 32 bytes each, for tests alone. By default both are fresh from the operating system: the
                same values twice give different bytes.
        """
        packing, factor = self.packing, SmallFactor(secret)
        seed, error_key = seed or os.urandom(SEED_BYTES), error_key or os.urandom(KEY_BYTES)
        seconds, errors = Reader(seed), Reader(error_key)
        sent, done = np.empty(self.shape, "<u8"), 0
        for plaintexts in packing.plaintexts(values):
            first = plaintexts << np.uint64(_WORD - packing.plain_bits)
            first += _binomial(errors, plaintexts.shape) << self.unit
            first -= factor * self.expand(seconds, len(plaintexts))
            np.right_shift(first, self.sent, out=sent[done : done + len(first)])
            done += len(first)
        used = sent.reshape(-1)[: packing.coefficients]
        return seed + pack_bits(used, packing.sent_bits).tobytes()

    def expand(self, stream: Reader, polynomials: int) -> Words:
        """The next second polynomials of a seed's stream: uint64, shape [polynomials, N]."""
        words = stream.take(8 * polynomials * self.shape[1]).view("<u8").reshape(polynomials, -1)
        return words >> self.unit << self.unit if self.unit else words

    def adder(self) -> BfvAdder:
        """See `cipher.Cipher`."""
        return BfvAdder(self)

    def decrypt(self, secret: npt.NDArray[np.int8], total: bytes | memoryview, summands: int) -> Iterator[Words]:
        """See `cipher.Cipher`: u = ⌊(t/q) (c0 + c1 s)⌉, where each summand's c0 gets half of what was cut off back."""
        packing, factor, left = self.packing, SmallFactor(secret), self.packing.count
        firsts, seconds = self.parse_sum(total)
        above = np.uint64(_WORD - packing.plain_bits)
        restored = (summands << int(self.sent) - 1) + (1 << int(above) - 1)
        for first, second in zip(firsts, seconds, strict=True):
            opened = first + factor * second[None]
            opened += np.uint64(restored % 2**_WORD)
            lanes = packing.lanes.unpack(opened[0] >> above)
            yield lanes[:left]
            left -= len(lanes)

    def sent_rows(self, packed: bytes | memoryview) -> Iterator[tuple[slice, Words]]:
        """What was sent of the first polynomials, a few of them at a time (the last ones first), where it lies in a
        word; 0 beyond the used coefficients.

        Raises:
            RemoteProtocolError: W13, bits beyond the last coefficient; before anything is given.
        """
        words, bits = np.frombuffer(packed, "<u8"), self.packing.sent_bits
        for rows, used, at in reversed(self._spans(bits)):
            found = np.zeros((rows.stop - rows.start, self.shape[1]), "<u8")
            unpacked = unpack_bits(words[at : at + packed_length(used, bits)], used, bits)
            np.left_shift(unpacked, self.sent, out=found.reshape(-1)[:used])
            yield rows, found

    def pack_sum(self, firsts: Words, seconds: Words) -> memoryview:
        """What `parse_sum` reads."""
        packed, bits = np.empty(self.sum_bytes // 8, "<u8"), self.packing.sent_bits
        cut = self.packing.sent_bytes // 8
        for rows, used, at in self._spans(bits):
            words = pack_bits(firsts[rows].reshape(-1)[:used] >> self.sent, bits)
            packed[at : at + len(words)] = words
        behind, bits = packed[cut:], self.packing.ring.bits
        for rows, _, at in self._spans(bits):
            words = pack_bits(seconds[rows].reshape(-1) >> self.unit, bits)
            behind[at : at + len(words)] = words
        return packed.data.cast("B")

    def parse_sum(self, total: bytes | memoryview) -> tuple[Words, Words]:
        """Both polynomials of a sum: uint64, shape [polynomials, N], where they lie in a word; W13."""
        cut, firsts = self.packing.sent_bytes, np.empty(self.shape, "<u8")
        for rows, found in self.sent_rows(memoryview(total)[:cut]):
            firsts[rows] = found
        seconds = unpack_bits(np.frombuffer(total, "<u8", offset=cut), firsts.size, self.packing.ring.bits)
        return firsts, (seconds << self.unit).reshape(self.shape)

    def _spans(self, bits: int) -> list[tuple[slice, int, int]]:
        """A few polynomials at a time: which, their used coefficients, and where these begin packed to so many bits."""
        (polynomials, degree), spans = self.shape, []
        for start in range(0, polynomials, TOGETHER):
            stop = min(start + TOGETHER, polynomials)
            used = min(stop * degree, self.packing.coefficients) - start * degree
            spans.append((slice(start, stop), used, start * degree * bits // _WORD))
        return spans


class BfvAdder:
    """See `cipher.Adder`. Memory: two words for each coefficient of an update."""

    def __init__(self, cipher: Bfv) -> None:
        self._cipher = cipher
        self._firsts, self._seconds = np.zeros(cipher.shape, "<u8"), np.zeros(cipher.shape, "<u8")

    def add(self, payload: bytes | memoryview) -> None:
        """See `cipher.Adder`."""
        view = memoryview(payload)
        for rows, words in self._cipher.sent_rows(view[SEED_BYTES:]):
            self._firsts[rows] += words
        stream = Reader(bytes(view[:SEED_BYTES]))
        for second in self._seconds:
            second += self._cipher.expand(stream, 1)[0]

    def total(self) -> memoryview:
        """See `cipher.Adder`."""
        return self._cipher.pack_sum(self._firsts, self._seconds)

    def take_up(self, total: bytes | memoryview) -> None:
        """See `cipher.Adder`."""
        self._firsts, self._seconds = self._cipher.parse_sum(total)


def _binomial(stream: Reader, shape: tuple[int, ...]) -> Words:
    """Centred binomial errors, modulo 2^64: of each word of the stream the lowest 21 bits against the next 21."""
    words = stream.take(8 * shape[0] * shape[1]).view("<u8").reshape(shape)
    mask = np.uint64((1 << ERROR_BITS) - 1)
    plus, minus = np.bitwise_count(words & mask), np.bitwise_count(words >> np.uint64(ERROR_BITS) & mask)
    errors: Words = (plus.astype(np.int64) - minus).view("<u8")
    return errors
