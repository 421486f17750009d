"""Lower-triangular Toeplitz matrices by their first columns: inverse, sensitivity and error of a factorisation.

A factorisation A = B·C of the workload A releases A·x + B·z = A·(x + C⁻¹·z) for the rounds' sums x and independent
Gaussian rows z: the noise of round t is row t of C⁻¹·z. All matrices here are n × n, lower triangular and Toeplitz, so
they multiply like power series: first column against first column, cut at n.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.dp.central.participation import Schema
from securefed.errors import ConfigError

__all__ = [
    "Column", "error_weights", "inverse", "momentum", "pattern_sum", "prefix_sums", "product", "sensitivity",
    "square_root",
]  # fmt: skip

Column = npt.NDArray[np.float64]

ROUNDED_UP: Final = 1 + 2.0**-30
"""More than all rounding of sums here."""


def prefix_sums(rounds: int) -> Column:
    """First column of the prefix-sum workload: the model after t rounds is the sum of t steps."""
    return np.ones(rounds)


def momentum(rounds: int, decay: float) -> Column:
    """First column of the workload of SGD with momentum: a_t = 1 + β + … + β^t (Denisov et al. 2022)."""
    column: Column = np.cumsum(float(decay) ** np.arange(rounds))
    return column


def square_root(rounds: int) -> Column:
    """Coefficients of (1 − x)^-1/2: binomial(2t, t)/4^t = 1, 1/2, 3/8, 5/16, …

    With B = C it factors the prefix sums, with the least maximum error of all Toeplitz factorisations for a single
    participation (Fichtenberger, Henzinger, Upadhyay 2022, arXiv 2202.11205).
    """
    t = np.arange(1, rounds)
    column: Column = np.concatenate([[1.0], np.cumprod((2 * t - 1) / (2 * t))])
    return column


def product(left: Column, right: Column) -> Column:
    """First column of the product of two matrices of as many rows."""
    column: Column = np.convolve(left, right)[: len(left)]
    return column


def inverse(column: Column, bands: int) -> Column:
    """First column of the inverse of the matrix whose first column is given and zero from `bands` on."""
    out = np.zeros(len(column))
    out[0] = 1 / column[0]
    for t in range(1, len(column)):
        first = max(0, t - bands + 1)
        out[t] = -(column[t - first : 0 : -1] @ out[first:t]) / column[0]
    return out


def pattern_sum(column: Column, schema: Schema) -> Column:
    """Σ_j C[:, j·b] over the earliest pattern of k participations: columns are the first one, shifted down."""
    n, b = len(column), schema.separation
    padded = np.zeros(-(-n // b) * b)
    padded[:n] = column
    sums = np.cumsum(padded.reshape(-1, b), axis=0)
    sums[schema.participations :] -= sums[: -schema.participations or None][: len(sums) - schema.participations]
    flat: Column = sums.reshape(-1)[:n]
    return flat


def sensitivity(column: Column, bands: int, schema: Schema) -> float:
    """max ‖Σ C[:, i]·u_i‖ over all allowed patterns of rounds i and all ‖u_i‖ ≤ 1, rounded up; exact but for that.

    - Bands ≤ b: the columns of a pattern have no row in common, so signs do not matter, and earlier columns are cut
      less: √Σ_j ‖C[:, j·b]‖² over the earliest pattern (arXiv 2306.08153, section 3).
    - Else, coefficients that are not negative and do not grow: ‖Σ_j C[:, j·b]‖ over the earliest pattern (Kalinin,
      Lampert 2024, arXiv 2405.13763, theorem 2; for BLT McMahan et al. 2024, arXiv 2408.08868).

    Args:
        column: float64, shape [n], zero from `bands` on.

    Raises:
        ConfigError: M1 where neither holds, or for coefficients that are not finite, or a first that is not positive.
    """
    if not np.isfinite(column).all() or column[0] <= 0:
        raise ConfigError("privacy.strategy", "[M1] coefficients must be finite, and the first positive")
    if bands <= schema.separation:
        return float(np.sqrt(banded_squares(column, schema) @ column**2) * ROUNDED_UP)
    if (column < 0).any() or (np.diff(column) > 0).any():
        raise ConfigError(
            "privacy.strategy",
            f"[M1] the sensitivity of {bands} bands over a separation of {schema.separation} is only known for "
            "coefficients that are not negative and do not grow",
        )
    return float(np.linalg.norm(pattern_sum(column, schema)) * ROUNDED_UP)


def banded_squares(column: Column, schema: Schema) -> Column:
    """How many columns of the earliest pattern hold coefficient t: those that begin before row n − t."""
    left = len(column) - np.arange(len(column))
    counts: Column = np.minimum(-(-left // schema.separation), schema.participations).astype(np.float64)
    return counts


def error_weights(rounds: int, error: str) -> Column:
    """w with Σ_t w_t·B_t² the squared error of independent noise of variance 1 through a matrix B.

    Args:
        error: "max", of the round with most noise, which is the last; or "mean", the mean over the rounds.

    Raises:
        ConfigError: M2 for another word.
    """
    if error == "max":
        return np.ones(rounds)
    if error == "mean":
        weights: Column = (rounds - np.arange(rounds)) / rounds
        return weights
    raise ConfigError("privacy.strategy", f"[M2] {error!r} is no error: max or mean")
