"""Exact sums: BFV (Brakerski 2012; Fan and Vercauteren 2012) with lanes in coefficients and seeded ciphertexts.

Only sums are taken, so plaintexts need no slots: a coefficient modulo a power of two holds as many lanes as fit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from securefed.crypto.keystream import Words
from securefed.encoding.lanes import pack_bits, packed_length, unpack_bits
from securefed.errors import RemoteProtocolError
from securefed.he.adder import CiphertextAdder
from securefed.he.packing import CoefficientPacking
from securefed.he.seal import SEED_BYTES, BfvContext, Ciphertext

__all__ = ["Bfv"]


class Bfv:
    """See `cipher.Cipher`.

    A payload holds the seeds of all ciphertexts, then the kept bits of all used coefficients of their first
    polynomials. A sum holds both polynomials: the first one's used coefficients, then the second ones, whole.
    """

    def __init__(self, packing: CoefficientPacking) -> None:
        self.packing = packing
        self.context = BfvContext(packing.ring, packing.plain_bits)

    @property
    def payload_bytes(self) -> int:
        """Of an encrypted update."""
        return self.packing.ciphertexts * SEED_BYTES + self.packing.sent_bytes

    @property
    def sum_bytes(self) -> int:
        """Of a sum of them."""
        bits, second = self.packing.ring.bits, self.packing.ciphertexts * self.packing.ring.degree
        return 8 * (packed_length(self.packing.coefficients, bits) + packed_length(second, bits))

    def encrypt(self, secret: Words, values: Iterator[Words]) -> bytes:
        """See `cipher.Cipher`. The same values twice give different bytes: error and seed are fresh."""
        packing, context = self.packing, self.context
        encryptor = context.encryptor(secret)
        firsts = np.empty(packing.ciphertexts * packing.ring.degree, "<u8")
        seeds = []
        for at, plaintext in enumerate(packing.polynomials(values)):
            first, seed = context.encrypt(encryptor, plaintext)
            firsts[at * packing.ring.degree : (at + 1) * packing.ring.degree] = packing.drop(first)
            seeds.append(seed)
        return b"".join((*seeds, pack_bits(firsts[: packing.coefficients], packing.sent_bits).tobytes()))

    def adder(self) -> CiphertextAdder:
        """See `cipher.Cipher`."""
        return CiphertextAdder(self)

    def decrypt(self, secret: Words, total: bytes | memoryview, summands: int) -> Iterator[Words]:
        """See `cipher.Cipher`."""
        decryptor, left = self.context.decryptor(secret), self.packing.count
        for ciphertext in self.parse_sum(total):
            lanes = self.packing.lanes.unpack(self.context.decrypt(decryptor, ciphertext))
            yield lanes[:left]
            left -= len(lanes)

    def parse_payload(self, payload: bytes | memoryview) -> Iterator[Ciphertext]:
        """The ciphertexts of an encrypted update; H3 before the first of them."""
        packing = self.packing
        seeds = packing.ciphertexts * SEED_BYTES
        sent = np.frombuffer(payload, "<u8", offset=seeds)
        sent = unpack_bits(sent, packing.coefficients, packing.sent_bits)
        if int(sent.max()) > (packing.ring.modulus - 1) >> packing.dropped:
            raise RemoteProtocolError("H3", "a coefficient is not below the modulus")
        for at in range(packing.ciphertexts):
            first = self._padded(packing.restore(sent[at * packing.ring.degree : (at + 1) * packing.ring.degree]))
            yield self.context.seeded(first, bytes(payload[at * SEED_BYTES : (at + 1) * SEED_BYTES]))

    def parse_sum(self, total: bytes | memoryview) -> Iterator[Ciphertext]:
        """The ciphertexts of a sum; H3 before the first of them."""
        packing = self.packing
        degree, bits = packing.ring.degree, packing.ring.bits
        cut = packed_length(packing.coefficients, bits)
        packed = np.frombuffer(total, "<u8")
        first = unpack_bits(packed[:cut], packing.coefficients, bits)
        second = unpack_bits(packed[cut:], packing.ciphertexts * degree, bits)
        if max(int(first.max()), int(second.max())) >= packing.ring.modulus:
            raise RemoteProtocolError("H3", "a coefficient is not below the modulus")
        for at in range(0, len(second), degree):
            yield self.context.whole(self._padded(first[at : at + degree]), second[at : at + degree])

    def pack_sum(self, polynomials: list[tuple[Words, Words]]) -> bytes:
        """What `parse_sum` reads."""
        bits = self.packing.ring.bits
        first = np.concatenate([first for first, _ in polynomials])[: self.packing.coefficients]
        second = np.concatenate([second for _, second in polynomials])
        return pack_bits(first, bits).tobytes() + pack_bits(second, bits).tobytes()

    def _padded(self, used: Words) -> Words:
        """Zeros behind the used coefficients of the last polynomial: what opens there is not looked at."""
        if len(used) == self.packing.ring.degree:
            return np.ascontiguousarray(used)
        whole = np.zeros(self.packing.ring.degree, "<u8")
        whole[: len(used)] = used
        return whole
