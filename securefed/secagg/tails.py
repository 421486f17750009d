"""Tails of the hypergeometric distribution, twice: in exact integers, and in floating point to look before one counts.

A condition on probabilities is written once and takes either. Only the exact one decides: the rough one is a little
too generous, so that what it refuses need not be computed. An offer may ask for the tails of half a thousand draws
from a million clients, which is twenty seconds of integers and tenths of a second of floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import comb, lgamma
from typing import Final

import numpy as np

__all__ = ["Tail", "Tails", "exactly", "roughly"]

Tail = tuple[Sequence[int], int] | tuple[Sequence[float], float]
"""P[X ≥ x] for x = 0 … draws + 1, as numerators over one common denominator."""
Tails = Callable[[int, int, int], Tail]
"""From population, marked and draws, for X marked among so many drawn without replacement."""

_GENEROUS: Final = 1.001
"""What a rough tail is divided by. Its own relative error is under 10^-6: ln Γ of 2^20 is 10^7, and right to 10^-9."""


def exactly(population: int, marked: int, draws: int) -> tuple[list[int], int]:
    """The tail over `comb(population, draws)`. Pre-condition: marked, draws ≤ population."""
    clear = population - marked
    lowest, highest = max(0, draws - clear), min(draws, marked)
    ways = [0] * (draws + 2)
    term = comb(marked, lowest) * comb(clear, draws - lowest)
    ways[lowest] = term
    for x in range(lowest, highest):
        term = term * (marked - x) * (draws - x) // ((x + 1) * (clear - draws + x + 1))
        ways[x + 1] = term
    return list(accumulate(reversed(ways)))[::-1], comb(population, draws)


def roughly(population: int, marked: int, draws: int) -> tuple[list[float], float]:
    """The tail in floats, generously: a bound that the exact one keeps this one keeps too.

    Below 2^-1022 it is 0: no condition asks for so little.
    """
    clear = population - marked
    lowest, highest = max(0, draws - clear), min(draws, marked)
    x = np.arange(lowest, highest, dtype=np.float64)
    steps = np.log((marked - x) * (draws - x) / ((x + 1) * (clear - draws + x + 1)))
    first = _log_comb(marked, lowest) + _log_comb(clear, draws - lowest) - _log_comb(population, draws)
    tail = np.zeros(draws + 2)
    tail[lowest : highest + 1] = np.exp(first + np.concatenate(([0.0], np.cumsum(steps))))
    floats: list[float] = np.cumsum(tail[::-1])[::-1].tolist()
    return floats, _GENEROUS


def _log_comb(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
