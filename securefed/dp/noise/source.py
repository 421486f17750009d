"""Uniform words of a keyed AES-256 counter stream: what every random choice of this package is made of."""

from __future__ import annotations

import os
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from securefed.crypto.engine import AES_BLOCK, Encryptor, fastest_engine, open_stream
from securefed.crypto.kdf import KEY_BYTES, Label, derive
from securefed.crypto.keystream import SEGMENT_BYTES
from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["Source"]

_WORDS: Final = tuple(np.dtype(name) for name in ("<u1", "<u2", "<u4", "<u8"))
_KEPT_BYTES: Final = 16 * 1024
"""Made ahead for small requests: a call of the library costs as much as a few KiB of stream."""
_STEP_BYTES: Final = 256 * 1024
_ZEROS: Final = memoryview(bytes(_STEP_BYTES))


class Source:
    """The words of `Stream(key)` (`protocols/README.md`), from its front, each of them once.

    Not for several threads at once. It cannot be copied or pickled, and a forked process cannot go on with it: noise
    that is drawn twice can be taken off again by whoever sees both results.

    Args:
        key: 32 secret uniform bytes, used for nothing else; `fresh` and `derived` make them.

    Raises:
        ConfigError: the key has another length.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ConfigError("", f"a source needs a key of {KEY_BYTES} bytes, got {len(key)}; use Source.fresh()")
        self._key = bytes(key)
        self._engine = fastest_engine()
        self._encryptor: Encryptor | None = None
        self._position = 0  # in the stream, of what is made next
        self._kept = np.empty(0, np.uint8)
        self._process = os.getpid()

    @classmethod
    def fresh(cls) -> Source:
        """A source under a new key from the operating system."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def derived(cls, secret: bytes, label: Label, context: bytes) -> Source:
        """The source for one purpose in one context, from a secret that serves several.

        Args:
            secret: at least 32 bytes of key material.
            label: the purpose, such as `Label.DP_NOISE`.
            context: all that it is bound to (round, step, tensor), of a length that the label fixes. The same secret,
                label and context give the same words: never use them for two releases.
        """
        return cls(derive(secret, label, context))

    def words(self, size: int, dtype: npt.DTypeLike = "<u8") -> npt.NDArray[np.unsignedinteger]:
        """The next words of the stream, in a new array that belongs to the caller.

        Args:
            size: how many, ≥ 0.
            dtype: `<u1`, `<u2`, `<u4` or `<u8`: uniform unsigned integers of so many bytes, little-endian.

        Raises:
            ConfigError: a size or type other than these.
            LocalProtocolError: N2, this process was forked from the one that made the source.
        """
        kind = np.dtype(dtype)
        if kind not in _WORDS or size < 0:
            raise ConfigError("", f"a source gives 0 or more words <u1, <u2, <u4 or <u8, not {size} of {kind}")
        if self._process != os.getpid():
            _refuse("was forked: make a new source in each process")
        wanted = size * kind.itemsize
        # The library asks for room of a block less one beyond the output.
        made = np.empty(wanted + AES_BLOCK, np.uint8)
        ready = min(wanted, len(self._kept))
        made[:ready] = self._kept[:ready]
        self._kept = self._kept[ready:]
        rest = wanted - ready
        if rest >= _KEPT_BYTES:
            direct = rest - rest % AES_BLOCK
            self._make(made.data[ready:], direct)
            ready, rest = ready + direct, rest - direct
        if rest:
            ahead = np.empty(_KEPT_BYTES + AES_BLOCK, np.uint8)
            self._make(ahead.data, _KEPT_BYTES)
            made[ready:wanted] = ahead[:rest]
            self._kept = ahead[rest:_KEPT_BYTES]
        return made[:wanted].view(kind)

    def _make(self, room: memoryview, size: int) -> None:
        """Write the stream's next `size` bytes (a multiple of the cipher's block)."""
        done = 0
        while done < size:
            within = self._position % SEGMENT_BYTES
            if within == 0 or self._encryptor is None:
                self._encryptor = open_stream(self._engine, self._key, self._position // SEGMENT_BYTES)
            step = min(_STEP_BYTES, SEGMENT_BYTES - within, size - done)
            self._encryptor.update_into(_ZEROS[:step], room[done : done + step + AES_BLOCK - 1])
            done += step
            self._position += step

    def __repr__(self) -> str:
        return f"Source({self._position - len(self._kept)} bytes used)"

    def __reduce__(self) -> NoReturn:
        _refuse("cannot be copied or pickled: derive a source for each purpose")


def _refuse(what: str) -> NoReturn:
    raise LocalProtocolError("N2", f"a source of noise {what}, since words that are used twice protect nothing")
