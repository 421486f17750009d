"""The AES-256 counter stream under masks and rounding, and its sum over many keys at the speed of memory.

`Stream(key)` is defined in `protocols/README.md`: segments of 4 MiB, the segment's index as nonce, the block counter
from 2. `securefed.crypto.engine` makes its bits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.crypto.engine import AES_BLOCK, Encryptor, Engine, fastest_engine, open_stream

__all__ = ["BLOCK_BYTES", "MOST_THREADS", "SEGMENT_BYTES", "Reader", "StreamSum", "Words", "read"]

Words = npt.NDArray[np.uint64]

SEGMENT_BYTES: Final = 4 * 1024 * 1024
BLOCK_BYTES: Final = 256 * 1024
"""Bytes made and added at a time: two of them stay in the second-level cache, and each is large enough to hide the
calls."""
THREADED_BLOCK_BYTES: Final = 512 * 1024
"""The same with threads: fewer blocks are fewer waits for the interpreter's lock, which cost more than the cache."""
MOST_THREADS: Final = 8
"""By default: their blocks take a megabyte each."""

_LEAST_FOR_THREADS: Final = 4 * 1024 * 1024
"""Bytes of all streams together under which a second thread costs more time than it takes over."""
_ZEROS: Final = memoryview(bytes(THREADED_BLOCK_BYTES))


class StreamSum:
    """`Σ ±Stream(key)` over several keys, taken from its front piece by piece and added to words in place.

    Args:
        terms: (key of 32 bytes, +1 or −1) for each stream.
        engine: for tests and benches; by default the faster one here.
        threads: how many work on every piece, never more than there are terms. By default one on small pieces, and
            on larger ones as many as this process has processors, at most `MOST_THREADS`.

    Threads share the streams, not the words: a stream cannot be entered in mid-segment, and a sum modulo 2^64 is the
    same bits in any order. So they help on short pieces too: from about half a megabyte, best from `SEGMENT_BYTES`.
    Memory beyond the words: two blocks a thread (1 MiB, or half of it where there is one) and a cipher context a key.
    """

    def __init__(
        self, terms: Sequence[tuple[bytes, int]], engine: Engine | None = None, threads: int | None = None
    ) -> None:
        if any(sign not in (1, -1) for _, sign in terms):
            raise ValueError("a stream is added (+1) or taken off (-1)")
        if threads is not None and threads < 1:
            raise ValueError(f"at least one thread is needed, got {threads}")
        engine = engine or fastest_engine()
        count = min(threads or _processors(), len(terms))
        block_bytes = THREADED_BLOCK_BYTES if count > 1 else BLOCK_BYTES
        self._parts = [_Part(terms[first::count], engine, block_bytes) for first in range(count)]
        self._always_threads = threads is not None
        self._pool = ThreadPoolExecutor(count - 1, "stream-sum") if count > 1 else None
        # One for each block that threads may be at: two of them rarely wait for each other.
        self._locks = [Lock() for _ in self._parts]
        self._position = 0
        self._in_step = True

    def add_to(self, words: Words) -> None:
        """Add the next `len(words)` words of the sum to `words` (uint64, one-dimensional, contiguous), modulo 2^64.

        Only the last piece may have an odd length.
        """
        if words.dtype != np.dtype("<u8") or words.ndim != 1 or not words.flags.c_contiguous:
            raise ValueError("words must be a contiguous vector of little-endian uint64")
        if self._position % AES_BLOCK:
            raise ValueError("the stream has ended: an earlier piece had an odd length")
        if not self._in_step:
            raise ValueError("the stream has ended: an earlier piece was interrupted")
        # Until all parts are through: streams that are at different places would give another sum.
        self._in_step = False
        worth_it = self._always_threads or words.nbytes * sum(map(len, self._parts)) >= _LEAST_FOR_THREADS
        if self._pool is None or not worth_it:
            for part in self._parts:
                part.add_to(words, self._position, self._locks)
        else:
            others = list[Future[None]]()
            try:
                for part in self._parts[1:]:
                    others.append(self._pool.submit(part.add_to, words, self._position, self._locks))
                self._parts[0].add_to(words, self._position, self._locks)
            finally:
                wait(others)  # nobody writes to words any more when this returns, or raises
            for other in others:
                other.result()
        self._in_step = True
        self._position += words.nbytes


class _Part:
    """The streams of one thread, summed block by block in two buffers of its own."""

    def __init__(self, terms: Sequence[tuple[bytes, int]], engine: Engine, block_bytes: int) -> None:
        self._terms = tuple(terms)
        self._engine = engine
        self._block_bytes = block_bytes
        self._open: list[Encryptor] = []
        # The library asks for room of a block less one beyond the output.
        self._sum, self._made = (np.zeros((block_bytes + AES_BLOCK) // 8, "<u8") for _ in range(2))

    def __len__(self) -> int:
        return len(self._terms)

    def add_to(self, words: Words, position: int, locks: Sequence[Lock]) -> None:
        """Add these streams' sum, from their byte `position` on, to `words`, which other threads add to as well."""
        done = 0
        while done < len(words):
            within = position % SEGMENT_BYTES
            if within == 0:
                self._open = [open_stream(self._engine, key, position // SEGMENT_BYTES) for key, _ in self._terms]
            size = min(self._block_bytes, SEGMENT_BYTES - within, (len(words) - done) * 8)
            block = self._summed(size)
            piece = words[done : done + size // 8]
            # All threads cut at the same places, so whoever is at this block holds this lock.
            with locks[position // self._block_bytes % len(locks)]:
                (np.add if self._terms[0][1] > 0 else np.subtract)(piece, block, out=piece)
            done += size // 8
            position += size

    def _summed(self, size: int) -> Words:
        """The next `size` bytes of the sum, over the sign of the first term."""
        block, made = self._sum[: size // 8], self._made[: size // 8]
        zeros, room = _ZEROS[:size], self._made.data.cast("B")[: size + AES_BLOCK - 1]
        # The first stream is made where the sum will be. Blocks outside, streams inside: both stay in the cache.
        self._open[0].update_into(zeros, self._sum.data.cast("B")[: size + AES_BLOCK - 1])
        for encryptor, (_, sign) in zip(self._open[1:], self._terms[1:], strict=True):
            encryptor.update_into(zeros, room)
            (np.add if sign == self._terms[0][1] else np.subtract)(block, made, out=block)
        return block


def _processors() -> int:
    """How many this process may use, at most `MOST_THREADS`."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_THREADS)


class Reader:
    """The bytes of one `Stream(key)`, taken from its front piece by piece."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._position = 0
        self._encryptor: Encryptor | None = None

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """The next `size` bytes."""
        out = np.empty(size + AES_BLOCK, np.uint8)
        room = out.data
        done = 0
        while done < size:
            within = self._position % SEGMENT_BYTES
            if within == 0 or self._encryptor is None:
                self._encryptor = open_stream("ctr", self._key, self._position // SEGMENT_BYTES)
            step = min(BLOCK_BYTES, SEGMENT_BYTES - within, size - done)
            self._encryptor.update_into(_ZEROS[:step], room[done:])
            done += step
            self._position += step
        return out[:size]


def read(key: bytes, size: int) -> bytes:
    """The first `size` bytes of `Stream(key)`."""
    return Reader(key).take(size).tobytes()
