"""The matrices of the matrix mechanism written out, and sensitivities by trying all patterns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def toeplitz(column: npt.NDArray[np.floating]) -> Matrix:
    n = len(column)
    return np.array([[column[i - j] if i >= j else 0.0 for j in range(n)] for i in range(n)])


def patterns(rounds: int, separation: int, most: int, first: int = 0) -> Iterator[tuple[int, ...]]:
    """All sets of rounds in which one client may take part, the empty one included."""
    yield ()
    if most:
        for at in range(first, rounds):
            for rest in patterns(rounds, separation, most - 1, at + separation):
                yield (at, *rest)


def greatest_norm(matrix: Matrix, separation: int, most: int, signs: bool = True) -> float:
    """max ‖Σ ±C[:, i]‖ over patterns and, for short ones, signs: vectors of one dimension."""
    greatest = 0.0
    for pattern in patterns(len(matrix), separation, most):
        columns = matrix[:, list(pattern)]
        if not pattern:
            continue
        turns = 2 ** (len(pattern) - 1) if signs else 1
        for turn in range(turns):
            sign = np.array([-1.0 if turn >> i & 1 else 1.0 for i in range(len(pattern))])
            greatest = max(greatest, float(np.linalg.norm(columns @ sign)))
    return greatest


def tree_error(rounds: int) -> float:
    """Greatest error of tree aggregation (Dwork et al. 2010) for one participation: sensitivity times deviation.

    A node for each dyadic interval; a prefix is the sum of one node for each set bit of its length.
    """
    levels = (rounds - 1).bit_length() + 1
    return float(np.sqrt(levels * max(t.bit_count() for t in range(1, rounds + 1))))
