"""CKKS under a secret key: encryption with a seed, addition, decryption and rounding to integers.

Ciphertexts are values at roots (`transforms`), modulo each prime: those of the first prime for all polynomials, one
behind the other, then those of the next.
"""

from dataclasses import dataclass

from protocols.he_aggregation.bfv import Ciphertext
from protocols.he_aggregation.generator import SEED_BYTES, uniform_numbers
from protocols.he_aggregation.packing import Polynomial, cut, pack_bits, packed_bytes, unpack_bits
from protocols.he_aggregation.slots import SlotPacking, parts_of, to_lanes, to_slots
from protocols.he_aggregation.transforms import plaintext_of, polynomial_of, slots_of, values_of
from protocols.notation import require


@dataclass(frozen=True)
class SlotRandomness:
    """Of one polynomial's encryption."""

    seed: bytes  # of c1, 64 bytes
    errors: tuple[int, ...]  # e, of N coefficients


def numbers_of_one(p: SlotPacking) -> int:
    """Numbers modulo one prime in all polynomials."""
    return p.polynomials * p.ring.degree


def half_bytes(p: SlotPacking) -> int:
    """The length of all c0, packed; of all c1 in a sum it is the same."""
    return sum(packed_bytes(numbers_of_one(p), prime.bit_length()) for prime in p.ring.primes)


def payload_bytes(p: SlotPacking) -> int:
    """The length of a client's payload."""
    return p.polynomials * SEED_BYTES + half_bytes(p)


def sum_bytes(p: SlotPacking) -> int:
    """The length of a sum's payload."""
    return 2 * half_bytes(p)


def second_of(seeds: list[bytes], p: SlotPacking) -> tuple[int, ...]:
    """The values of all c1: drawn as values, for all primes of one polynomial under its seed."""
    drawn = [cut(list(uniform_numbers(seed, p.ring.degree, p.ring.primes)), p.ring.degree) for seed in seeds]
    return tuple(x for prime in range(len(p.ring.primes)) for one in drawn for x in one[prime])


def encrypt(lanes: list[int], s: Polynomial, p: SlotPacking, randomness: list[SlotRandomness]) -> bytes:
    """The payload of one client: seeds, then for each prime the values of all c0."""
    plain = [plaintext_of(slots, 2**p.scale_bits) for slots in to_slots(lanes, p)]
    second = cut(list(second_of([drawn.seed for drawn in randomness], p)), p.ring.degree)
    packed = []
    for at, q in enumerate(p.ring.primes):
        secret, first = values_of([x % q for x in s], q), []
        c1s = second[at * p.polynomials : (at + 1) * p.polynomials]
        for m, drawn, c1 in zip(plain, randomness, c1s, strict=True):
            masked = values_of([(x + e) % q for x, e in zip(m, drawn.errors, strict=True)], q)
            first += [(x - c * v) % q for x, c, v in zip(masked, c1, secret, strict=True)]
        packed.append(pack_bits(first, q.bit_length()))
    return b"".join([*(drawn.seed for drawn in randomness), *packed])


def read_half(data: bytes, p: SlotPacking) -> tuple[int, ...]:
    """All c0, or all c1. Raises W13, H3. Pre-condition: it has its length."""
    at, numbers = 0, []
    for q in p.ring.primes:
        length = packed_bytes(numbers_of_one(p), q.bit_length())
        found = unpack_bits(data[at : at + length], numbers_of_one(p), q.bit_length())
        require(max(found) < q, "H3", "a coefficient that is not below the modulus")
        numbers += found
        at += length
    return tuple(numbers)


def pack_half(numbers: tuple[int, ...], p: SlotPacking) -> bytes:
    """The inverse."""
    of_primes = cut(list(numbers), numbers_of_one(p))
    return b"".join(pack_bits(some, q.bit_length()) for some, q in zip(of_primes, p.ring.primes, strict=True))


def read_payload(payload: bytes, p: SlotPacking) -> Ciphertext:
    """What a client's payload stands for. Raises W13, H3. Pre-condition: it has its length."""
    behind = p.polynomials * SEED_BYTES
    first = read_half(payload[behind:], p)
    return Ciphertext(first, second_of([payload[at : at + SEED_BYTES] for at in range(0, behind, SEED_BYTES)], p))


def add(one: Ciphertext, other: Ciphertext, p: SlotPacking) -> Ciphertext:
    """The sum."""
    moduli = [q for q in p.ring.primes for _ in range(numbers_of_one(p))]
    first = tuple((a + b) % q for a, b, q in zip(one.first, other.first, moduli, strict=True))
    second = tuple((a + b) % q for a, b, q in zip(one.second, other.second, moduli, strict=True))
    return Ciphertext(first, second)


def sum_payload(total: Ciphertext, p: SlotPacking) -> bytes:
    """The payload of a sum."""
    return pack_half(total.first, p) + pack_half(total.second, p)


def read_sum(payload: bytes, p: SlotPacking) -> Ciphertext:
    """A sum. Raises W13, H3. Pre-condition: it has its length."""
    return Ciphertext(read_half(payload[: half_bytes(p)], p), read_half(payload[half_bytes(p) :], p))


def decrypt(total: Ciphertext, s: Polynomial, p: SlotPacking, summands: int) -> list[int]:
    """The lanes of a sum over so many clients, those of the tags included."""
    firsts, seconds = cut(list(total.first), p.ring.degree), cut(list(total.second), p.ring.degree)
    secrets = [values_of([x % q for x in s], q) for q in p.ring.primes]
    parts: list[float] = []
    for number in range(p.polynomials):
        residues = []
        for at, q in enumerate(p.ring.primes):
            c0, c1 = firsts[at * p.polynomials + number], seconds[at * p.polynomials + number]
            values = [(x + c * v) % q for x, c, v in zip(c0, c1, secrets[at], strict=True)]
            residues.append(polynomial_of(values, q))
        parts += parts_of(slots_of(whole(residues, p), 2**p.scale_bits), p)
    return to_lanes(parts, summands, p)


def whole(residues: list[list[int]], p: SlotPacking) -> list[int]:
    """The integers between −q/2 and q/2 with these residues, by the Chinese remainder theorem."""
    q = p.ring.product
    weights = [q // prime * pow(q // prime, -1, prime) for prime in p.ring.primes]
    found = [sum(r * w for r, w in zip(column, weights, strict=True)) % q for column in zip(*residues, strict=True)]
    return [x - q if x > q // 2 else x for x in found]
