"""The stream against other ways to make it, and its sum against the sum of streams."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import ClassVar

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from securefed.crypto import keystream
from securefed.crypto.engine import Encryptor, Engine, open_stream
from securefed.crypto.keystream import BLOCK_BYTES, SEGMENT_BYTES, THREADED_BLOCK_BYTES, Reader, StreamSum, read
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
    threads=st.sampled_from([None, 1, 2, 3, 9]),
)
def test_a_sum_of_streams_is_their_sum(
    signs: list[int], pieces: list[int], last: int, engine: Engine, threads: int | None
) -> None:
    """Signs, pieces, engines and threads: always x + Σ ±stream modulo 2^64, against Python's integers."""
    terms = [(seed(f"key {i}"), sign) for i, sign in enumerate(signs)]
    sizes = [*pieces, last]
    words = np.arange(sum(sizes), dtype="<u8") << np.uint64(50)
    expected = words.tolist()
    for key, sign in terms:
        stream = np.frombuffer(read(key, 8 * len(words)), "<u8").tolist()
        expected = [(word + sign * made) % 2**64 for word, made in zip(expected, stream, strict=True)]
    streams, start = StreamSum(terms, engine, threads), 0
    for size in sizes:
        streams.add_to(words[start : start + size])
        start += size
    assert words.tolist() == expected


@contextmanager
def short_blocks() -> Iterator[None]:
    """Edges of blocks and segments every few words, so that examples of some hundred words cross many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keystream, "BLOCK_BYTES", 48)
        patch.setattr(keystream, "THREADED_BLOCK_BYTES", 64)
        patch.setattr(keystream, "SEGMENT_BYTES", 320)
        yield


@given(
    signs=st.lists(st.sampled_from([1, -1]), min_size=1, max_size=7),
    pieces=st.lists(st.integers(0, 60).map(lambda n: 2 * n), min_size=1, max_size=4),
    threads=st.integers(2, 8),
)
def test_threads_give_the_bits_of_one_thread(signs: list[int], pieces: list[int], threads: int) -> None:
    terms = [(seed(f"key {i}"), sign) for i, sign in enumerate(signs)]
    expected = np.arange(sum(pieces), dtype="<u8")
    with short_blocks():
        for key, sign in terms:
            expected += np.frombuffer(read(key, expected.nbytes), "<u8") * np.uint64(sign % 2**64)
        for count in (1, threads):
            words = np.arange(sum(pieces), dtype="<u8")
            streams, start = StreamSum(terms, threads=count), 0
            for size in pieces:
                streams.add_to(words[start : start + size])
                start += size
            assert words.tolist() == expected.tolist()


def test_threads_give_the_bits_of_one_thread_over_real_blocks() -> None:
    terms = [(seed(f"key {i}"), 1 - i % 2 * 2) for i in range(5)]
    one, several = (np.zeros(2 * SEGMENT_BYTES // 8 + 70_001, "<u8") for _ in range(2))
    StreamSum(terms, threads=1).add_to(one)
    StreamSum(terms, threads=3).add_to(several)
    assert (one == several).all()


class Watched(np.ndarray):
    """Words that take their time to be written, and see whether two threads write the same ones at once."""

    writing: ClassVar[set[int]] = set()
    met: ClassVar[list[int]] = []

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: np.ndarray, out: tuple[np.ndarray]) -> np.ndarray:
        place = out[0].ctypes.data
        if place in self.writing:
            self.met.append(place)
        self.writing.add(place)
        sleep(0.005)
        ufunc(*(np.asarray(words) for words in inputs), out=np.asarray(out[0]))
        self.writing.discard(place)
        return out[0]


def test_no_two_threads_write_the_same_words_at_once() -> None:
    words = np.zeros(100, "<u8").view(Watched)
    with short_blocks():
        StreamSum([(seed(f"key {i}"), 1) for i in range(4)], threads=4).add_to(words)
    assert np.asarray(words).any()
    assert not Watched.met


@pytest.mark.parametrize(
    ("threads", "terms", "words", "expected"),
    [
        pytest.param(None, 8, 2**16, 2, id="by default on the pieces that encoding gives"),
        pytest.param(None, 7, 2**16, 1, id="by default not on less"),
        pytest.param(1, 8, 2**20, 1, id="one where one is asked for"),
        pytest.param(3, 4, 2, 3, id="as many as are asked for"),
        pytest.param(3, 2, 2**16, 2, id="no more than terms"),
        pytest.param(None, 1, 2**20, 1, id="one term, one thread"),
    ],
)
def test_how_many_threads_work(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, terms: int, words: int, expected: int
) -> None:
    """On a machine with two processors. No stream opens before all threads are there: they work at the same time."""
    names: set[str] = set()
    arrived = threading.Condition()

    def noted(engine: Engine, key: bytes, segment: int) -> Encryptor:
        with arrived:
            names.add(threading.current_thread().name)
            arrived.notify_all()
            assert arrived.wait_for(lambda: len(names) >= expected, timeout=60)
        return open_stream(engine, key, segment)

    monkeypatch.setattr(keystream, "open_stream", noted)
    monkeypatch.setattr(keystream, "_processors", lambda: 2)
    streams = StreamSum([(seed(f"key {i}"), 1) for i in range(terms)], threads=threads)
    streams.add_to(np.zeros(words, "<u8"))
    assert len(names) == expected
    del streams
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("stream-sum"):
            thread.join(10)
            assert not thread.is_alive()


def test_processors_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for usable, expected in (({3}, 1), ({0, 7}, 2), (set(range(64)), keystream.MOST_THREADS)):
        monkeypatch.setattr("os.sched_getaffinity", {0: usable}.__getitem__, raising=False)
        assert keystream._processors() == expected
    monkeypatch.delattr("os.sched_getaffinity")
    for there, expected in ((None, 1), (3, 3), (64, keystream.MOST_THREADS)):
        monkeypatch.setattr("os.cpu_count", lambda there=there: there)
        assert keystream._processors() == expected


@pytest.mark.parametrize(
    ("threads", "blocks"), [(1, 2 * BLOCK_BYTES), (2, 4 * THREADED_BLOCK_BYTES), (3, 6 * THREADED_BLOCK_BYTES)]
)
def test_memory_is_two_blocks_a_thread(threads: int, blocks: int) -> None:
    words = np.zeros(SEGMENT_BYTES // 8, "<u8")
    tracemalloc.start()
    try:
        StreamSum([(seed(f"key {i}"), 1) for i in range(4)], threads=threads).add_to(words)
        assert blocks <= tracemalloc.get_traced_memory()[1] < 1.1 * blocks
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("threads", [1, 2])
def test_streams_do_not_go_on_after_a_failure(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """They would be at different places, and their sum another one."""

    def failing(engine: Engine, key: bytes, segment: int) -> Encryptor:
        if segment and key == KEY:
            raise MemoryError
        return open_stream(engine, key, segment)

    monkeypatch.setattr(keystream, "open_stream", failing)
    streams = StreamSum([(seed("other"), 1), (KEY, 1)], threads=threads)
    with pytest.raises(MemoryError):
        streams.add_to(np.zeros(SEGMENT_BYTES // 8 + 2, "<u8"))
    words = np.zeros(2, "<u8")
    with pytest.raises(ValueError, match="an earlier piece was interrupted"):
        streams.add_to(words)
    assert not words.any()


def test_nobody_writes_to_the_words_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thread fails at once; what is raised waits for the slow one."""
    finished = threading.Event()

    class Slow:
        def update_into(self, data: memoryview, buf: memoryview) -> int:
            assert not finished.wait(0.2)
            finished.set()
            return len(data)

    def opened(engine: Engine, key: bytes, segment: int) -> Encryptor:
        if key == KEY:
            raise MemoryError
        return Slow()

    monkeypatch.setattr(keystream, "open_stream", opened)
    with pytest.raises(MemoryError):
        StreamSum([(KEY, 1), (seed("other"), 1)], threads=2).add_to(np.zeros(2, "<u8"))
    assert finished.is_set()


def test_a_sum_of_no_streams_is_zero() -> None:
    words = np.arange(2**17, dtype="<u8")
    StreamSum([]).add_to(words)
    assert (words == np.arange(2**17, dtype="<u8")).all()


def test_opposite_signs_cancel_over_several_segments() -> None:
    words = np.arange(2 * SEGMENT_BYTES // 8 + 12_345, dtype="<u8")
    before = words.copy()
    for sign in (+1, -1):
        StreamSum([(KEY, sign)]).add_to(words)
        assert (words == before).all() == (sign < 0)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"added \(\+1\) or taken off"):
        StreamSum([(KEY, 0)])
    for threads in (0, -1):
        with pytest.raises(ValueError, match="at least one thread"):
            StreamSum([(KEY, 1)], threads=threads)
    with pytest.raises(ValueError, match="needs a key of 32 bytes"):
        StreamSum([(KEY[:16], 1)]).add_to(np.zeros(2, "<u8"))
    for words in (np.zeros(4, "<u4"), np.zeros(4, ">u8"), np.zeros((2, 2), "<u8"), np.zeros(8, "<u8")[::2]):
        with pytest.raises(ValueError, match="contiguous vector of little-endian uint64"):
            StreamSum([(KEY, 1)]).add_to(words)
    streams = StreamSum([(KEY, 1)])
    streams.add_to(np.zeros(3, "<u8"))
    with pytest.raises(ValueError, match="the stream has ended"):
        streams.add_to(np.zeros(2, "<u8"))
