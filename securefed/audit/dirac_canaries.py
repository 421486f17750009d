"""A training made to be audited: canaries whose gradients are Dirac vectors, and an adversary who sees all releases.

Each canary has one coordinate of its own in every layer and a gradient there that is far over any clip bound: the
strongest canary that there is against clipping and Gaussian noise (Nasr et al. 2023, arXiv 2302.07956), and it is
spread evenly over the layers, so that a bound on each layer that does not add up to the bound on all of them shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["dirac_scores"]

SLOPE = 1e3
"""Of a canary's loss: its gradient is this far over a clip bound of 1."""


class _Coordinates(torch.nn.Module):  # type: ignore[misc]
    """For canary i, the sum over the layers of coordinate i."""

    def __init__(self, canaries: int, layers: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Embedding(canaries, 1) for _ in range(layers))

    def forward(self, numbers: Any) -> Any:
        """[B, 1] → [B]."""
        return sum(layer(numbers).reshape(len(numbers)) for layer in self.layers)


class _Watched(torch.optim.Optimizer):  # type: ignore[misc]
    """Adds up what was released for each canary, and steps nowhere: the canaries' gradients are constant."""

    def __init__(self, parameters: list[Any], canaries: int) -> None:
        super().__init__(parameters, {})
        self.scores = np.zeros(canaries)

    def step(self, closure: Any = None) -> None:
        """Add the released gradients, over all layers."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self.scores += parameter.grad.double().numpy()[:, 0]


def dirac_scores(
    included: npt.NDArray[np.bool_],
    layers: int,
    steps: int,
    attach: Callable[[Any], Any],
    ledger: Any,
) -> npt.NDArray[np.float64]:
    """Train privately on the canaries that are in, and score all of them by what was released.

    Args:
        included: [m]; a canary that is out is a record whose loss is zero.
        layers: K, the number of layers that a canary has a coordinate in.
        steps: of the training.
        attach: makes the engine for a model, with a sampler of m examples.
        ledger: that the steps are charged to; its ε is the claim to hold against the audit.

    Returns:
        [m]: the sum of the released gradients at the canary's coordinates.
    """
    canaries = len(included)
    model = _Coordinates(canaries, layers)
    engine = attach(model)
    optimizer = _Watched(list(model.parameters()), canaries)
    present = torch.from_numpy(included.astype(np.float32))
    for draw in engine.draws(steps):
        rows = torch.from_numpy(draw.indices)
        if len(rows):
            engine.sum(SLOPE * present[rows] * model(rows[:, None])).backward()
        engine.step(optimizer, ledger)
    engine.detach()
    return optimizer.scores
