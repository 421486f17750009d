"""Sums by approximate ciphertexts (Cheon, Kim, Kim and Song 2017), rounded to the exact integers before they leave.

An approximate decryption holds the ciphertext's errors, and with them the secret key (Li and Micciancio 2021). Here
values are integers and errors below a quarter, so what leaves the key holder is the sum alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from securefed.crypto.keystream import Words
from securefed.encoding.lanes import pack_bits, packed_length, unpack_bits
from securefed.errors import RemoteProtocolError
from securefed.he.adder import CiphertextAdder
from securefed.he.seal import SEED_BYTES, Ciphertext, CkksContext
from securefed.he.slots import SlotPacking

__all__ = ["Ckks"]


class Ckks:
    """See `cipher.Cipher`.

    A payload holds the seeds of all ciphertexts, then for each prime the values of all first polynomials, packed to
    the prime's bits. A sum holds the first polynomials so, then the second ones.
    """

    def __init__(self, packing: SlotPacking) -> None:
        self.packing = packing
        self.context = CkksContext(packing.ring, float(1 << packing.scale_bits))

    @property
    def _polynomial_bytes(self) -> int:
        """Of one polynomial of each ciphertext."""
        words = self.packing.ciphertexts * self.packing.ring.degree
        return sum(8 * packed_length(words, prime.bit_length()) for prime in self.packing.ring.data_primes)

    @property
    def payload_bytes(self) -> int:
        """Of an encrypted update."""
        return self.packing.ciphertexts * SEED_BYTES + self._polynomial_bytes

    @property
    def sum_bytes(self) -> int:
        """Of a sum of them."""
        return 2 * self._polynomial_bytes

    def encrypt(self, secret: npt.NDArray[np.int8], values: Iterator[Words]) -> bytes:
        """See `cipher.Cipher`."""
        encryptor = self.context.encryptor(secret)
        made = [self.context.encrypt(encryptor, slots) for slots in self.packing.slots(values)]
        return b"".join((*(seed for _, seed in made), self._pack([first for first, _ in made])))

    def adder(self) -> CiphertextAdder:
        """See `cipher.Cipher`."""
        return CiphertextAdder(self)

    def decrypt(self, secret: npt.NDArray[np.int8], total: bytes | memoryview, summands: int) -> Iterator[Words]:
        """See `cipher.Cipher`. What is not near an integer is rounded too, and what is out of bounds is cut to them: a
        sum that was not one fails its tags, and no other error says anything about the values."""
        packing, left = self.packing, self.packing.count
        decryptor, greatest = self.context.decryptor(secret), float(2**packing.lanes.ring_bits - 1)
        for ciphertext in self.parse_sum(total):
            parts = np.nan_to_num(packing.parts_of(self.context.decrypt(decryptor, ciphertext)))
            words = np.clip(np.rint(parts) + float(summands * packing.centre), 0, greatest).astype("<u8")
            lanes = packing.lanes.unpack(words[: -(-left // packing.per_part)])
            yield lanes[:left]
            left -= len(lanes)

    def pack_sum(self, polynomials: list[tuple[Words, Words]]) -> bytes:
        """What `parse_sum` reads."""
        return b"".join(self._pack(list(part)) for part in zip(*polynomials, strict=True))

    def _pack(self, polynomials: list[Words]) -> bytes:
        ring = self.packing.ring
        by_prime = np.stack(polynomials).reshape(len(polynomials), len(ring.data_primes), ring.degree)
        return b"".join(
            pack_bits(np.ascontiguousarray(by_prime[:, at]).ravel(), prime.bit_length()).tobytes()
            for at, prime in enumerate(ring.data_primes)
        )

    def _unpack(self, packed: bytes | memoryview) -> Words:
        """Polynomials, shape [ciphertexts, primes · N]."""
        ring, count, at = self.packing.ring, self.packing.ciphertexts, 0
        found = np.empty((count, len(ring.data_primes), ring.degree), "<u8")
        for row, prime in enumerate(ring.data_primes):
            length = packed_length(count * ring.degree, prime.bit_length())
            words = np.frombuffer(packed, "<u8", length, at)
            found[:, row] = unpack_bits(words, count * ring.degree, prime.bit_length()).reshape(count, ring.degree)
            if int(found[:, row].max()) >= prime:
                raise RemoteProtocolError("H3", "a coefficient is not below the modulus")
            at += 8 * length
        return found.reshape(count, -1)

    def parse_payload(self, payload: bytes | memoryview) -> Iterator[Ciphertext]:
        """The ciphertexts of an encrypted update; H3 before the first of them."""
        seeds = self.packing.ciphertexts * SEED_BYTES
        for at, first in enumerate(self._unpack(memoryview(payload)[seeds:])):
            yield self.context.seeded(first, bytes(payload[at * SEED_BYTES : (at + 1) * SEED_BYTES]))

    def parse_sum(self, total: bytes | memoryview) -> Iterator[Ciphertext]:
        """The ciphertexts of a sum; H3 before the first of them."""
        whole = memoryview(total)
        firsts, seconds = self._unpack(whole[: self._polynomial_bytes]), self._unpack(whole[self._polynomial_bytes :])
        for first, second in zip(firsts, seconds, strict=True):
            yield self.context.whole(first, second)
