"""What the clients of the app `vector` add: the clip bound, up or down; every set of clients has a sum of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

STEPS = np.random.default_rng(6).choice([-1.0, 1.0], (6, 64))
"""One row a partition."""


def vector_after(rounds: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """The vector after rounds whose sums these clients, by their ids from 1, are in."""
    means = [STEPS[[client - 1 for client in survivors]].mean(axis=0) for survivors in rounds]
    return np.sum(means, axis=0)
