"""Sources for tests: chosen bytes, and the same stream for the reference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.notation import stream


class Scripted:
    """Gives chosen bytes as words, in order, and nothing beyond them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.used = 0

    def words(self, size: int, dtype: npt.DTypeLike = "<u8") -> npt.NDArray[np.unsignedinteger]:
        start, self.used = self.used, self.used + size * np.dtype(dtype).itemsize
        assert self.used <= len(self._data), "the words have run out"
        return np.frombuffer(self._data[start : self.used], dtype).copy()

    @property
    def left(self) -> int:
        return len(self._data) - self.used


class StreamWords:
    """The words of Stream(key) by the specification, as the reference takes them."""

    PIECE = 2**18

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._made, self._ahead = 0, b""

    def __call__(self, count: int, bits: int) -> list[int]:
        size = count * bits // 8
        while len(self._ahead) < size:
            self._ahead += stream(self._key, self.PIECE, self._made)
            self._made += self.PIECE
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return np.frombuffer(taken, f"<u{bits // 8}").tolist()
