"""An update, its weight and its metrics as one stream of ring words, and the mean back from their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.encoding.lanes import Words
from securefed.encoding.layout import WEIGHT, Layout
from securefed.encoding.quantize import Numbers
from securefed.encoding.scalars import metric_from_sum, metric_to_integer, sum_of_digits, to_digits
from securefed.encoding.tensors import Tensor, TypedTensor
from securefed.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["PIECE_WORDS", "Decoded", "Randomness", "VectorEncoding"]

Randomness = Callable[[int], npt.NDArray[np.uint32]]
"""The next m words of the client's rounding stream, uint32, shape [m]."""

PIECE_WORDS: Final = 2**16
"""Most ring words made at a time: half a megabyte."""
_PIECE_LANES: Final = 2**18
"""Most lanes made at a time: narrow lanes lie up to 32 in a word, and each is a float64 on its way into it."""
_OF_A_PIECE: Final = 8
"""So many parts a piece is decoded in: several arrays of floats are needed for each, and all stay in the cache."""


@dataclass(frozen=True)
class Decoded:
    """The weighted mean that a sum of ring words stands for; tensors in the layout's dtypes."""

    tensors: dict[str, TypedTensor]
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

    @property
    def lanes_used(self) -> int:
        """Lanes of a vector, those that fill its last word up left out."""
        return self.layout.size + len(self.layout.scalars) * self.numbers.digits

    @property
    def piece_words(self) -> int:
        """Ring words made at a time: a power of two of at least 2^13, so a multiple of every packing period."""
        words = PIECE_WORDS
        while words * self.numbers.lanes.per_word > _PIECE_LANES:
            words //= 2
        return words

    def encode(
        self,
        tensors: Mapping[str, Tensor],
        weight: int,
        metrics: Mapping[str, float],
        randomness: Randomness,
    ) -> Iterator[Words]:
        """Ring words in order, in pieces of `piece_words` (the last is shorter), each in an array of its own.

        Memory: about ten megabytes, however large a tensor is, as long as the tensors themselves lie elsewhere.

        Raises:
            LocalProtocolError: V1 … V6; scalars and names are checked before the first piece, values as they come.
        """
        for values in self.lane_values(tensors, weight, metrics, randomness):
            yield self.numbers.lanes.pack(values)

    def lane_values(
        self,
        tensors: Mapping[str, Tensor],
        weight: int,
        metrics: Mapping[str, float],
        randomness: Randomness,
    ) -> Iterator[Words]:
        """What `encode` packs: the lane values behind the ring words, in as many pieces.

        Raises:
            LocalProtocolError: as `encode`.
        """
        scalars = self._scalar_lanes(weight, metrics)
        length = self.piece_words * self.numbers.lanes.per_word
        rest = np.empty(0, "<u8")
        for piece in self.layout.pieces(tensors, length):
            values = self.numbers.quantize(piece, weight, randomness(len(piece)))
            if len(values) < length:
                rest = values
            else:
                yield values
        rest = np.concatenate([rest, scalars])
        for start in range(0, len(rest), length):
            yield rest[start : start + length]

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

        Memory beyond the sum and the mean: a few pieces.

        Args:
            total: uint64, shape [words], reduced modulo the ring.

        Raises:
            RemoteProtocolError: V11, where no sum of so many honest vectors looks like this: masks did not cancel.
        """
        if len(total) != self.words:
            raise ValueError(f"the sum has {len(total)} words, the layout needs {self.words}")
        # The weight comes behind the parameters and scales them all, so the end is read first.
        integers = self._sums_of_scalars(total, survivors)
        weight = integers.pop(WEIGHT)
        if not survivors <= weight <= survivors * self.numbers.greatest_weight:
            raise RemoteProtocolError("V11", "the sum of weights is outside its bounds")
        tensors = self.layout.assemble(self._means(total, survivors, weight))
        metrics = {name: metric_from_sum(value, survivors, weight) for name, value in integers.items()}
        return Decoded(tensors, weight, metrics)

    def _sums_of_scalars(self, total: Words, survivors: int) -> dict[str, int]:
        numbers, layout = self.numbers, self.layout
        word, lane = divmod(layout.size, numbers.lanes.per_word)
        behind = numbers.lanes.unpack(total[word:])[lane:]
        used = len(layout.scalars) * numbers.digits
        digits: list[int] = behind[:used].tolist()
        if max(digits) > survivors * numbers.greatest or behind[used:].any():
            raise RemoteProtocolError("V11", "the sum of a scalar's digits, or the padding, is outside its bounds")
        per_scalar = [digits[at : at + numbers.digits] for at in range(0, used, numbers.digits)]
        return dict(zip(layout.scalars, (sum_of_digits(d, numbers.bits - 1) for d in per_scalar), strict=True))

    def _means(self, total: Words, survivors: int, weight: int) -> Iterator[npt.NDArray[np.float64]]:
        numbers, words = self.numbers, self.piece_words // _OF_A_PIECE
        bound = survivors * 2 * numbers.greatest
        for start in range(0, -(-self.layout.size // numbers.lanes.per_word), words):
            first = start * numbers.lanes.per_word
            sums = numbers.lanes.unpack(total[start : start + words])[: self.layout.size - first]
            if sums.max() > bound:
                raise RemoteProtocolError("V11", "the sum is outside its bounds: the inputs did not belong together")
            yield numbers.mean(sums, survivors, weight)
