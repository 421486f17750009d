"""What the gradient of a linear layer says about its inputs: they span its rows.

For a layer y = W·x the gradient is Σ δ·xᵀ over all tokens of the batch, so each of its rows is a combination of the
inputs. Where these are fewer than the inputs' width, a vector that is no input lies off that span, and one that is lies
on it. Petrov et al. 2024, "DAGER: Exact Gradient Inversion for Large Language Models" (arXiv 2405.15586). Where there
are more inputs, or an optimiser or noise has blurred the gradient, scores still tell inputs from others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.errors import ConfigError

__all__ = ["Evidence", "RowSpan", "on_span", "scores"]

Floats = npt.NDArray[np.float64]

ROUNDING: Final = 1e-6
"""Singular values below this share of the greatest are taken for float32's rounding."""
EXACT: Final = 1e-3
"""A vector this near to the span of an exact gradient, as a share of its own length, is called an input."""
GREATEST: Final = 0.05
"""No vector farther off than this is, whatever the noise."""
_ERRORS: Final = 3.0
"""So many standard deviations off the span is an input's place after noise."""
LUCK: Final = 0.01
"""How many candidates may lie on the span by luck, of all."""
_EMPTY: Final = EXACT**2
"""Directions in which candidates have less than this share of their squared lengths are none."""


@dataclass(frozen=True)
class RowSpan:
    """The span of a gradient's rows.

    Attributes:
        directions: right singular vectors, orthonormal, [k, width], the strongest first.
        sizes: singular values, [k].
        rank: how many of them are above rounding and noise.
        room: directions off the span of these that a vector that is no input could go in.
        floor: greatest singular value of rounding and noise alone.
        noise: standard deviation of the noise on each element.
    """

    directions: Floats
    sizes: Floats
    rank: int
    room: int
    floor: float
    noise: float

    @classmethod
    def of(cls, gradient: npt.ArrayLike, *, noise: float = 0.0, rounding: float = 0.0) -> RowSpan:
        """The span of what is above rounding and noise.

        Args:
            gradient: [outputs, inputs], or any multiple of it, such as the update of one SGD step. Gradients of
                several layers with the same input may be stacked along the first axis.
            noise: standard deviation of independent noise on each element. Of an update that was rounded at random to
                `bits` bits within ±clip it is about 2·clip / 2^bits / √6.
            rounding: the same of the weights' own rounding, new − old in float32.

        Raises:
            ConfigError: not two axes, or something that is not a finite number.
        """
        matrix = np.asarray(gradient, np.float64)
        if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
            raise ConfigError(
                "leakage.update", f"a gradient of two axes and finite numbers is needed, not {matrix.shape}"
            )
        _, sizes, rows = np.linalg.svd(matrix, full_matrices=False)
        # The greatest singular value of noise alone is about the sum of the roots (Yin, Bai and Krishnaiah 1988), and
        # hardly ever a tenth above it.
        spread = 1.1 * (math.sqrt(matrix.shape[0]) + math.sqrt(matrix.shape[1]))
        floor = max(ROUNDING * float(sizes[0]), math.hypot(noise, rounding) * spread)
        rank = int(np.count_nonzero(sizes > floor))
        return cls(rows, sizes, rank, matrix.shape[1] - rank, floor, noise)

    @property
    def basis(self) -> Floats:
        """Of the span: [rank, width]."""
        return self.directions[: self.rank]

    @property
    def tells(self) -> bool:
        """Whether there is a span, and room off it: where there is none, everything lies on it."""
        return self.rank > 0 and self.room > 0

    def among(self, vectors: npt.ArrayLike) -> RowSpan:
        """The same span, with the room that these candidates have off it.

        Behind a layer norm, say, all vectors lie in a subspace; a gradient that spans it tells nothing.

        Args:
            vectors: [n, width]: many candidates.
        """
        units = _units(np.asarray(vectors, np.float64))
        off = units - units @ self.basis.T @ self.basis
        directions = int(np.count_nonzero(np.linalg.eigvalsh(off.T @ off) > _EMPTY * len(units)))
        return replace(self, room=min(self.room, directions))

    def distances(self, vectors: npt.ArrayLike) -> Floats:
        """Sine of the angle between each vector and the span.

        Args:
            vectors: [..., width].

        Returns:
            [...], 0 … 1; 1 for a vector of zeros.
        """
        units = _units(np.asarray(vectors, np.float64))
        off = np.linalg.norm(units - units @ self.basis.T @ self.basis, axis=-1)
        result: Floats = np.where(units.any(axis=-1), np.minimum(off, 1.0), 1.0)
        return result

    def holds(self, vectors: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which vectors are called inputs: those as near to the span as rounding and noise would put one.

        And so near that among so many vectors of random directions only `LUCK` are expected there: the squared distance
        of such a one is Beta(room/2, rank/2).

        Args:
            vectors: [..., width].

        Returns:
            bool [...]; all false where the span tells nothing.
        """
        values = np.asarray(vectors, np.float64)
        if not self.tells:
            return np.zeros(values.shape[:-1], np.bool_)
        free, used = self.room / 2, self.rank / 2
        # P[Beta(a, b) ≤ x] ≤ x^a / (a·B(a, b)) for b ≥ 1, and near to it for b = 1/2.
        log_beta = math.lgamma(free) + math.lgamma(used) - math.lgamma(free + used)
        log_square = (math.log(LUCK / max(1, math.prod(values.shape[:-1]))) + math.log(free) + log_beta) / free
        # By how much noise has turned each direction off where it was, as a sine.
        blur = self.noise * math.sqrt(self.room) / self.sizes[: self.rank]
        turned = np.linalg.norm(_units(values) @ self.basis.T * blur, axis=-1)
        near = np.clip(_ERRORS * turned, EXACT, GREATEST)
        held: npt.NDArray[np.bool_] = self.distances(values) < np.minimum(near, math.exp(log_square / 2))
        return held

    def scores(self, vectors: npt.ArrayLike) -> Floats:
        """How likely each vector is an input, also where the span has no room: minus the logarithm of its leverage.

        The leverage uᵀ·(GᵀG/σ² + (floor/σ)²)⁻¹·u of a unit vector u, with the greatest singular value σ, is small along
        what the gradient is made of. Of inputs it is smaller than of others, since they helped to make it: even of a
        full rank, until far more of them than directions are mixed or noise drowns them.

        Args:
            vectors: [..., width].

        Returns:
            [...]; greater for likelier inputs, all the same where the gradient is zero.
        """
        units = _units(np.asarray(vectors, np.float64))
        if not self.sizes[0] > 0:
            return np.zeros(units.shape[:-1])
        along = units @ self.directions.T
        off = ((units - along @ self.directions) ** 2).sum(axis=-1)
        least = (self.floor / self.sizes[0]) ** 2
        leverage = (along**2 / ((self.sizes / self.sizes[0]) ** 2 + least)).sum(axis=-1) + off / least
        found: Floats = -np.log(np.maximum(leverage, 1e-300))
        return found


def _units(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


@dataclass(frozen=True)
class Evidence:
    """What one layer's update says about the layer's input x.

    Attributes:
        span: that x, or its projection, must lie on.
        projection: [r, width of x]: a LoRA's A, where the span is that of A·x; None for x itself.
    """

    span: RowSpan
    projection: Floats | None = None

    @classmethod
    def of_weight(cls, update: npt.ArrayLike, *, noise: float = 0.0, rounding: float = 0.0) -> Evidence:
        """From the update of a whole weight, [outputs, inputs]: exact after one SGD step from a known model."""
        return cls(RowSpan.of(update, noise=noise, rounding=rounding))

    @classmethod
    def of_lora_b(
        cls,
        update: npt.ArrayLike,
        a: npt.ArrayLike,
        *,
        noise: float = 0.0,
        rounding: float = 0.0,
    ) -> Evidence:
        """From the update of a LoRA's B, [outputs, r], where A, [r, inputs], is what the server knows.

        The update is −η·Σ δ·(A·x)ᵀ: exact for as many SGD steps as A stays what it was (and the layer's inputs too).
        It tells something where fewer than r different inputs were seen.
        """
        return cls(RowSpan.of(update, noise=noise, rounding=rounding), np.asarray(a, np.float64))

    @classmethod
    def of_lora_a(cls, update: npt.ArrayLike, *, noise: float = 0.0, rounding: float = 0.0) -> Evidence:
        """From the update of a LoRA's A, [r, inputs]: −η·Σ (Bᵀδ)·xᵀ, exact for SGD steps where x does not change.

        It is zero in a first step from B = 0, and tells something where at most r different inputs were seen.
        """
        return cls(RowSpan.of(update, noise=noise, rounding=rounding))

    def among(self, inputs: npt.ArrayLike) -> Evidence:
        """The same for these candidates, [n, width of x]: see `RowSpan.among`."""
        return replace(self, span=self.span.among(self._seen(inputs)))

    def holds(self, inputs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of the candidates, [..., width of x], are called inputs: see `RowSpan.holds`."""
        return self.span.holds(self._seen(inputs))

    def scores(self, inputs: npt.ArrayLike) -> Floats:
        """How likely each candidate, [..., width of x], is an input: see `RowSpan.scores`."""
        return self.span.scores(self._seen(inputs))

    def _seen(self, inputs: npt.ArrayLike) -> Floats:
        values = np.asarray(inputs, np.float64)
        return values if self.projection is None else values @ self.projection.T


def scores(evidence: Sequence[Evidence], inputs: npt.ArrayLike) -> Floats:
    """The sum of what several layers with the same input say.

    Args:
        evidence: of these layers.
        inputs: [..., width].

    Returns:
        [...]: the greater, the likelier an input; all 0 without evidence.
    """
    values = np.asarray(inputs, np.float64)
    return sum((one.scores(values) for one in evidence), np.zeros(values.shape[:-1]))


def on_span(evidence: Sequence[Evidence], inputs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which candidates are called inputs: those that lie on one of the spans.

    One is enough: not every input is on every span (a first position has no gradient of its query, a first step none of
    a LoRA's A), and nothing is on a span by luck.

    Args:
        evidence: of layers with the same input.
        inputs: [..., width], candidates.

    Returns:
        bool [...]; all false where no layer tells anything.
    """
    values = np.asarray(inputs, np.float64)
    found = np.zeros(values.shape[:-1], np.bool_)
    for one in evidence:
        found |= one.holds(values)
    return found
