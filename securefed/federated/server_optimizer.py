"""What the server does with the mean update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from securefed.encoding.tensors import BFloat16, TypedTensor, in_floats

__all__ = ["FedAvg"]


@dataclass(frozen=True)
class FedAvg:
    """w ← w + η·mean(w_i − w): McMahan et al. 2017 for η = 1; η as in Reddi et al. 2021, algorithm 1 with SGD.

    Attributes:
        learning_rate: η > 0.
    """

    learning_rate: float = 1.0

    def step(self, weights: Mapping[str, TypedTensor], mean: Mapping[str, TypedTensor]) -> dict[str, TypedTensor]:
        """New weights, in the dtypes of the old ones; computed in float64 and rounded once.

        Args:
            weights: float arrays or `BFloat16`. The latter have 8 bits: what is less than 2^-9 of a weight rounds away,
                so keep the weights in float32 where rounds change little, whatever the updates' dtype.
            mean: of the updates (`Aggregate.tensors`), by the same names; a `BFloat16` where the layout says bfloat16.
        """
        new = {}
        for name, old in weights.items():
            moved = in_floats(old).astype(np.float64) + self.learning_rate * in_floats(mean[name]).astype(np.float64)
            new[name] = BFloat16.nearest(moved) if isinstance(old, BFloat16) else moved.astype(old.dtype)
        return new
