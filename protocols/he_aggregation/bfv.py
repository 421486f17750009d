"""BFV under a secret key: encryption with a seed, addition, decryption. All polynomials are lists of integers."""

from dataclasses import dataclass
from functools import lru_cache

from protocols.he_aggregation.packing import (
    Polynomial,
    cut,
    drop,
    pack_bits,
    packed_bytes,
    to_lanes,
    to_polynomials,
    unpack_bits,
)
from protocols.he_aggregation.parameters import Packing
from protocols.notation import stream, words

SEED_BYTES = 32
ERROR_BITS = 21


@dataclass(frozen=True)
class Randomness:
    """Of one vector's encryption."""

    seed: bytes  # of all c1, 32 bytes, sent
    error_key: bytes  # of all e, 32 bytes, not sent


def negacyclic(a: Polynomial, b: Polynomial) -> Polynomial:
    """a · b in Z[X] / (X^N + 1), by the definition: X^N = −1."""
    n = len(a)
    product = [0] * n
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            if i + j < n:
                product[i + j] += x * y
            else:
                product[i + j - n] -= x * y
    return product


@lru_cache(maxsize=64)
def product_of(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The same as `negacyclic`: a and b become integers whose digits cannot meet in the product."""
    n, width = len(a), 2 + len(a).bit_length() + max(map(abs, a)).bit_length() + max(map(abs, b)).bit_length()
    width += -width % 8
    whole = evaluated(a, width) * evaluated(b, width)
    half = 1 << (width - 1)
    # With a half added to each, all digits are positive: one below 0 would borrow from the next.
    shifted = (whole + sum(half << (width * i) for i in range(2 * n))).to_bytes(2 * n * width // 8, "little")
    size = width // 8
    digits = [int.from_bytes(shifted[i * size : (i + 1) * size], "little") - half for i in range(2 * n)]
    return tuple(low - high for low, high in zip(digits[:n], digits[n:], strict=True))


def evaluated(a: tuple[int, ...], width: int) -> int:
    """a at 2^width."""
    size = width // 8
    plus = b"".join(max(x, 0).to_bytes(size, "little") for x in a)
    minus = b"".join(max(-x, 0).to_bytes(size, "little") for x in a)
    return int.from_bytes(plus, "little") - int.from_bytes(minus, "little")


@lru_cache(maxsize=256)
def uniform_numbers(seed: bytes, count: int, bits: int) -> tuple[int, ...]:
    """So many coefficients of c1, of all polynomials one behind the other."""
    return tuple(word >> (64 - bits) for word in words(stream(seed, 8 * count), 8))


def errors(error_key: bytes, count: int) -> list[int]:
    """So many errors, likewise."""
    ones = 2**ERROR_BITS - 1
    both = [(word & ones, word >> ERROR_BITS & ones) for word in words(stream(error_key, 8 * count), 8)]
    return [plus.bit_count() - minus.bit_count() for plus, minus in both]


def encrypt_polynomial(u: Polynomial, s: Polynomial, q: int, t: int, c1: Polynomial, e: Polynomial) -> Polynomial:
    """c0 = e + (q/t)·u − c1·s, modulo q."""
    product = product_of(tuple(c1), tuple(s))
    return [(x + q // t * m - cs) % q for cs, x, m in zip(product, e, u, strict=True)]


def decrypt_polynomial(c0: Polynomial, c1: Polynomial, s: Polynomial, q: int, t: int) -> Polynomial:
    """⌊(c0 + c1·s)·t/q + 1/2⌋, modulo t."""
    product = product_of(tuple(c1), tuple(s))
    return [(2 * t * (x + cs) + q) // (2 * q) % t for x, cs in zip(c0, product, strict=True)]


def encrypt(lanes: list[int], s: Polynomial, p: Packing, drawn: Randomness) -> bytes:
    """The payload of one client: the seed, then what is sent of the used coefficients of all c0."""
    N, q, first, plain = p.ring.degree, p.ring.modulus, [], to_polynomials(lanes, p)
    c1s = cut(list(uniform_numbers(drawn.seed, N * len(plain), p.ring.bits)), N)
    for u, c1, e in zip(plain, c1s, cut(errors(drawn.error_key, N * len(plain)), N), strict=True):
        first += encrypt_polynomial(u, s, q, p.plain_modulus, c1, e)
    return drawn.seed + pack_bits([drop(x, p) for x in first[: p.coefficients]], p.sent_bits)


@dataclass(frozen=True)
class Ciphertext:
    """Of a whole vector, or a sum of some."""

    first: tuple[int, ...]  # what was sent of the used coefficients of all c0
    second: tuple[int, ...]  # all coefficients of all c1


def add(one: Ciphertext, other: Ciphertext, p: Packing) -> Ciphertext:
    """The sum: modulo 2^z of what was sent, modulo q of the rest."""
    first = tuple((a + b) % 2**p.sent_bits for a, b in zip(one.first, other.first, strict=True))
    second = tuple((a + b) % p.ring.modulus for a, b in zip(one.second, other.second, strict=True))
    return Ciphertext(first, second)


def payload_bytes(p: Packing) -> int:
    """The length of a client's payload."""
    return SEED_BYTES + packed_bytes(p.coefficients, p.sent_bits)


def sum_bytes(p: Packing) -> int:
    """The length of a sum's payload."""
    return packed_bytes(p.coefficients, p.sent_bits) + packed_bytes(p.polynomials * p.ring.degree, p.ring.bits)


def read_payload(payload: bytes, p: Packing) -> Ciphertext:
    """What a client's payload stands for. Raises W13. Pre-condition: it has its length."""
    sent = unpack_bits(payload[SEED_BYTES:], p.coefficients, p.sent_bits)
    second = uniform_numbers(payload[:SEED_BYTES], p.polynomials * p.ring.degree, p.ring.bits)
    return Ciphertext(tuple(sent), second)


def sum_payload(total: Ciphertext, p: Packing) -> bytes:
    """The payload of a sum."""
    return pack_bits(list(total.first), p.sent_bits) + pack_bits(list(total.second), p.ring.bits)


def read_sum(payload: bytes, p: Packing) -> Ciphertext:
    """A sum. Raises W13. Pre-condition: it has its length."""
    at = packed_bytes(p.coefficients, p.sent_bits)
    first = unpack_bits(payload[:at], p.coefficients, p.sent_bits)
    second = unpack_bits(payload[at:], p.polynomials * p.ring.degree, p.ring.bits)
    return Ciphertext(tuple(first), tuple(second))


def restored(total: Ciphertext, p: Packing, summands: int) -> Polynomial:
    """The used coefficients of all c0, half of what was cut off put back for each summand."""
    return [((x << p.dropped) + summands * 2 ** (p.dropped - 1)) % p.ring.modulus for x in total.first]


def decrypt(total: Ciphertext, s: Polynomial, p: Packing, summands: int) -> list[int]:
    """The lanes of a sum over so many clients, those of the tags included."""
    N, opened = p.ring.degree, []
    for c0, c1 in zip(cut(restored(total, p, summands), N), cut(list(total.second), N), strict=True):
        opened += decrypt_polynomial(c0, c1, s, p.ring.modulus, p.plain_modulus)
    return to_lanes(opened, p)


def errors_of(total: Ciphertext, lanes: list[int], s: Polynomial, p: Packing, summands: int) -> list[int]:
    """c0 + c1·s − (q/t)·u of every used coefficient, between −q/2 and q/2: what rounding takes away."""
    N, q, found = p.ring.degree, p.ring.modulus, []
    firsts, seconds = cut(restored(total, p, summands), N), cut(list(total.second), N)
    for u, c0, c1 in zip(to_polynomials(lanes, p), firsts, seconds, strict=True):
        product = product_of(tuple(c1), tuple(s))
        exact = [x + cs - q // p.plain_modulus * m for m, x, cs in zip(u, c0, product, strict=True)]
        found += [(x + q // 2) % q - q // 2 for x in exact]
    return found[: p.coefficients]
