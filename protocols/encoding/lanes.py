"""Lanes in ring words, and ring words packed to their bits for the wire."""

from dataclasses import dataclass

from protocols.notation import require


@dataclass(frozen=True)
class Ring:
    """Words of `lanes` lanes of `lane_bits` bits: elements of Z/2^R."""

    lane_bits: int  # L
    lanes: int  # k

    @property
    def bits(self) -> int:
        """R, the bits of a ring word."""
        return self.lanes * self.lane_bits


def ring_of(cohort: int, bits: int) -> Ring:
    """The ring for n clients and b bits. Raises V8 when no lane of a 64-bit word holds the cohort's sum."""
    lane_bits = (2 * greatest_quantum(bits) * cohort).bit_length()
    require(lane_bits <= 64, "V8", f"a lane of {lane_bits} bits")
    return Ring(lane_bits, 64 // lane_bits)


def greatest_quantum(bits: int) -> int:
    """Q, the greatest quantised value of b bits."""
    return (1 << (bits - 1)) - 1


def to_ring_words(lanes: list[int], ring: Ring) -> list[int]:
    """Fill words with lanes, zero lanes up to a whole word. Pre-condition: every lane is below 2^L."""
    return [
        sum(lane << (i * ring.lane_bits) for i, lane in enumerate(lanes[first : first + ring.lanes]))
        for first in range(0, len(lanes), ring.lanes)
    ]


def to_lanes(ring_words: list[int], ring: Ring) -> list[int]:
    """All lanes of the words, the padding lanes included."""
    mask = 2**ring.lane_bits - 1
    return [word >> (i * ring.lane_bits) & mask for word in ring_words for i in range(ring.lanes)]


def wire_word_count(ring_words: int, ring_bits: int) -> int:
    """64-bit words that so many ring words fill on the wire: the count of an INPUT."""
    return -(-ring_words * ring_bits // 64)


def pack(ring_words: list[int], ring_bits: int) -> list[int]:
    """Ring words to the 64-bit words of an INPUT: one long bit string, cut again."""
    string = sum(word << (i * ring_bits) for i, word in enumerate(ring_words))
    count = wire_word_count(len(ring_words), ring_bits)
    return [string >> (64 * i) & (2**64 - 1) for i in range(count)]


def unpack(wire_words: list[int], ring_words: int, ring_bits: int) -> list[int]:
    """The 64-bit words of an INPUT to so many ring words. Pre-condition: W13 holds."""
    string = sum(word << (64 * i) for i, word in enumerate(wire_words))
    return [string >> (i * ring_bits) & (2**ring_bits - 1) for i in range(ring_words)]
