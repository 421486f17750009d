"""What a matrix C must give for its noise to be drawn row by row."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from securefed.dp.central.participation import Schema
from securefed.dp.central.toeplitz import Column, error_weights, prefix_sums, product

__all__ = ["BLOCK", "Rows", "Strategy", "expected_error"]

Rows = npt.NDArray[np.float32]

BLOCK = 2**16
"""Values at a time, so that all buffers of a block stay in the cache."""


class Strategy(Protocol):
    """A lower-triangular Toeplitz matrix C, first coefficient 1, whose inverse is applied as a stream.

    It is public: it follows from the run's configuration alone, and knowing it helps no adversary.
    """

    @property
    def schema(self) -> Schema:
        """Rounds and participation that the sensitivity is for."""
        ...

    @property
    def coefficients(self) -> Column:
        """First column of C, float64, shape [n]."""
        ...

    @property
    def noise_coefficients(self) -> Column:
        """First column of C⁻¹, float64, shape [n]."""
        ...

    @property
    def sensitivity(self) -> float:
        """Of C under the schema, rounded up (`toeplitz.sensitivity`)."""
        ...

    @property
    def buffers(self) -> int:
        """Rows that must be kept from one round to the next."""
        ...

    def correlate(self, row: int, noise: Rows, buffers: Rows) -> None:
        """Replace row `row` of z by row `row` of C⁻¹·z, in place, and take the buffers one round on.

        Args:
            row: from 0, each once and in order.
            noise: float32, shape [d].
            buffers: float32, shape [buffers, d]; zeros before row 0.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """All that defines it, exactly; `strategy_from_json` gives it back."""
        ...


def expected_error(strategy: Strategy, error: str = "max", workload: Column | None = None) -> float:
    """Root of the expected squared error of a coordinate of A·x, in units of z·C: noise multiplier times clip bound.

    Args:
        strategy: the C of A = B·C.
        error: "max" or "mean" over the rounds.
        workload: first column of A; prefix sums where None.

    Raises:
        ConfigError: M2 for another error.
    """
    n = strategy.schema.rounds
    column = product(prefix_sums(n) if workload is None else workload, strategy.noise_coefficients)
    return float(np.sqrt(error_weights(n, error) @ column**2) * strategy.sensitivity)
