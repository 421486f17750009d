"""What follows from suite, cohort, bits and lanes: how many lanes a coefficient holds, which bits of it are sent."""

from dataclasses import dataclass

from protocols.encoding.lanes import greatest_quantum
from protocols.encoding.reference import digit_count
from protocols.he_aggregation.slots import SlotPacking, SlotRing, slots_of
from protocols.notation import require, u8, u64
from protocols.wire.specification import Specification, encode_specification, session_of

BFV, BFV_2048 = 0x10, 0x11
"""The suites."""

ERROR = 21
"""E: no error of a fresh ciphertext is larger."""

TAGS = 4

GREATEST_MODULUS_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Of q by N: Homomorphic Encryption Security Standard (2018), Table 1, 128 bits, ternary secrets, classical attacks."""


@dataclass(frozen=True)
class Ring:
    """Z_q[X] / (X^N + 1)."""

    degree: int  # N
    bits: int  # b

    @property
    def modulus(self) -> int:
        """q."""
        return int(2**self.bits)


RINGS = {BFV: Ring(4096, 64), BFV_2048: Ring(2048, 54)}


def check_ring(ring: Ring | SlotRing) -> None:
    """Raise H7 for a ring that the standard does not give 128 bits of security."""
    greatest = GREATEST_MODULUS_BITS.get(ring.degree)
    require(greatest is not None, "H7", f"the standard has no parameters of degree {ring.degree}")
    assert greatest is not None
    require(ring.bits <= greatest, "H7", f"{ring.bits} bits at degree {ring.degree}")


@dataclass(frozen=True)
class Packing:
    """How vectors of so many lanes lie in plaintexts, and how much of a ciphertext travels."""

    ring: Ring
    lane_bits: int  # w
    lanes: int  # k, a coefficient
    dropped: int  # r, bits of each coefficient that is sent
    count: int  # m, lanes of one vector, those of the tags included

    @property
    def plain_bits(self) -> int:
        """p."""
        return self.lanes * self.lane_bits

    @property
    def plain_modulus(self) -> int:
        """t."""
        return int(2**self.plain_bits)

    @property
    def coefficients(self) -> int:
        """Coefficients in use, of all polynomials."""
        return -(-self.count // self.lanes)

    @property
    def polynomials(self) -> int:
        """Polynomials, the last one seldom full."""
        return -(-self.coefficients // self.ring.degree)

    @property
    def sent_bits(self) -> int:
        """z, of a coefficient that a client sends."""
        return self.ring.bits - self.dropped


def greatest_plain_bits(ring: Ring, n: int) -> int:
    """p*."""
    return ring.bits - (44 * n).bit_length()


def packing_of(ring: Ring, n: int, bits: int, count: int) -> Packing:
    """The packing of vectors of so many lanes. Raises V8 where not even one lane a coefficient fits."""
    lane_bits = (2 * greatest_quantum(bits) * n).bit_length()
    lanes = greatest_plain_bits(ring, n) // lane_bits
    require(lanes >= 1, "V8", f"a lane of {lane_bits} bits, {greatest_plain_bits(ring, n)} are there")
    return Packing(ring, lane_bits, lanes, dropped_bits(ring, n, 2 ** (lanes * lane_bits)), count)


def dropped_bits(ring: Ring, n: int, t: int) -> int:
    """The greatest r with 2 t n (E + 2^(r−1)) < q: at least 1, by the choice of p*."""
    r = 1
    while 2 * t * n * (ERROR + 2**r) < ring.modulus:
        r += 1
    return r


def value_lanes(s: Specification) -> int:
    """Lanes of an update and its scalars: what is behind them are the tags."""
    return s.values + s.scalars * digit_count(s.bits)


AnyPacking = Packing | SlotPacking


def packing_of_round(s: Specification, suite: int) -> AnyPacking:
    """The packing of a round's vectors. Raises V8."""
    count = value_lanes(s) + TAGS * digit_count(s.bits)
    if suite in RINGS:
        return packing_of(RINGS[suite], len(s.cohort), s.bits, count)
    return slots_of(suite, len(s.cohort), s.bits, count)


def binding(s: Specification, suite: int) -> bytes:
    """B, to which all keys of a round are bound. Raises V8."""
    return binding_of(session_of(encode_specification(s)), suite, packing_of_round(s, suite))


def binding_of(session: bytes, suite: int, packing: AnyPacking) -> bytes:
    """B of these parameters."""
    numbers = u8(suite) + u8(packing.plain_bits) + u8(packing.dropped) + u8(packing.ring.bits)
    return session + numbers + u64(packing.ring.degree)
