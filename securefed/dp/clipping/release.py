"""From a clipped sum to what leaves the trainer: noise on every trainable parameter, then the division.

Float noise (`gaussian`) is drawn from the keyed stream and added in float32. Floats are not what the theorem speaks of:
their low-order bits can tell more (Mironov 2012, doi 10.1145/2382196.2382264), and that gap is not covered. `discrete`
closes it for the noise: the clipped sum is rounded to a grid, and an exact discrete Gaussian (Canonne, Kamath, Steinke
2020, arXiv 2004.00010) is added in integers; its deviation is 2^24 steps and more, and it is accounted as a Gaussian.
The clipped sum itself is computed in floats in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from securefed.dp.clipping.contributions import Sums
from securefed.dp.noise.discrete_gaussian import discrete_gaussian
from securefed.dp.noise.gaussian import add_gaussian
from securefed.dp.noise.source import Source

__all__ = ["Noise", "add_noise", "noisy_count"]

Noise = Literal["gaussian", "discrete"]

GRID_BITS = 24
"""The deviation on the grid is at least 2^24 steps."""
_PIECE = 1 << 22


def add_noise(
    parameters: Iterable[Parameter],
    sums: Sums,
    source: Source | None,
    deviation: float,
    sensitivity: float,
    kind: Noise,
) -> None:
    """Add noise to every parameter's sum, also where no sample contributed: which ones did is no one's business.

    Args:
        parameters: all trainable ones.
        sums: of clipped gradients; missing ones are zero.
        source: of uniform words, the noise's own.
        deviation: z·C of each coordinate.
        sensitivity: C.
        kind: `gaussian` or `discrete`.
    """
    trained = list(parameters)
    step = 0.0
    if kind == "discrete" and deviation > 0.0:
        step, deviation = grid(deviation, sensitivity, sum(parameter.numel() for parameter in trained))
    for parameter in trained:
        total = sums.zeros(parameter)
        if deviation == 0.0 or source is None:
            continue
        flat = total.view(-1)
        if kind == "gaussian" and flat.device.type == "cpu" and flat.dtype == torch.float32:
            add_gaussian(source, flat.numpy(), deviation)
            continue
        for first in range(0, flat.numel(), _PIECE):
            piece = flat[first : first + _PIECE]
            if kind == "gaussian":
                noise = np.zeros(piece.numel(), np.float32)
                add_gaussian(source, noise, deviation)
                piece.add_(torch.from_numpy(noise).to(piece.device, piece.dtype))
            else:
                piece.copy_(_discrete(piece, source, deviation, step))


def grid(deviation: float, sensitivity: float, coordinates: int) -> tuple[float, float]:
    """Spacing g and deviation for noise on a grid.

    Rounding moves each of two neighbouring sums by at most g/2 in each of d coordinates, so that they are at most
    `C + √d·g` apart; the deviation grows by the same factor, and z is what was asked for.

    Returns:
        g, a power of two, so that dividing by it is exact; and z·(C + √d·g).
    """
    step = 2.0 ** math.floor(math.log2(deviation) - GRID_BITS)
    return step, deviation * (1.0 + math.sqrt(coordinates) * step / sensitivity)


def _discrete(piece: Tensor, source: Source, deviation: float, step: float) -> Tensor:
    whole = np.rint(piece.detach().to("cpu", torch.float64).numpy() / step).astype(np.int64)
    whole += discrete_gaussian(source, deviation / step, whole.size)
    return torch.from_numpy(whole * step).to(piece.device, piece.dtype)


def noisy_count(count: int, samples: int, source: Source | None, deviation: float) -> float:
    """`Σ(1[…] − ½)` with noise of this deviation, from how many of the samples are counted.

    It is taken in halves, which are whole numbers, with the exact discrete Gaussian.
    """
    halves = 2 * count - samples
    if deviation > 0.0 and source is not None:
        halves += int(discrete_gaussian(source, 2.0 * deviation, 1)[0])
    return halves / 2.0
