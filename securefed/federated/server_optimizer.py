"""What the server does with the mean update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from securefed.federated.training import FloatArray

__all__ = ["FedAvg"]


@dataclass(frozen=True)
class FedAvg:
    """w ← w + η·mean(w_i − w): McMahan et al. 2017 for η = 1; η as in Reddi et al. 2021, algorithm 1 with SGD.

    Attributes:
        learning_rate: η > 0.
    """

    learning_rate: float = 1.0

    def step(self, weights: Mapping[str, FloatArray], mean: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """New weights, in the dtypes of the old ones; computed in float64."""
        return {
            name: (old.astype(np.float64) + self.learning_rate * mean[name].astype(np.float64)).astype(old.dtype)
            for name, old in weights.items()
        }
