"""Gaussian noise in 32-bit floats, as fast as a library's ordinary generator, from the keyed stream.

A value is X/2^22 with X from the *exact* discrete Gaussian of σ = 2^22, rounded once to the nearest float. So the
tails are those of the normal law as far as they go, where a generator on 32-bit uniforms ends at 6.7 deviations.

What this does not give: differential privacy is proved for real numbers. The sum of two floats is rounded to a grid
that depends on the data, and which sums can occur at all may tell neighbouring data apart, with a probability
outside (ε, δ) (Mironov 2012, "On significance of the least significant bits for differential privacy", on Laplace
noise; Jin et al. 2022 on Gaussian noise). Nothing here protects from an adversary who uses the last bits of a
released float sum. Where that matters, round the data to a grid first and add `discrete_gaussian` or `skellam` noise
on that grid: no float is involved then, and the proof is about integers. The deviation is rounded to a float too:
where the accountant's is not one, the noise may be smaller than accounted by a part in 2^25.
"""

from __future__ import annotations

from fractions import Fraction
from math import isfinite
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.dp.noise.cells import BATCH, count
from securefed.dp.noise.discrete_gaussian import gaussian_cells
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError

__all__ = ["UNIT_LOG", "add_gaussian", "gaussian"]

Floats = npt.NDArray[np.float32]

UNIT_LOG: Final = 22
"""σ of the grid is 2^22: its blocks take all 16 lower bits of a 32-bit word, and floats resolve no more at 1."""


def gaussian(source: Source, size: int, out: Floats | None = None) -> Floats:
    """Independent standard normal floats.

    Args:
        source: of the words, 4.1 bytes a value.
        size: how many.
        out: float32 [size], contiguous, to be filled; by default a new array.

    Returns:
        `out`, or the new array.

    Raises:
        ConfigError: N1, a bad size; an `out` of another shape or type.
    """
    values = np.empty(count(size), np.float32) if out is None else out
    _check(values)
    if len(values) != size:
        raise ConfigError("", f"out has {len(values)} floats where {size} are wanted")
    cells = gaussian_cells(Fraction(4**UNIT_LOG))
    for first in range(0, size, BATCH):
        cells.draw_floats(source, values[first : first + BATCH])
    return values


def add_gaussian(source: Source, out: Floats, deviation: float) -> None:
    """Add independent normal noise to floats in place, in blocks that stay in the cache.

    Args:
        source: of the words.
        out: float32, one-dimensional, contiguous.
        deviation: of the noise, ≥ 0, finite. The product with the standard normal float is rounded once, the sum once.

    Raises:
        ConfigError: N1, a deviation outside these bounds; an `out` of another shape or type.
    """
    if not isfinite(deviation) or deviation < 0:
        raise ConfigError("", "[N1] a deviation of noise must be finite and at least 0")
    _check(out)
    if deviation == 0:
        return
    cells = gaussian_cells(Fraction(4**UNIT_LOG))
    block = np.empty(min(BATCH, len(out)), np.float32)
    for first in range(0, len(out), BATCH):
        piece = out[first : first + BATCH]
        noise = block[: len(piece)]
        cells.draw_floats(source, noise)
        noise *= np.float32(deviation)
        piece += noise


def _check(out: Floats) -> None:
    if out.dtype != np.float32 or out.ndim != 1 or not out.flags.c_contiguous:
        raise ConfigError("", "Gaussian floats are written to a contiguous vector of float32")
