"""An update, its weight and its metrics as one stream of ring words, and the mean back from their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.encoding.lanes import Words
from securefed.encoding.layout import WEIGHT, Floats, Layout
from securefed.encoding.quantize import Numbers
from securefed.encoding.scalars import metric_from_sum, metric_to_integer, sum_of_digits, to_digits
from securefed.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["PIECE_WORDS", "Decoded", "Randomness", "VectorEncoding"]

Randomness = Callable[[int], npt.NDArray[np.uint32]]
"""The next m words of the client's rounding stream, uint32, shape [m]."""

PIECE_WORDS: Final = 2**16
"""Ring words made at a time: a multiple of every packing period, half a megabyte."""


@dataclass(frozen=True)
class Decoded:
    """The weighted mean that a sum of ring words stands for."""

    tensors: dict[str, Floats]
    weight: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class VectorEncoding:
    """The words of one round's updates."""

    layout: Layout
    numbers: Numbers

    @property
    def words(self) -> int:
        """Ring words of a vector."""
        return self.numbers.words(self.layout.size, len(self.layout.scalars))

    def encode(
        self,
        tensors: Mapping[str, Floats],
        weight: int,
        metrics: Mapping[str, float],
        randomness: Randomness,
    ) -> Iterator[Words]:
        """Ring words in order, in pieces of `PIECE_WORDS` (the last is shorter); memory: a few pieces.

        Raises:
            LocalProtocolError: V1 … V6; scalars and names are checked before the first piece, values as they come.
        """
        scalars = self._scalar_lanes(weight, metrics)
        lanes = self.numbers.lanes
        length = PIECE_WORDS * lanes.per_word
        rest = np.empty(0, "<u8")
        for piece in self.layout.pieces(tensors, length):
            values = self.numbers.quantize(piece, weight, randomness(len(piece)))
            if len(values) < length:
                rest = values
            else:
                yield lanes.pack(values)
        rest = np.concatenate([rest, scalars])
        for start in range(0, len(rest), length):
            yield lanes.pack(rest[start : start + length])

    def scalars(self, weight: int, metrics: Mapping[str, float]) -> list[int]:
        """The weight, and each metric times it, as the integers that travel.

        Raises:
            LocalProtocolError: V5 or V6.
        """
        greatest = self.numbers.greatest_weight
        if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= greatest:
            raise LocalProtocolError("V5", f"a weight must be an integer in 1 … {greatest}")
        if set(metrics) != set(self.layout.metrics):
            raise LocalProtocolError(
                "V6", f"the metrics are {sorted(metrics)}, the layout says {sorted(self.layout.metrics)}"
            )
        return [weight, *(metric_to_integer(name, metrics[name], weight) for name in self.layout.metrics)]

    def _scalar_lanes(self, weight: int, metrics: Mapping[str, float]) -> Words:
        bits, digits = self.numbers.bits - 1, self.numbers.digits
        return np.concatenate([to_digits(value, bits, digits) for value in self.scalars(weight, metrics)])

    def decode(self, total: Words, survivors: int) -> Decoded:
        """The weighted mean over `survivors` clients of the sum of their ring words.

        Args:
            total: uint64, shape [words], reduced modulo the ring.

        Raises:
            RemoteProtocolError: V11, where no sum of so many honest vectors looks like this: masks did not cancel.
        """
        numbers, layout = self.numbers, self.layout
        if len(total) != self.words:
            raise ValueError(f"the sum has {len(total)} words, the layout needs {self.words}")
        digits: list[int] = []
        per_piece = PIECE_WORDS * numbers.lanes.per_word
        bound = survivors * 2 * numbers.greatest
        lanes_used = layout.size + len(layout.scalars) * numbers.digits
        # The weight comes behind the parameters, so integers are gathered first and scaled once it is known.
        sums = np.empty(layout.size, np.int64)
        for start in range(0, len(total), PIECE_WORDS):
            lanes = numbers.lanes.unpack(total[start : start + PIECE_WORDS])
            first = start // PIECE_WORDS * per_piece
            padding = lanes[max(0, lanes_used - first) :]
            if lanes.max() > bound or padding.any():
                raise RemoteProtocolError("V11", "the sum is outside its bounds: the inputs did not belong together")
            parameters = lanes[: max(0, layout.size - first)]
            sums[first : first + len(parameters)] = parameters
            digits += lanes[len(parameters) : lanes_used - first].tolist()
        if max(digits) > survivors * numbers.greatest:
            raise RemoteProtocolError("V11", "the sum of a scalar's digits is outside its bounds")
        per_scalar = [digits[at : at + numbers.digits] for at in range(0, len(digits), numbers.digits)]
        integers = dict(zip(layout.scalars, (sum_of_digits(d, numbers.bits - 1) for d in per_scalar), strict=True))
        weight = integers.pop(WEIGHT)
        if not survivors <= weight <= survivors * numbers.greatest_weight:
            raise RemoteProtocolError("V11", "the sum of weights is outside its bounds")
        values = numbers.mean(sums.view(np.uint64), survivors, weight)
        metrics = {name: metric_from_sum(value, survivors, weight) for name, value in integers.items()}
        return Decoded(layout.unflatten(values), weight, metrics)
