"""What the loop asks of one client's training, whatever is trained.

The loop carries named float arrays and assumes no model, framework or adapter: `securefed.llm` implements this
for causal language models, and any other trainer that has these two methods fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "LocalTrainer", "Trained"]

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Trained:
    """What a client has after its local steps.

    Attributes:
        weights: the tensors that the round trains (`UpdatePlan.tensors`), with the shapes and dtypes of the weights
            that it started from.
        examples: training examples (sequences) seen, ≥ 1; used where the cohort weighs clients by size.
        metrics: name to value, the same names at every client; they travel inside the protected vector and are
            only ever seen as a mean. `loss` is the mean training loss in nats a token.
    """

    weights: Mapping[str, FloatArray]
    examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)


class LocalTrainer(Protocol):
    """One client's training."""

    def train(self, weights: Mapping[str, FloatArray], round_number: int) -> Trained:
        """Train from `weights` and return the result; `weights` is left as it was.

        Must be a function of the client's data, `weights` and `round_number` alone (its randomness derived from a
        seed and the round), so that a round which is run again after a crash gives the same result. A trainer with
        differential privacy cannot be: it samples and draws noise anew, and spends again.
        """
        ...
