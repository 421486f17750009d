"""How 64 bytes stand for a uniform polynomial: the generator of Microsoft SEAL 4.1, Blake2Xb under the seed.

BLAKE2X is a tree hash of which the library of Python lacks one setting (a depth of 0), so BLAKE2b's compression of one
block is spelled out here (RFC 7693); the root is Python's own.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, count, islice

from protocols.notation import words

SEED_BYTES = 64
CHUNK = 4096
"""Bytes that the generator makes under one value of its counter."""

IV = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)  # fmt: skip
SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
COLUMNS_AND_DIAGONALS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip
MASK = 2**64 - 1


def blake2b_of_one_block(message: bytes, parameter_block: bytes) -> bytes:
    """64 bytes: BLAKE2b without a key of at most 128 bytes, under any block of 64 bytes of parameters."""
    h = [iv ^ p for iv, p in zip(IV, words(parameter_block, 8), strict=True)]
    m = words(message.ljust(128, b"\x00"), 8)
    v = [*h, *IV[:4], IV[4] ^ len(message), IV[5], IV[6] ^ MASK, IV[7]]
    for round_ in range(12):
        schedule = SIGMA[round_ % 10]
        for at, (a, b, c, d) in enumerate(COLUMNS_AND_DIAGONALS):
            va, vb, vc = v[a], v[b], v[c]
            va = (va + vb + m[schedule[2 * at]]) & MASK
            vd = v[d] ^ va
            vd = (vd >> 32 | vd << 32) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            vb = (vb >> 24 | vb << 40) & MASK
            va = (va + vb + m[schedule[2 * at + 1]]) & MASK
            vd ^= va
            vd = (vd >> 16 | vd << 48) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 63 | vb << 1) & MASK, vc, vd
    return b"".join((h[i] ^ v[i] ^ v[i + 8]).to_bytes(8, "little") for i in range(8))


def blake2xb(length: int, message: bytes, key: bytes) -> bytes:
    """BLAKE2Xb (Aumasson et al., 2016). Pre-condition: the length is a multiple of 64."""
    # In BLAKE2X the eight bytes of BLAKE2b's node offset are a node offset and the length, four bytes each.
    root = hashlib.blake2b(message, key=key, node_offset=length << 32).digest()
    blocks = []
    for i in range(length // 64):
        parameters = bytes([64, 0, 0, 0]) + (64).to_bytes(4, "little")  # digest, key, fanout, depth; leaves
        parameters += i.to_bytes(4, "little") + length.to_bytes(4, "little") + bytes([0, 64])  # …; node depth, inner
        blocks.append(blake2b_of_one_block(root, parameters.ljust(64, b"\x00")))
    return b"".join(blocks)


def generated_words(seed: bytes) -> Iterator[int]:
    """The generator's 64-bit words, little-endian, without end."""
    chunks = (blake2xb(CHUNK, counter.to_bytes(8, "little"), seed) for counter in count())
    return chain.from_iterable(words(chunk, 8) for chunk in chunks)


def uniform_polynomial(seed: bytes, degree: int, modulus: int) -> tuple[int, ...]:
    """The *N* coefficients modulo *q* that a seed stands for."""
    return uniform_numbers(seed, degree, (modulus,))


@lru_cache(maxsize=256)
def uniform_numbers(seed: bytes, degree: int, primes: tuple[int, ...]) -> tuple[int, ...]:
    """*N* numbers modulo each prime.

    A word from which the residue would not be uniform is replaced by the next one that is left over, behind the first
    words for all primes. (The limit is the library's: it loses one multiple of a prime more than it must.)
    """
    drawn = generated_words(seed)
    first = list(islice(drawn, degree * len(primes)))
    numbers = []
    for at, prime in enumerate(primes):
        limit = MASK - MASK % prime - 1
        for word in first[at * degree : (at + 1) * degree]:
            while word >= limit:
                word = next(drawn)
            numbers.append(word % prime)
    return tuple(numbers)
