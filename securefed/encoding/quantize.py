"""Floats to integers by clipping and stochastic rounding, with the proof that a cohort's sum fits its lane.

Integers, never floats, go under a mask: a float sum would depend on the order of the clients and leak through rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.encoding.lanes import Lanes, Words
from securefed.errors import ConfigError

__all__ = ["Numbers"]

LEAST_BITS: Final = 2
GREATEST_BITS: Final = 32
LEAST_CLIP: Final = 2.0**-512
GREATEST_CLIP: Final = 2.0**512
"""Within these no product or quotient below overflows."""
_RANDOM_UNIT: Final = 2.0**-32


@dataclass(frozen=True)
class Numbers:
    """How a round writes numbers: everything follows from these four.

    Args:
        clients: cohort size n, ≥ 1.
        bits: of one quantised value (b), 2 … 32.
        clip: values are clipped to [−clip, clip]; 2^-512 … 2^512; in the unit of the update.
        greatest_weight: W, 1 … 2^32 − 1; 1 where all clients count the same.

    Raises:
        ConfigError: V7 for a number outside its bounds, V8 where the sum cannot fit a word.
    """

    clients: int
    bits: int
    clip: float
    greatest_weight: int = 1

    def __post_init__(self) -> None:
        if not LEAST_BITS <= self.bits <= GREATEST_BITS:
            raise ConfigError("aggregation.bits", f"[V7] {self.bits} is not in {LEAST_BITS} … {GREATEST_BITS}")
        if not LEAST_CLIP <= self.clip <= GREATEST_CLIP:
            raise ConfigError("aggregation.clip", f"[V7] {self.clip} is not in 2^-512 … 2^512")
        if not 1 <= self.greatest_weight < 2**32:
            raise ConfigError("aggregation.greatest_weight", f"[V7] {self.greatest_weight} is not in 1 … 2^32 - 1")
        if self.clients < 1:
            raise ConfigError("training.clients_per_round", f"[V7] a cohort of {self.clients} clients is none")
        _ = self.lanes  # V8 is proved when the round is configured, before anyone trains

    @property
    def greatest(self) -> int:
        """Q: quantised values lie in [−Q, Q], lane values in [0, 2Q]."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def scale(self) -> float:
        """Q/c: quantised units in one unit of the update."""
        return self.greatest / self.clip

    @property
    def step(self) -> float:
        """c/Q: the update's units in one quantised unit."""
        return self.clip / self.greatest

    @cached_property
    def lanes(self) -> Lanes:
        """The geometry that holds the sum of the whole cohort."""
        return Lanes(self.clients, 2 * self.greatest)

    @property
    def digits(self) -> int:
        """D: lanes that one 64-bit scalar takes, `bits − 1` bits in each."""
        return -(-64 // (self.bits - 1))

    def words(self, parameters: int, scalars: int) -> int:
        """Ring words of a vector with so many parameters and scalars."""
        return self.lanes.words_for(parameters + scalars * self.digits)

    def quantize(self, values: npt.NDArray[np.float64], weight: int, randomness: npt.NDArray[np.uint32]) -> Words:
        """Lane values of finite floats; `values` is used as working space and holds rubbish afterwards.

        Args:
            values: float64, shape [m].
            weight: of the client, 1 … W.
            randomness: uint32, shape [m]: uniform, from the client's rounding stream.
        """
        if weight != self.greatest_weight:
            values *= weight / self.greatest_weight
        np.clip(values, -self.clip, self.clip, out=values)
        values *= self.scale
        values += randomness * _RANDOM_UNIT
        np.floor(values, out=values)
        # fl(c·fl(Q/c)) may lie an ulp beyond Q: without this bound a lane could borrow from its neighbour.
        np.clip(values, -self.greatest, self.greatest, out=values)
        values += self.greatest
        return values.astype("<u8")

    def mean(self, sums: Words, survivors: int, total_weight: int) -> npt.NDArray[np.float64]:
        """The weighted mean of the survivors' values from the sums of their lane values."""
        values = sums.astype(np.int64) - survivors * self.greatest
        means: npt.NDArray[np.float64] = values * self.step * self.greatest_weight / total_weight
        return means
