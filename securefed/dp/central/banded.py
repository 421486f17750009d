"""Banded Toeplitz strategies: the square root of the workload cut to a few bands, or bands fitted to the error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from securefed.dp.central.participation import Schema
from securefed.dp.central.strategy import BLOCK, Rows
from securefed.dp.central.toeplitz import (
    Column,
    banded_squares,
    error_weights,
    inverse,
    prefix_sums,
    product,
    sensitivity,
    square_root,
)
from securefed.errors import ConfigError

__all__ = ["Banded", "optimiser"]


@dataclass(frozen=True)
class Banded:
    """C with p bands of given coefficients (Choquette-Choo et al. 2023, arXiv 2306.08153; without amplification).

    Memory while streaming: p − 1 rows.

    Args:
        schema: rounds and participation.
        bands: coefficients c_0 > 0, c_1, … c_(p−1); divided by c_0, which changes but the unit of the noise, and
            rounded to float32, so that the stream applies the very matrix whose sensitivity is computed.

    Raises:
        ConfigError: M2 for no band or more than rounds, M1 for coefficients whose sensitivity is not known.
    """

    schema: Schema
    bands: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.bands) <= self.schema.rounds:
            raise ConfigError("privacy.bands", f"[M2] {len(self.bands)} bands are not 1 … {self.schema.rounds}")
        if not 0 < self.bands[0] < math.inf:
            raise ConfigError("privacy.strategy", "[M1] the first coefficient must be positive and finite")
        object.__setattr__(self, "bands", tuple(float(np.float32(c / self.bands[0])) for c in self.bands))
        _ = self.sensitivity  # M1

    @classmethod
    def independent(cls, schema: Schema) -> Banded:
        """One band: fresh noise in every round, as without a matrix."""
        return cls(schema, (1.0,))

    @classmethod
    def square_root(cls, schema: Schema, bands: int) -> Banded:
        """The square root of the prefix sums, cut to so many bands (Kalinin, Lampert 2024, arXiv 2405.13763).

        With as many bands as rounds it is the optimal Toeplitz factorisation for a single participation.
        """
        return cls(schema, tuple(square_root(schema.rounds)[:bands].tolist()))

    @classmethod
    def optimised(cls, schema: Schema, bands: int, error: str = "mean", workload: Column | None = None) -> Banded:
        """The bands with the least error times sensitivity, found by L-BFGS from the cut square root (needs scipy).

        Args:
            schema: rounds and participation.
            bands: p ≤ separation: there the sensitivity is exact for coefficients of any sign.
            error: "max" or "mean" over the rounds.
            workload: first column of A, shape [n]; prefix sums where None.

        Raises:
            ConfigError: M1 or M2.
        """
        if not 1 <= bands <= schema.separation:
            raise ConfigError("privacy.bands", f"[M2] {bands} bands to be fitted are not 1 … {schema.separation}")
        n = schema.rounds
        weights, work = error_weights(n, error), prefix_sums(n) if workload is None else workload

        def objective(free: Column) -> tuple[float, Column]:
            """log(squared error · squared sensitivity) and its gradient in c_1, … c_(p−1)."""
            column = np.zeros(n)
            column[0], column[1:bands] = 1.0, free
            noise = inverse(column, bands)
            through = product(work, noise)
            # d(A/c) = −(A/c)·(1/c)·dc as power series.
            turned, weighed = product(through, noise), weights * through
            squares = banded_squares(column, schema)
            least, most = float(weighed @ through), float(squares @ column**2)
            slope = np.array([-2 * float(weighed[i:] @ turned[: n - i]) for i in range(1, bands)]) / least
            return float(np.log(least * most)), slope + 2 * (squares * column)[1:bands] / most

        start = square_root(n)[1:bands]
        if bands > 1:
            start = optimiser()(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
        return cls(schema, (1.0, *(float(c) for c in start)))

    @cached_property
    def coefficients(self) -> Column:
        """First column of C."""
        column = np.zeros(self.schema.rounds)
        column[: len(self.bands)] = self.bands
        return column

    @cached_property
    def noise_coefficients(self) -> Column:
        """First column of C⁻¹."""
        return inverse(self.coefficients, len(self.bands))

    @cached_property
    def sensitivity(self) -> float:
        """Of C under the schema."""
        return sensitivity(self.coefficients, len(self.bands), self.schema)

    @property
    def buffers(self) -> int:
        """The last p − 1 rows of noise."""
        return len(self.bands) - 1

    def correlate(self, row: int, noise: Rows, buffers: Rows) -> None:
        """See `Strategy`: y_t = z_t − Σ_i c_i·y_(t−i); row t lies in buffer t mod (p − 1)."""
        kept = self.buffers
        if not kept:
            return
        terms: Sequence[tuple[int, float]] = [((row - i) % kept, self.bands[i]) for i in range(1, min(kept, row) + 1)]
        for start in range(0, len(noise), BLOCK):
            out = noise[start : start + BLOCK]
            for at, coefficient in terms:
                out -= coefficient * buffers[at, start : start + BLOCK]
            buffers[row % kept, start : start + BLOCK] = out

    def to_json(self) -> dict[str, Any]:
        """See `Strategy`."""
        schema = self.schema
        numbers = [schema.rounds, schema.separation, schema.participations]
        return {"kind": "banded", "schema": numbers, "bands": list(self.bands)}


def optimiser() -> Any:
    """scipy's `minimize`, which only those who fit a strategy need."""
    try:
        return import_module("scipy.optimize").minimize
    except ImportError:
        raise ConfigError(
            "privacy.strategy", "fitting a strategy needs scipy (the dp extra); the square root needs none"
        ) from None
