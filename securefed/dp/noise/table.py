"""The table of a law: which cells there are, as `protocols/distributed_noise` (Samplers) specifies them."""

from __future__ import annotations

from typing import Final

import numpy as np

from securefed.dp.noise.bounds import ceiling, floor
from securefed.dp.noise.law import Integers, Law

__all__ = ["CELLS", "Table"]

CELLS: Final = 2**16
_BLOCKS_LOG: Final = 6
"""At least 2^6 blocks a deviation: with more, more cells are cut by the graph; with fewer, each is cut deeper."""
_MOST_BITS: Final = 1 << 14


class Table:
    """The cells under the graph of N·w.

    Attributes:
        low_bits: b, a block has 2^b values.
        reach: R, blocks cover −R … R − 1.
        height: N, cells on top of one another where the weight is 1.
        tail_bits: b + q, a tail block has 2^(b+q) values.
        tail_cells: t, of one tail.
        sure: where the block of each sure cell starts.
        open_starts, open_levels: the same of open cells, and their level in the block.
        first_open, first_tail, first_empty: where these kinds begin in the numbering.
    """

    def __init__(self, law: Law) -> None:
        self._law = law
        variance = law.variance
        self.low_bits = 0
        while 4 ** (self.low_bits + 1 + _BLOCKS_LOG) <= variance:
            self.low_bits += 1
        blocks = 1
        while 4 * (blocks << self.low_bits) ** 2 < 49 * variance:
            blocks += 1
        self.reach = blocks << self.low_bits
        self.tail_bits = self.low_bits
        while not self._halves_within(self.tail_bits):
            self.tail_bits += 1

        starts = np.arange(-blocks, blocks, dtype=np.int64) << self.low_bits
        ends = starts + ((1 << self.low_bits) - 1)
        inner = np.where(starts >= 0, starts, ends)
        outer = np.where(starts >= 0, ends, starts)
        self.height = self._greatest_height(inner)
        self.tail_cells = self._tail_cells(self.height)
        cells, sure = self._rounded(inner, self.height, up=True), self._rounded(outer, self.height, up=False)
        self.sure: Integers = np.repeat(starts, sure)
        self.open_starts: Integers = np.repeat(starts, cells - sure)
        self.open_levels: Integers = np.concatenate(
            [np.arange(*levels, dtype=np.int64) for levels in zip(sure, cells, strict=True)]
        )
        self.first_open = len(self.sure)
        self.first_tail = self.first_open + len(self.open_starts)
        self.first_empty = self.first_tail + 2 * self.tail_cells

    def _halves_within(self, tail_bits: int) -> bool:
        """Whether the weight at R halves, or more, over a tail block of that size."""
        bits = 128
        while bits <= _MOST_BITS:
            low, high = self._law.bounds(self.reach, bits)
            low_beyond, high_beyond = self._law.bounds(self.reach + (1 << tail_bits), bits)
            if 2 * high_beyond <= low:
                return True
            if 2 * low_beyond > high:
                return False
            bits *= 2
        raise ArithmeticError("the width of the tail's blocks is not settled")

    def _greatest_height(self, inner: Integers) -> int:
        """The greatest N whose cells fit: their number grows with N."""
        fits, too_high = 0, CELLS
        while too_high - fits > 1:
            height = (fits + too_high) // 2
            if self._rounded(inner, height, up=True).sum() + 2 * self._tail_cells(height) <= CELLS:
                fits = height
            else:
                too_high = height
        return fits

    def _tail_cells(self, height: int) -> int:
        return ceiling(self._law.bounds, self.reach, height << (self.tail_bits - self.low_bits + 1))

    def _rounded(self, x: Integers, height: int, *, up: bool) -> Integers:
        """⌈N·w⌉ or ⌊N·w⌋: in doubles where their bounds agree, else in integers."""
        weights = self._law.weights(x)
        toward = np.ceil if up else np.floor
        low, high = (toward(height * (weights.value + sign * weights.error)) for sign in (-1, 1))
        whole = np.maximum(low, 0).astype(np.int64)
        exactly = ceiling if up else floor
        for at in np.flatnonzero(low != high):
            whole[at] = exactly(self._law.bounds, int(x[at]), height)
        return whole
