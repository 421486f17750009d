"""How much of an update the clip bound cuts off: what tells a user that the bound is too low."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from securefed.encoding.layout import Layout
from securefed.encoding.tensors import TypedTensor

__all__ = ["CLIPPED_SHARE", "clipped_share"]

CLIPPED_SHARE: Final = "clipped_share"
"""Name of the metric, which travels inside the protected vector."""

_PIECE: Final = 2**18
_ROUNDING: Final = 1e-6
"""Of float32: new − old of a change by exactly the clip may come out this much above it."""


def clipped_share(tensors: Mapping[str, TypedTensor], factor: float, clip: float) -> float:
    """Share of an update's values over the clip bound, once they are scaled by the client's weight, in 0 … 1.

    Memory: one piece of float64 values, however large the update is.

    Args:
        tensors: the update, by name.
        factor: weight over greatest weight.
        clip: the bound.

    Raises:
        LocalProtocolError: V1, where a value is NaN or infinite.
    """
    layout, over = Layout.of(tensors), 0
    for piece in layout.pieces(tensors, _PIECE):
        np.multiply(piece, factor, out=piece)
        over += int(np.count_nonzero(np.abs(piece, out=piece) > clip * (1 + _ROUNDING)))
    return over / layout.size
