"""Lanes in words and ring words on the wire, against slow references in Python's integers."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.encoding.lanes import Lanes, pack_bits, packed_length, unpack_bits
from securefed.encoding.quantize import Numbers
from tests.rules import case, refused

RING_BITS = range(1, 65)
Sizes = st.tuples(st.integers(1, 2**20), st.integers(2, 32)).map(lambda nb: Lanes(nb[0], 2 * (2 ** (nb[1] - 1) - 1)))


def slow_pack(words: list[int], ring_bits: int) -> list[int]:
    """One long integer, cut into 64-bit words."""
    string = sum((word % 2**ring_bits) << (ring_bits * at) for at, word in enumerate(words))
    length = (len(words) * ring_bits + 63) // 64
    return [string >> (64 * at) & (2**64 - 1) for at in range(length)]


@given(Sizes)
def test_the_geometry_is_that_of_the_text(lanes: Lanes) -> None:
    assert 2 ** (lanes.width - 1) <= lanes.clients * lanes.greatest < 2**lanes.width
    assert lanes.per_word * lanes.width <= 64 < (lanes.per_word + 1) * lanes.width
    assert lanes.ring_bits == lanes.per_word * lanes.width
    assert int(lanes.ring_mask) == 2**lanes.ring_bits - 1


@given(Sizes, st.integers(0, 40), st.randoms(use_true_random=False))
def test_lanes_round_trip_and_lie_where_the_text_says(lanes: Lanes, count: int, rng: random.Random) -> None:
    values = [rng.choice((0, 2**lanes.width - 1, rng.randrange(2**lanes.width))) for _ in range(count)]
    words = lanes.pack(np.array(values, "<u8"))
    assert len(words) == lanes.words_for(count)
    assert (words <= lanes.ring_mask).all()
    for at, value in enumerate(values):
        word, lane = divmod(at, lanes.per_word)
        assert int(words[word]) >> (lane * lanes.width) & (2**lanes.width - 1) == value
    unpacked = lanes.unpack(words).tolist()
    assert unpacked == values + [0] * (len(unpacked) - count)


@given(st.integers(1, 12), st.integers(2, 32), st.integers(1, 9))
def test_the_greatest_sum_of_a_cohort_never_carries(clients: int, bits: int, count: int) -> None:
    """Every client at its greatest value, a zero lane between: the zero stays zero."""
    lanes = Lanes(clients, 2 * (2 ** (bits - 1) - 1))
    values = np.array([lanes.greatest * (at % 2) for at in range(count)], "<u8")
    total = np.zeros(lanes.words_for(count), "<u8")
    for _ in range(clients):
        total += lanes.pack(values)
    assert lanes.unpack(total & lanes.ring_mask)[:count].tolist() == [clients * v for v in values.tolist()]


@pytest.mark.parametrize("ring_bits", RING_BITS)
def test_packed_bits_are_those_of_one_long_integer(ring_bits: int) -> None:
    rng = random.Random(ring_bits)
    for count in (0, 1, 2, 3, 63, 64, 65, 200):
        words = [rng.choice((0, 2**ring_bits - 1, rng.randrange(2**ring_bits))) for _ in range(count)]
        packed = pack_bits(np.array(words, "<u8"), ring_bits)
        assert packed.tolist() == slow_pack(words, ring_bits)
        assert len(packed) == packed_length(count, ring_bits)
        assert unpack_bits(packed, count, ring_bits).tolist() == words


@pytest.mark.parametrize("ring_bits", RING_BITS)
def test_bits_above_the_ring_are_dropped(ring_bits: int) -> None:
    """Masks are added modulo 2^64; the wire has R bits of them."""
    words = np.full(70, 2**64 - 1, "<u8")
    assert pack_bits(words, ring_bits).tolist() == slow_pack(words.tolist(), ring_bits)


@pytest.mark.parametrize("ring_bits", [1, 7, 33, 54, 57, 60, 63, 64])
@pytest.mark.parametrize("count", [2**16 - 1, 2**16, 2**16 + 65, 3 * 2**16 + 1])
def test_long_vectors_are_packed_in_groups_without_a_seam(ring_bits: int, count: int) -> None:
    words = np.random.default_rng(count).integers(0, 2**64, count, "<u8")
    if ring_bits < 64:
        words &= np.uint64(2**ring_bits - 1)
    packed = pack_bits(words, ring_bits)
    assert (unpack_bits(packed, count, ring_bits) == words).all()
    string = int.from_bytes(packed.tobytes(), "little")
    for at in (0, 2**16 // 3, 2**16 - 2, count - 1):
        assert string >> (at * ring_bits) & (2**ring_bits - 1) == int(words[at])


@pytest.mark.rule("W13")
@pytest.mark.parametrize("ring_bits", [b for b in RING_BITS if b < 64])
def test_w13_any_bit_beyond_the_last_word_is_refused(ring_bits: int) -> None:
    count = 3
    packed = pack_bits(np.full(count, 2**ring_bits - 1, "<u8"), ring_bits)
    used = count * ring_bits % 64
    assert unpack_bits(packed, count, ring_bits).tolist() == [2**ring_bits - 1] * count
    for bit in range(used, 64) if used else ():
        more = packed.copy()
        more[-1] |= np.uint64(1 << bit)
        with refused("W13"):
            unpack_bits(more, count, ring_bits)


def test_a_packed_vector_of_another_length_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        unpack_bits(np.zeros(3, "<u8"), 3, 54 - 22)


@pytest.mark.parametrize(
    ("rule", "clients", "bits"),
    [
        case("V8", "32 bits, a large cohort", 2**33, 32),
        case("V8", "the first that does not fit", 2**32 + 3, 32),
        case("V8", "2 bits", 2**63, 2),
    ],
)
def test_v8_a_sum_over_a_word_is_refused_at_configuration(rule: str, clients: int, bits: int) -> None:
    with refused(rule):
        Numbers(clients, bits, 1.0)
    with refused(rule):
        Lanes(clients, 2 * (2 ** (bits - 1) - 1))


def test_v8_the_last_cohort_that_fits_does() -> None:
    assert Numbers(2**32 + 2, 32, 1.0).lanes.width == 64
    assert (2**32 + 2) * (2**32 - 2) < 2**64 <= (2**32 + 3) * (2**32 - 2)
