"""Lanes to plaintext polynomials and back; coefficients to the bits that travel and back."""

from protocols.encoding.lanes import pack, unpack, wire_word_count
from protocols.he_aggregation.parameters import Packing
from protocols.notation import require, words

Polynomial = list[int]
"""Coefficients, the constant one first."""


def to_polynomials(lanes: list[int], p: Packing) -> list[Polynomial]:
    """Lane values to plaintexts of N coefficients. Pre-condition: `count` lanes, each below 2^w."""
    assert len(lanes) == p.count
    coefficients = [0] * (p.polynomials * p.ring.degree)
    for j, lane in enumerate(lanes):
        coefficients[j // p.lanes] += lane << (p.lane_bits * (j % p.lanes))
    return cut(coefficients, p.ring.degree)


def to_lanes(coefficients: list[int], p: Packing) -> list[int]:
    """The lanes of the coefficients in use; what lies behind the last lane is not looked at."""
    mask = 2**p.lane_bits - 1
    return [coefficients[j // p.lanes] >> (p.lane_bits * (j % p.lanes)) & mask for j in range(p.count)]


def cut(coefficients: list[int], degree: int) -> list[Polynomial]:
    """Polynomials of N coefficients, the last one filled up with zeros."""
    whole = coefficients + [0] * (-len(coefficients) % degree)
    return [whole[at : at + degree] for at in range(0, len(whole), degree)]


def drop(coefficient: int, p: Packing) -> int:
    """What is sent of a coefficient below q."""
    return coefficient >> p.dropped


def packed_bytes(count: int, bits: int) -> int:
    """The length of so many numbers, packed."""
    return 8 * wire_word_count(count, bits)


def pack_bits(numbers: list[int], bits: int) -> bytes:
    """Numbers of so many bits each, packed as the ring words of an INPUT are."""
    return b"".join(word.to_bytes(8, "little") for word in pack(numbers, bits))


def unpack_bits(data: bytes, count: int, bits: int) -> list[int]:
    """The inverse. Raises W13 for bits beyond the last number. Pre-condition: the length fits."""
    wire_words = words(data, 8)
    used = sum(word << (64 * i) for i, word in enumerate(wire_words)).bit_length()
    require(used <= count * bits, "W13", f"bit {used - 1} is set")
    return unpack(wire_words, count, bits)
