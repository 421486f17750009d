"""The randomised Hadamard rotation in blocks: every coordinate of an update becomes about as large as any other.

One outlying coordinate would set the range that all noisy integers must have. After the rotation each coordinate is a
sum of all of its block with random signs. The bound is proved in `protocols/distributed_noise/README.md`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.crypto.kdf import KEY_BYTES, Label, derive
from securefed.crypto.keystream import Reader
from securefed.errors import LocalProtocolError

__all__ = ["BLOCK", "Piece", "Rotation", "Signs", "hadamard"]

Floats = npt.NDArray[np.float64]

BLOCK: Final = 2**14
"""Coordinates rotated together by default: as doubles they stay in the second-level cache."""
_PADDING: Final = 64
"""Zeros are at most one in so many coordinates."""
_RADIX: Final = 16
"""The transform of 16 coordinates is one product with a matrix of ±1: the library's fastest way through them."""
_ROWS: Final = 256
"""Of one product: the library shares larger ones among threads, which costs more than it gives."""
_PIECE: Final = 2**15
"""Most coordinates that are worked on at a time, unless a block is larger."""


@cache
def _matrix(size: int) -> Floats:
    """The Hadamard matrix of a power of two in Sylvester's order, not scaled."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def hadamard(rows: Floats) -> Floats:
    """The Walsh–Hadamard transform of each row, not scaled: done twice it gives the size times the row.

    Args:
        rows: float64, shape [count, size], contiguous; the size is a power of two.

    Returns:
        An array of the same shape; `rows` itself where the size is 1.
    """
    count, size = rows.shape
    done, out = 1, rows
    while done < size:
        # A Hadamard matrix is a tensor product of small ones, each of which mixes one digit of the index.
        factor = min(_RADIX, size // done)
        if done == 1:
            out = np.matmul(out.reshape(-1, min(size // factor, _ROWS), factor), _matrix(factor))
        else:
            out = np.matmul(_matrix(factor), out.reshape(-1, factor, done))
        done *= factor
    return out.reshape(count, size)


@dataclass(frozen=True)
class Piece:
    """Blocks of one size that lie one behind the other.

    Attributes:
        start: of the first coordinate.
        size: of a block.
        count: of blocks.
    """

    start: int
    size: int
    count: int

    @property
    def stop(self) -> int:
        """One beyond the last coordinate."""
        return self.start + self.size * self.count


class Signs:
    """The public random signs of a round: bit i of a stream, least significant bit of a byte first, 1 for −1.

    Args:
        seed: 32 bytes, public and fresh for the round, the same for all its clients and the server.
        length: how many signs.

    Raises:
        LocalProtocolError: N5, where the seed has another length.
    """

    def __init__(self, seed: bytes, length: int) -> None:
        if len(seed) != KEY_BYTES:
            raise LocalProtocolError("N5", f"the seed of a rotation has {KEY_BYTES} bytes, got {len(seed)}")
        self._bits = Reader(derive(seed, Label.DP_ROTATION, b"")).take(-(-length // 8))

    def of(self, piece: Piece) -> Floats:
        """±1, float64, shape [count, size]."""
        first = piece.start // 8
        signs = _BYTES[self._bits[first : -(-piece.stop // 8)]].reshape(-1)
        at = piece.start - first * 8
        return signs[at : at + piece.size * piece.count].reshape(piece.count, piece.size)


_BITS: Final = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_BYTES: Final[Floats] = 1 - 2 * _BITS.astype(np.float64)
"""The eight signs of each byte."""


@dataclass(frozen=True)
class Rotation:
    """How a vector is cut into blocks, and its rotation there and back.

    Padded with zeros to a multiple of the greatest power of two that is at most d/64 (and `block`), it is cut greedily
    into blocks of falling powers of two, from `block` down.

    Args:
        dimension: of the vector (d), ≥ 1.
        block: most coordinates of a block, a power of two.
    """

    dimension: int
    block: int = BLOCK

    @property
    def least(self) -> int:
        """Coordinates of the smallest block that may occur."""
        return min(self.block, 1 << (max(1, self.dimension // _PADDING).bit_length() - 1))

    @property
    def length(self) -> int:
        """Coordinates with padding."""
        return -(-self.dimension // self.least) * self.least

    def runs(self) -> Iterator[Piece]:
        """All blocks, those of one size together, in order."""
        start, size = 0, self.block
        while start < self.length:
            count = (self.length - start) // size
            if count:
                yield Piece(start, size, count)
                start += size * count
            size //= 2

    def pieces(self) -> Iterator[Piece]:
        """All blocks, in pieces that stay in the cache."""
        for run in self.runs():
            most = max(1, _PIECE // run.size)
            for first in range(0, run.count, most):
                yield Piece(run.start + first * run.size, run.size, min(most, run.count - first))

    @property
    def smallest(self) -> int:
        """Coordinates of the smallest block that does occur."""
        return min(run.size for run in self.runs())

    def flatness(self, failure: float) -> float:
        """Most that a coordinate of a rotated vector of norm 1 is, but for `failure`.

        Over the signs alone, whatever the vector: a coordinate is a sum of ±x_j/√B, so it passes τ/√B with a
        probability of at most 2·exp(−τ²/2) (Hoeffding 1963); the union is over all coordinates. Never over 1.

        Args:
            failure: probability that any coordinate is larger, in (0, 1).
        """
        return min(1.0, math.sqrt(2 * math.log(2 * self.length / failure) / self.smallest))

    def forward(self, values: Floats, piece: Piece, signs: Signs, scale: float) -> Floats:
        """The rotated coordinates of one piece: H·D·(scale·values), orthonormal.

        Args:
            values: float64, shape [at most stop − start], those of the piece; the last may lack the padding.
            piece: one of `pieces`.
            signs: of the round.
            scale: factor.
        """
        rows = signs.of(piece) * (scale / math.sqrt(piece.size))
        flat = rows.reshape(-1)
        flat[: len(values)] *= values
        flat[len(values) :] = 0.0
        return hadamard(rows).reshape(-1)

    def back(self, values: Floats, piece: Piece, signs: Signs, scale: float) -> Floats:
        """The inverse of `forward` with 1/scale: D·H·(scale·values), padding included."""
        rows = hadamard(values.reshape(piece.count, piece.size))
        return (rows * signs.of(piece) * (scale / math.sqrt(piece.size))).reshape(-1)
