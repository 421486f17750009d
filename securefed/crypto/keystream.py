"""The AES-256 counter stream under masks and rounding, and its sum over many keys at the speed of memory.

`Stream(key)` is defined in `protocols/README.md`: segments of 4 MiB, the segment's index as nonce, the block counter
from 2. That is also the keystream of AES-256-GCM, and on processors with vector AES the library's GCM is
several times faster than its plain counter mode, authentication included. Both engines give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from time import perf_counter_ns
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from securefed.crypto.kdf import KEY_BYTES

__all__ = [
    "BLOCK_BYTES", "SEGMENT_BYTES", "Engine", "Reader", "StreamSum", "Words", "fastest_engine", "open_stream", "read",
]  # fmt: skip

Words = npt.NDArray[np.uint64]
Engine = Literal["gcm", "ctr"]

SEGMENT_BYTES: Final = 4 * 1024 * 1024
BLOCK_BYTES: Final = 256 * 1024
"""Bytes made and added at a time: stays in the second-level cache, and large enough to hide the calls."""

_AES_BLOCK: Final = 16
_FIRST_COUNTER: Final = 2
_ZEROS: Final = memoryview(bytes(BLOCK_BYTES))


class _Encryptor(Protocol):
    def update_into(self, data: memoryview, buf: memoryview, /) -> int: ...


def open_stream(engine: Engine, key: bytes, segment: int) -> _Encryptor:
    """The library's encryptor at the front of one segment: fed with zeros, it gives the stream."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"AES-256 needs a key of {KEY_BYTES} bytes, got {len(key)}")
    nonce = segment.to_bytes(12, "big")
    if engine == "gcm":
        return Cipher(AES(key), GCM(nonce)).encryptor()
    return Cipher(AES(key), CTR(nonce + _FIRST_COUNTER.to_bytes(4, "big"))).encryptor()


@cache
def fastest_engine() -> Engine:
    """The engine that makes a segment faster on this machine; both are timed once a process (some milliseconds)."""
    best: dict[Engine, int] = {}
    buffer = memoryview(bytearray(BLOCK_BYTES + _AES_BLOCK))
    engines: tuple[Engine, Engine] = ("gcm", "ctr")
    for _ in range(3):
        for engine in engines:
            encryptor = open_stream(engine, bytes(KEY_BYTES), 0)
            start = perf_counter_ns()
            for _ in range(4):
                encryptor.update_into(_ZEROS, buffer)
            elapsed = perf_counter_ns() - start
            best[engine] = min(elapsed, best.get(engine, elapsed))
    return "gcm" if best["gcm"] <= best["ctr"] else "ctr"


class StreamSum:
    """`Σ ±Stream(key)` over several keys, taken from its front piece by piece and added to words in place.

    Args:
        terms: (key of 32 bytes, +1 or −1) for each stream.
        engine: for tests and benches; by default the faster one here.

    Memory beyond the words: one block of 256 KiB and a cipher context a key.
    """

    def __init__(self, terms: Sequence[tuple[bytes, int]], engine: Engine | None = None) -> None:
        if any(sign not in (1, -1) for _, sign in terms):
            raise ValueError("a stream is added (+1) or taken off (-1)")
        self._terms = tuple(terms)
        self._engine = engine or fastest_engine()
        self._position = 0
        self._open: list[_Encryptor] = []
        # The library asks for room of a block less one beyond the output.
        self._buffer = np.zeros((BLOCK_BYTES + _AES_BLOCK) // 8, "<u8")

    def add_to(self, words: Words) -> None:
        """Add the next `len(words)` words of the sum to `words` (uint64, one-dimensional, contiguous), modulo 2^64.

        Only the last piece may have an odd length.
        """
        if words.dtype != np.dtype("<u8") or words.ndim != 1 or not words.flags.c_contiguous:
            raise ValueError("words must be a contiguous vector of little-endian uint64")
        if self._position % _AES_BLOCK:
            raise ValueError("the stream has ended: an earlier piece had an odd length")
        raw = self._buffer.data.cast("B")
        done = 0
        while done < len(words):
            within = self._position % SEGMENT_BYTES
            if within == 0:
                segment = self._position // SEGMENT_BYTES
                self._open = [open_stream(self._engine, key, segment) for key, _ in self._terms]
            size = min(BLOCK_BYTES, SEGMENT_BYTES - within, (len(words) - done) * 8)
            piece = words[done : done + size // 8]
            made = self._buffer[: size // 8]
            zeros, room = _ZEROS[:size], raw[: size + _AES_BLOCK - 1]
            # Blocks outside, streams inside: the piece stays in the cache while all streams pass over it.
            for encryptor, (_, sign) in zip(self._open, self._terms, strict=True):
                encryptor.update_into(zeros, room)
                (np.add if sign > 0 else np.subtract)(piece, made, out=piece)
            done += size // 8
            self._position += size


class Reader:
    """The bytes of one `Stream(key)`, taken from its front piece by piece."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._position = 0
        self._encryptor: _Encryptor | None = None

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """The next `size` bytes."""
        out = np.empty(size + _AES_BLOCK, np.uint8)
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
