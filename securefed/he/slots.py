"""How an update's lanes lie in the slots of approximate ciphertexts, so that sums round to the exact integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securefed.crypto.keystream import Words
from securefed.encoding.lanes import Lanes
from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError
from securefed.he.rings import COMPACT, NVFLARE, PrimeRing

__all__ = ["SlotPacking", "compact_slots", "nvflare_slots"]

_ERROR_BOUND = 22
"""Of a coefficient of a fresh ciphertext, the rounding of its plaintext included."""
_VARIANCE_RATIO = 6900
"""16 · 9² · (10.5 + 1/12) / 2, rounded up: a quarter is nine standard deviations of a part's error, see `exact`."""
_EXACT_BITS = 44
"""Sums below 2^43 in magnitude leave a double, after the transforms' own rounding, an error far below a quarter."""
_NVFLARE_SCALE_BITS = 40


@dataclass(frozen=True)
class SlotPacking:
    """The slots of one round: words of lanes, centred on 0, as real parts, or as real and imaginary parts.

    Attributes:
        ring: of the ciphertexts.
        numbers: of the round.
        count: lanes of one vector.
        per_part: lanes in one part of a slot.
        scale_bits: the scale is 2 to this.
        parts: 1 or 2 of a slot's parts are used.
    """

    ring: PrimeRing
    numbers: Numbers
    count: int
    per_part: int
    scale_bits: int
    parts: int

    @property
    def lanes(self) -> Lanes:
        """The lanes of one part."""
        greatest = 2 * self.numbers.greatest
        width = (self.numbers.clients * greatest).bit_length()
        return Lanes(self.numbers.clients, greatest, width * self.per_part)

    @property
    def centre(self) -> int:
        """Half of the greatest word of one client: taken off before, so that values are as small as can be."""
        return sum(self.numbers.greatest << (at * self.lanes.width) for at in range(self.per_part))

    @property
    def exact(self) -> bool:
        """Whether a sum of the cohort fits the modulus and rounds to the right integers.

        A coefficient of a plaintext is at most scale · |z|, and a slot's error in each part is of variance
        n · N/2 · (10.5 + 1/12) / scale²: within a quarter except with probability 2^-62 a part.
        """
        n, scale, q = self.numbers.clients, 1 << self.scale_bits, 1
        for prime in self.ring.data_primes:
            q *= prime
        fits = 3 * n * self.centre * scale + 2 * n * _ERROR_BOUND < q
        precise = scale * scale >= _VARIANCE_RATIO * n * self.ring.degree
        return fits and precise and self.lanes.ring_bits <= _EXACT_BITS

    @property
    def values_per_ciphertext(self) -> int:
        """Words of lanes in one ciphertext."""
        return self.ring.degree // 2 * self.parts

    @property
    def ciphertexts(self) -> int:
        """Polynomials, the last one not always full."""
        return -(-self.lanes.words_for(self.count) // self.values_per_ciphertext)

    def binding(self) -> bytes:
        """11 bytes for the context of keys: word bits, bits of the scale, bits of the primes, degree."""
        return bytes([self.lanes.ring_bits, self.scale_bits, self.ring.bits]) + self.ring.degree.to_bytes(8, "big")

    def slots(self, values: Iterator[Words]) -> Iterator[npt.NDArray[np.complex128]]:
        """Slots (shape [N/2]) from lane values in pieces of any lengths; zero lanes fill the last ones up."""
        size = self.values_per_ciphertext * self.per_part
        rest = np.empty(0, "<u8")
        for piece in values:
            rest = np.concatenate([rest, piece])
            while len(rest) >= size:
                yield self._slots(rest[:size])
                rest = rest[size:]
        if len(rest):
            padded = np.zeros(size, "<u8")
            padded[: len(rest)] = rest
            yield self._slots(padded)

    def _slots(self, values: Words) -> npt.NDArray[np.complex128]:
        centred = self.lanes.pack(values).astype(np.float64) - float(self.centre)
        return centred.view(np.complex128) if self.parts == 2 else centred.astype(np.complex128)

    def parts_of(self, slots: npt.NDArray[np.complex128]) -> npt.NDArray[np.float64]:
        """The used parts in the order of their words."""
        return slots.view(np.float64) if self.parts == 2 else np.ascontiguousarray(slots.real)


def nvflare_slots(numbers: Numbers, count: int) -> SlotPacking:
    """N = 8192, primes of 60, 40 and 40 bits, scale 2^40, a value a slot.

    Raises:
        ConfigError: V8.
    """
    packing = SlotPacking(NVFLARE, numbers, count, 1, _NVFLARE_SCALE_BITS, 1)
    if not packing.exact:
        raise _too_wide(numbers)
    return packing


def compact_slots(numbers: Numbers, count: int) -> SlotPacking:
    """The smaller ring where it is precise enough, else the larger one with as many lanes a part as fit.

    Raises:
        ConfigError: V8.
    """
    width = (numbers.clients * 2 * numbers.greatest).bit_length()
    for ring, most in zip(COMPACT, (1, max(_EXACT_BITS // width, 1)), strict=True):
        for per_part in range(most, 0, -1):
            for scale_bits in range(ring.bits, 0, -1):
                packing = SlotPacking(ring, numbers, count, per_part, scale_bits, 2)
                if packing.exact:
                    return packing
    raise _too_wide(numbers)


def _too_wide(numbers: Numbers) -> ConfigError:
    return ConfigError(
        "aggregation.bits",
        f"[V8] sums of {numbers.clients} clients with {numbers.bits} bits a value cannot be told apart above the "
        "errors of approximate ciphertexts: use fewer bits, a smaller cohort, or the scheme 'bfv'",
    )
