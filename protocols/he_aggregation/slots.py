"""Lanes in the slots of approximate ciphertexts: which parameters are exact, words to parts, parts back to lanes."""

from dataclasses import dataclass

from protocols.encoding.lanes import greatest_quantum
from protocols.notation import RuleBroken

CKKS, CKKS_COMPACT = 0x20, 0x21
"""The suites."""

GREATEST_WORD_BITS = 44
VARIANCE = 6900


@dataclass(frozen=True)
class SlotRing:
    """Of approximate ciphertexts: one prime or more."""

    degree: int  # N
    primes: tuple[int, ...]  # of ciphertexts
    key_primes: tuple[int, ...] = ()  # of keys alone: they count for the standard's limit

    @property
    def bits(self) -> int:
        """Of all primes: what stands in B."""
        return sum(prime.bit_length() for prime in self.primes + self.key_primes)

    @property
    def product(self) -> int:
        """q."""
        q = 1
        for prime in self.primes:
            q *= prime
        return q


WHOLE = SlotRing(8192, (0xFFFFFFFFFFFC001, 0xFFFFF4C001), (0xFFFFFDC001,))
SMALL, MIDDLE = SlotRing(1024, (0x7FFF801,)), SlotRing(2048, (0x3FFFFFFFFED001,))


@dataclass(frozen=True)
class SlotPacking:
    """How vectors of so many lanes lie in slots."""

    ring: SlotRing
    n: int
    bits: int  # b
    lanes: int  # g, in a part
    scale_bits: int  # f
    parts: int  # of a slot that are used, 1 or 2
    count: int  # m, lanes of one vector, those of the tags included

    @property
    def lane_bits(self) -> int:
        """w."""
        return (2 * greatest_quantum(self.bits) * self.n).bit_length()

    @property
    def plain_bits(self) -> int:
        """p: g·w."""
        return self.lanes * self.lane_bits

    @property
    def dropped(self) -> int:
        """What stands in B where exact ciphertexts have r: f."""
        return self.scale_bits

    @property
    def centre(self) -> int:
        """c: what is taken off each word."""
        return sum(greatest_quantum(self.bits) << (self.lane_bits * at) for at in range(self.lanes))

    @property
    def exact(self) -> bool:
        """Whether sums fit and are rounded to the right integers."""
        n, c, f = self.n, self.centre, self.scale_bits
        fits = 3 * n * c * 2**f + 44 * n < self.ring.product
        return fits and 2 ** (2 * f) >= VARIANCE * n * self.ring.degree and self.plain_bits <= GREATEST_WORD_BITS

    @property
    def words(self) -> int:
        """Words in use, of all polynomials."""
        return -(-self.count // self.lanes)

    @property
    def words_of_one(self) -> int:
        """Words in one polynomial."""
        return self.ring.degree // 2 * self.parts

    @property
    def polynomials(self) -> int:
        """Polynomials, the last one seldom full."""
        return -(-self.words // self.words_of_one)


def slots_of(suite: int, n: int, bits: int, count: int) -> SlotPacking:
    """The packing of vectors of so many lanes: the first exact choice. Raises V8 where there is none."""
    for ring, lanes, scale_bits, parts in choices(suite, n, bits):
        p = SlotPacking(ring, n, bits, lanes, scale_bits, parts, count)
        if p.exact:
            return p
    raise RuleBroken("V8", f"nothing exact for {n} clients and {bits} bits")


def choices(suite: int, n: int, bits: int) -> list[tuple[SlotRing, int, int, int]]:
    """(ring, g, f, parts) in the order in which they are tried."""
    if suite == CKKS:
        return [(WHOLE, 1, 40, 1)]
    w = (2 * greatest_quantum(bits) * n).bit_length()
    both = [(SMALL, 1)] + [(MIDDLE, g) for g in range(max(GREATEST_WORD_BITS // w, 1), 0, -1)]
    return [(ring, g, f, 2) for ring, g in both for f in range(ring.bits, 0, -1)]


def to_slots(lanes: list[int], p: SlotPacking) -> list[list[complex]]:
    """Lane values to the slots of all polynomials. Pre-condition: `count` lanes, each below 2^w."""
    words = [0] * (p.polynomials * p.words_of_one)
    for j, lane in enumerate(lanes):
        words[j // p.lanes] += lane << (p.lane_bits * (j % p.lanes))
    parts = [float(word - p.centre) for word in words]
    if p.parts == 1:
        slots = [complex(part) for part in parts]
    else:
        slots = [complex(*both) for both in zip(parts[::2], parts[1::2], strict=True)]
    half = p.ring.degree // 2
    return [slots[at : at + half] for at in range(0, len(slots), half)]


def parts_of(slots: list[complex], p: SlotPacking) -> list[float]:
    """The used parts of the slots, in the order of their words."""
    return [part for z in slots for part in ((z.real,) if p.parts == 1 else (z.real, z.imag))]


def to_lanes(parts: list[float], summands: int, p: SlotPacking) -> list[int]:
    """The lanes of a sum over so many clients; what lies behind the last lane is not looked at."""
    words = []
    for y in parts[: p.words]:
        nearest = round(min(max(y, -(2.0**60)), 2.0**60))
        words.append(min(max(nearest + summands * p.centre, 0), 2**p.plain_bits - 1))
    mask = 2**p.lane_bits - 1
    return [words[j // p.lanes] >> (p.lane_bits * (j % p.lanes)) & mask for j in range(p.count)]
