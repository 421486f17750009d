"""How an update's lanes lie in the coefficients of plaintexts, and how many bits of a ciphertext are worth sending."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from securefed.encoding.lanes import Lanes, Words, packed_length
from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError
from securefed.he.rings import ERROR_BOUND, Ring

__all__ = ["CoefficientPacking"]


@dataclass(frozen=True)
class CoefficientPacking:
    """The plaintext polynomials of one round; all follows from the ring, the numbers and how many lanes there are.

    A coefficient holds as many lanes as fit; sums of the whole cohort stay below the plaintext modulus t = 2^p. With
    E = 22 and r bits dropped from each coefficient that is sent, a sum of n opens to exactly the sum of the
    plaintexts while n · (E + 2^(r−1)) < q / 2t (n · E where r = 0).

    Attributes:
        ring: of the ciphertexts.
        numbers: of the round.
        count: lanes of one vector.

    Raises:
        ConfigError: V8, where even one lane a coefficient leaves no room for the errors of the cohort.
    """

    ring: Ring
    numbers: Numbers
    count: int

    def __post_init__(self) -> None:
        _ = self.lanes

    @cached_property
    def lanes(self) -> Lanes:
        """The lanes of one coefficient."""
        n, greatest = self.numbers.clients, 2 * self.numbers.greatest
        word_bits = ((self.ring.modulus - 1) // (2 * n * ERROR_BOUND)).bit_length() - 1
        try:
            return Lanes(n, greatest, word_bits)
        except ConfigError:
            needed = (n * greatest).bit_length()
            raise ConfigError(
                "aggregation.bits",
                f"[V8] the sum of {n} clients needs {needed} bits a value, and ciphertexts of degree "
                f"{self.ring.degree} leave {max(word_bits, 0)} above their errors: use fewer bits or a smaller cohort",
            ) from None

    @property
    def plain_bits(self) -> int:
        """p: the plaintext modulus t is 2^p."""
        return self.lanes.ring_bits

    @cached_property
    def dropped(self) -> int:
        """r: low bits of each coefficient that are not sent."""
        n, q, t = self.numbers.clients, self.ring.modulus, 1 << self.plain_bits
        dropped = 0
        while 2 * t * n * (ERROR_BOUND + (1 << dropped)) < q:
            dropped += 1
        return dropped

    @property
    def sent_bits(self) -> int:
        """Bits of each coefficient that are sent."""
        return self.ring.bits - self.dropped

    def binding(self) -> bytes:
        """20 bytes for the context of keys: p, r, degree, modulus."""
        numbers = bytes([self.plain_bits, self.dropped, 0])
        return numbers + self.ring.degree.to_bytes(8, "big") + self.ring.modulus.to_bytes(8, "big")

    @property
    def coefficients(self) -> int:
        """Coefficients that hold lanes."""
        return self.lanes.words_for(self.count)

    @property
    def ciphertexts(self) -> int:
        """Polynomials, the last one not always full."""
        return -(-self.coefficients // self.ring.degree)

    @property
    def sent_bytes(self) -> int:
        """Of all coefficients of one update, packed to their bits."""
        return 8 * packed_length(self.coefficients, self.sent_bits)

    def polynomials(self, values: Iterator[Words]) -> Iterator[Words]:
        """Plaintexts of N coefficients (uint64, below t) from lane values in pieces of any lengths."""
        size = self.ring.degree * self.lanes.per_word
        rest = np.empty(0, "<u8")
        for piece in values:
            rest = np.concatenate([rest, piece]) if len(rest) else piece
            whole = len(rest) // size * size
            for start in range(0, whole, size):
                yield self.lanes.pack(rest[start : start + size])
            rest = rest[whole:]
        if len(rest):
            last = np.zeros(self.ring.degree, "<u8")
            packed = self.lanes.pack(rest)
            last[: len(packed)] = packed
            yield last

    def drop(self, words: Words) -> Words:
        """Coefficients of a ciphertext without the bits that are not sent."""
        return words >> np.uint64(self.dropped)

    def restore(self, sent: Words) -> Words:
        """Coefficients below q, at most 2^(r−1) from those that were cut; values above (q − 1) >> r are not checked."""
        if not self.dropped:
            return sent
        middle = (sent << np.uint64(self.dropped)) + np.uint64(1 << (self.dropped - 1))
        restored: Words = np.minimum(middle, np.uint64(self.ring.modulus - 1))
        return restored
