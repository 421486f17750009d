"""Named tensors as one vector, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from securefed.federated.training import FloatArray

__all__ = ["flattened", "like"]


def flattened(tensors: Mapping[str, FloatArray]) -> npt.NDArray[np.float64]:
    """All values, tensor after tensor, each in C order: float64, shape [d]."""
    return np.concatenate([np.ravel(tensor).astype(np.float64) for tensor in tensors.values()])


def like(vector: npt.NDArray[np.float64], tensors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The vector cut into tensors of these names, shapes and dtypes."""
    cut, at = dict[str, FloatArray](), 0
    for name, tensor in tensors.items():
        cut[name] = vector[at : at + tensor.size].reshape(tensor.shape).astype(tensor.dtype)
        at += tensor.size
    if at != len(vector):
        raise ValueError(f"a vector of {len(vector)} values is not one of {at}")
    return cut
