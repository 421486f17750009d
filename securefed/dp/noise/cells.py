"""Exact sampling of a symmetric, log-concave law on the integers, from a table of equally likely cells.

The algorithm is specified in `protocols/distributed_noise` (Samplers). It is rejection from 2^16 cells of equal area
under the graph of the weights (Ahrens 1995, "A one-table method for sampling from continuous and discrete
distributions", Computing 54; the ziggurat is a relative). A value that falls on a *sure* cell, which some 98 % do,
costs a look into the table. The others are compared with their weight in doubles, whose error is bounded, and where
that leaves the answer open, in integers of as many digits as it takes. So nothing about the law is approximate.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.dp.noise.law import Integers, Law
from securefed.dp.noise.source import Source
from securefed.dp.noise.table import CELLS, Table
from securefed.errors import ConfigError

__all__ = ["BATCH", "Cells", "count"]

Floats = npt.NDArray[np.float32]

BATCH: Final = 2**18
"""Values drawn in common rounds: part of the specification, since it orders the words."""
_PIECE: Final = 2**16
"""Values looked up at a time: what is made for them stays in the cache."""
_FIRST_BITS: Final = 128
_MOST_BITS: Final = 1 << 16
_ROUNDING: Final = 2.0**-35
"""Absolute error of a height in doubles: it is below 2^16, its fraction cut after 53 digits."""


@dataclass(frozen=True)
class _Proposed:
    """Values that are taken where level + f < N·2^shift·w(x)."""

    x: Integers
    level: Integers
    shift: Integers


class Cells:
    """A law's table, and what is drawn from it.

    Args:
        law: of the values.
    """

    def __init__(self, law: Law) -> None:
        self._law = law
        self.table = Table(law)
        starts = np.zeros(CELLS, np.int64)
        starts[: len(self.table.sure)] = self.table.sure
        self._starts = starts
        low_bits = self.table.low_bits
        self._word = np.dtype("<u2" if low_bits == 0 else "<u4" if low_bits <= 16 else "<u8")
        # Floats are in units of the greatest power of two up to the deviation: one rounding, of the finished value.
        self._unit = 2.0 ** -(low_bits + 6)
        self._float_starts = (starts * self._unit).astype(np.float32)

    def draw(self, source: Source, size: int) -> Integers:
        """So many independent values, as 64-bit integers.

        Raises:
            ConfigError: N1, the size is negative or no integer.
        """
        out = np.empty(count(size), np.int64)
        for first in range(0, len(out), BATCH):
            self._batch(source, out[first : first + BATCH])
        return out

    def draw_floats(self, source: Source, out: Floats) -> None:
        """Fill at most `BATCH` floats with values over 2^(b + 6), each rounded once, to the nearest."""
        self._batch(source, out)

    def _batch(self, source: Source, out: Integers | Floats) -> None:
        refused = self._round(source, out)
        while len(refused):
            drawn = np.empty(len(refused), out.dtype)
            again = self._round(source, drawn)
            out[refused] = drawn
            refused = refused[again]

    def _round(self, source: Source, out: Integers | Floats) -> npt.NDArray[np.intp]:
        """Propose a value for each place, and say which places were refused theirs."""
        where, cell, low = self._look_up(source, out)
        empty = cell >= self.table.first_empty
        refused = where[empty]
        where, cell, low = where[~empty], cell[~empty], low[~empty]
        proposed = self._proposed(source, cell, low)
        taken = self._taken(source, proposed)
        accepted = proposed.x[taken]
        out[where[taken]] = accepted if out.dtype == np.int64 else accepted * self._unit
        return np.sort(np.concatenate([refused, where[~taken]]))

    def _look_up(self, source: Source, out: Integers | Floats) -> tuple[npt.NDArray[np.intp], Integers, Integers]:
        """Write the values of sure cells; give place, cell and low bits of all the others."""
        places, cells, lows = [], [], []
        mask, first_open = (1 << self.table.low_bits) - 1, self.table.first_open
        floats = out.dtype != np.int64
        # Not kept from one call to the next: tables are shared between threads.
        index = np.empty(min(_PIECE, len(out)), np.intp)
        addends = np.empty(len(index) if floats else 0, np.float32)
        starts = self._float_starts if floats else self._starts
        for first in range(0, len(out), _PIECE):
            piece = out[first : first + _PIECE]
            words = source.words(len(piece), self._word)
            high = words.view("<u2")[self._word.itemsize // 2 - 1 :: self._word.itemsize // 2]
            at = index[: len(piece)]
            np.copyto(at, high)
            np.take(starts, at, out=piece, mode="clip")  # without it numpy looks for bad indices in a pass of its own
            others = np.flatnonzero(high >= first_open)
            if mask:
                words &= words.dtype.type(mask)
                signed = words.view(f"<i{self._word.itemsize}")  # the mask leaves them positive; these convert faster
                if floats:
                    addend = addends[: len(piece)]
                    np.copyto(addend, signed, casting="same_kind")
                    addend *= np.float32(self._unit)
                    piece += addend
                else:
                    piece += signed
                lows.append(words[others].astype(np.int64))
            else:
                lows.append(np.zeros(len(others), np.int64))
            places.append(others + first)
            cells.append(at[others])
        return np.concatenate(places), np.concatenate(cells), np.concatenate(lows)

    def _proposed(self, source: Source, cell: Integers, low: Integers) -> _Proposed:
        """What open cells and tail cells propose."""
        table = self.table
        tail = np.flatnonzero(cell >= table.first_tail)
        of_block = np.minimum(cell, table.first_tail - 1) - table.first_open
        x, level = table.open_starts[of_block] + low, table.open_levels[of_block]
        shift = np.zeros(len(cell), np.int64)
        if len(tail):
            side, tail_level = np.divmod(cell[tail] - table.first_tail, table.tail_cells)
            block = _trailing_zeros(source, len(tail))
            within = source.words(len(tail), "<u8") & np.uint64((1 << table.tail_bits) - 1)
            distance = table.reach + (block << table.tail_bits) + within.astype(np.int64)
            x[tail] = np.where(side == 0, distance, ~distance)
            level[tail] = tail_level
            shift[tail] = table.tail_bits - table.low_bits + 1 + block
        return _Proposed(x, level, shift)

    def _taken(self, source: Source, proposed: _Proposed) -> npt.NDArray[np.bool_]:
        """Which are taken. Doubles decide all but one in 2^30 or so."""
        digits = source.words(len(proposed.x), "<u8")
        weights = self._law.weights(proposed.x)
        scale = np.ldexp(float(self.table.height), proposed.shift.astype(np.int32))
        margin = weights.value * scale - (proposed.level + (digits >> np.uint64(11)) * 2.0**-53)
        slack = weights.error * scale * 1.001 + _ROUNDING
        taken = margin > slack
        for at in np.flatnonzero(np.abs(margin) <= slack):
            taken[at] = self._taken_exactly(
                source, int(proposed.x[at]), int(proposed.level[at]), int(proposed.shift[at]), int(digits[at])
            )
        return taken

    def _taken_exactly(self, source: Source, x: int, level: int, shift: int, digits: int) -> bool:
        """The same in integers: digits of the weight until it is settled, of f only where it needs them."""
        floor, drawn, bits, scale = (level << 64) + digits, 64, _FIRST_BITS, self.table.height << shift
        while bits <= _MOST_BITS:
            low, high = (scale * end << drawn for end in self._law.bounds(x, bits))
            if (floor + 1) << bits <= low:
                return True
            if floor << bits >= high:
                return False
            if floor << bits < low and high < (floor + 1) << bits:
                floor, drawn = (floor << 64) + int(source.words(1, "<u8")[0]), drawn + 64
            else:
                bits *= 2
        raise ArithmeticError(f"a comparison is not settled by {_MOST_BITS} bits")


def count(size: int) -> int:
    """The size, if it is one.

    Raises:
        ConfigError: N1, it is negative or no integer.
    """
    try:
        whole = index(size)
    except TypeError:
        whole = -1
    if whole < 0:
        raise ConfigError("", "[N1] the number of values must be an integer of at least 0")
    return whole


def _trailing_zeros(source: Source, size: int) -> Integers:
    """Geometric values, P(j) = 2^-(j+1): trailing zero bits of as many words as it takes."""
    zeros = np.zeros(size, np.int64)
    waiting = np.arange(size)
    while len(waiting):
        words = source.words(len(waiting), "<u8")
        lowest = (words & (~words + np.uint64(1))).astype(np.float64)  # a power of two, or 0
        zeros[waiting] += np.where(words == 0, 64, np.frexp(lowest)[1].astype(np.int64) - 1)
        waiting = waiting[words == 0]
    return zeros
