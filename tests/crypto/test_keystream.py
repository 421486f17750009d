"""The stream against other ways to make it, and its sum against the sum of streams."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from securefed.crypto.keystream import BLOCK_BYTES, SEGMENT_BYTES, Engine, Reader, StreamSum, fastest_engine, read
from tests.rounds import seed

KEY = seed("stream")


def by_hand(key: bytes, first_block: int, blocks: int) -> bytes:
    """Block by block, as the text says it."""
    counters = b""
    for block in range(first_block, first_block + blocks):
        segment, within = divmod(block, SEGMENT_BYTES // 16)
        counters += segment.to_bytes(12, "big") + (within + 2).to_bytes(4, "big")
    return Cipher(AES(key), ECB()).encryptor().update(counters)


def test_every_segment_is_the_keystream_of_gcm_with_its_number_as_nonce() -> None:
    stream = read(KEY, 3 * SEGMENT_BYTES)
    for segment in range(3):
        sealed = AESGCM(KEY).encrypt(segment.to_bytes(12, "big"), bytes(SEGMENT_BYTES), None)
        assert stream[segment * SEGMENT_BYTES :][:SEGMENT_BYTES] == sealed[:SEGMENT_BYTES]


@pytest.mark.parametrize("engine", ["gcm", "ctr"])
def test_both_engines_give_the_stream_of_the_text(engine: Engine) -> None:
    """Around the start, the edge of a block, and the edge of a segment."""
    words = np.zeros((SEGMENT_BYTES + BLOCK_BYTES) // 8, "<u8")
    StreamSum([(KEY, +1)], engine).add_to(words)
    stream = words.tobytes()
    for block in (0, BLOCK_BYTES // 16 - 2, SEGMENT_BYTES // 16 - 2, SEGMENT_BYTES // 16 + 7):
        assert stream[16 * block :][:64] == by_hand(KEY, block, 4)


def test_segments_do_not_repeat() -> None:
    stream = read(KEY, 2 * SEGMENT_BYTES)
    assert stream[:SEGMENT_BYTES] != stream[SEGMENT_BYTES:]


@given(st.lists(st.integers(0, 5000), max_size=8))
def test_a_reader_gives_the_same_bytes_however_they_are_asked_for(sizes: list[int]) -> None:
    reader = Reader(KEY)
    assert b"".join(reader.take(size).tobytes() for size in sizes) == read(KEY, sum(sizes))


@pytest.mark.parametrize("cut", [1, 15, 16, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1])
def test_a_reader_goes_on_over_the_edge_of_a_segment(cut: int) -> None:
    reader = Reader(KEY)
    assert reader.take(cut).tobytes() + reader.take(40).tobytes() == read(KEY, cut + 40)


@given(
    signs=st.lists(st.sampled_from([1, -1]), min_size=1, max_size=5),
    pieces=st.lists(st.integers(0, 300).map(lambda n: 2 * n), max_size=4),
    last=st.integers(0, 301),
    engine=st.sampled_from(["gcm", "ctr"]),
)
def test_a_sum_of_streams_is_their_sum(signs: list[int], pieces: list[int], last: int, engine: Engine) -> None:
    """Signs, pieces and engines: always x + Σ ±stream modulo 2^64, against Python's integers."""
    terms = [(seed(f"key {i}"), sign) for i, sign in enumerate(signs)]
    sizes = [*pieces, last]
    words = np.arange(sum(sizes), dtype="<u8") << np.uint64(50)
    expected = words.tolist()
    for key, sign in terms:
        stream = np.frombuffer(read(key, 8 * len(words)), "<u8").tolist()
        expected = [(word + sign * made) % 2**64 for word, made in zip(expected, stream, strict=True)]
    streams, start = StreamSum(terms, engine), 0
    for size in sizes:
        streams.add_to(words[start : start + size])
        start += size
    assert words.tolist() == expected


def test_opposite_signs_cancel_over_several_segments() -> None:
    words = np.arange(2 * SEGMENT_BYTES // 8 + 12_345, dtype="<u8")
    before = words.copy()
    for sign in (+1, -1):
        StreamSum([(KEY, sign)]).add_to(words)
        assert (words == before).all() == (sign < 0)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"added \(\+1\) or taken off"):
        StreamSum([(KEY, 0)])
    with pytest.raises(ValueError, match="needs a key of 32 bytes"):
        StreamSum([(KEY[:16], 1)]).add_to(np.zeros(2, "<u8"))
    for words in (np.zeros(4, "<u4"), np.zeros(4, ">u8"), np.zeros((2, 2), "<u8"), np.zeros(8, "<u8")[::2]):
        with pytest.raises(ValueError, match="contiguous vector of little-endian uint64"):
            StreamSum([(KEY, 1)]).add_to(words)
    streams = StreamSum([(KEY, 1)])
    streams.add_to(np.zeros(3, "<u8"))
    with pytest.raises(ValueError, match="the stream has ended"):
        streams.add_to(np.zeros(2, "<u8"))


def test_the_engine_is_one_of_the_two_and_stays() -> None:
    assert fastest_engine() in ("gcm", "ctr")
    assert fastest_engine() == fastest_engine()
