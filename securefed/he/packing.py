"""How an update's lanes lie in the coefficients of plaintexts, and how many bits of a ciphertext are worth sending."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from securefed.crypto.keystream import Words
from securefed.encoding.lanes import Lanes, packed_length
from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError
from securefed.he.rings import Ring

__all__ = ["ERROR_BITS", "TOGETHER", "CoefficientPacking"]

ERROR_BITS: Final = 21
"""η of the centred binomial errors: each is the difference of two sums of so many bits, of variance 10.5."""
TOGETHER: Final = 8
"""Polynomials that are worked on at a time: more would leave the cache."""


@dataclass(frozen=True)
class CoefficientPacking:
    """The plaintext polynomials of one round; all follows from the ring, the numbers and how many lanes there are.

    A coefficient holds as many lanes as fit; sums of the whole cohort stay below the plaintext modulus t = 2^p. With
    E = 21 and r bits dropped from each coefficient that is sent, a sum of n opens to exactly the sum of the
    plaintexts while n · (E + 2^(r−1)) < q / 2t.

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
        # 2 n (E + 1) 2^p < 2^bits: one bit at least can be dropped.
        word_bits = self.ring.bits - (2 * n * (ERROR_BITS + 1)).bit_length()
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
        """r ≥ 1: low bits of each coefficient that are not sent."""
        n, dropped = self.numbers.clients, 1
        while 2 * n * (ERROR_BITS + (1 << dropped)) << self.plain_bits < 1 << self.ring.bits:
            dropped += 1
        return dropped

    @property
    def sent_bits(self) -> int:
        """Bits of each coefficient that are sent."""
        return self.ring.bits - self.dropped

    def binding(self) -> bytes:
        """11 bytes for the context of keys: p, r, bits of q, degree."""
        return bytes([self.plain_bits, self.dropped, self.ring.bits]) + self.ring.degree.to_bytes(8, "big")

    @property
    def coefficients(self) -> int:
        """Coefficients that hold lanes."""
        return self.lanes.words_for(self.count)

    @property
    def polynomials(self) -> int:
        """Polynomials, the last one not always full."""
        return -(-self.coefficients // self.ring.degree)

    @property
    def sent_bytes(self) -> int:
        """Of all coefficients of one update, packed to their bits."""
        return 8 * packed_length(self.coefficients, self.sent_bits)

    def plaintexts(self, values: Iterator[Words]) -> Iterator[Words]:
        """Coefficients (uint64, below t, shape [m, N]) of a few polynomials at a time from lane values in pieces."""
        size = self.ring.degree * self.lanes.per_word
        rest = np.empty(0, "<u8")
        for piece in values:
            rest = np.concatenate([rest, piece])
            whole = len(rest) // size * size
            for start in range(0, whole, size * TOGETHER):
                yield self._packed(rest[start : min(start + size * TOGETHER, whole)])
            rest = rest[whole:]
        if len(rest):
            last = np.zeros(size, "<u8")
            last[: len(rest)] = rest
            yield self._packed(last)

    def _packed(self, values: Words) -> Words:
        return self.lanes.pack(values).reshape(-1, self.ring.degree)
