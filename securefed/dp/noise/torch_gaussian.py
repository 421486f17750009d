"""Gaussian noise for torch tensors. torch itself is not imported here: a tensor brings all that is needed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from securefed.dp.noise.gaussian import add_gaussian, gaussian
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError

__all__ = ["add_gaussian_", "gaussian_"]

_TYPES: Final = ("torch.float32", "torch.float64")


def gaussian_(source: Source, tensor: Any) -> None:
    """Fill a tensor with standard normal floats, in the order of its elements.

    Args:
        source: of the words.
        tensor: float32 or float64 of any shape, on any device. The values are made on the CPU and copied to others.

    Raises:
        ConfigError: another type.
    """
    _check(tensor)
    flat = _flat(tensor)
    if flat is not None:
        gaussian(source, len(flat), flat)
    else:
        tensor.detach().copy_(_like(tensor, gaussian(source, tensor.numel())))


def add_gaussian_(source: Source, tensor: Any, deviation: float) -> None:
    """Add independent normal noise to a tensor in place, in the order of its elements.

    Args:
        source: of the words.
        tensor: float32 or float64 of any shape, on any device; a sum in half precision would round the noise away.
        deviation: of the noise, ≥ 0, finite.

    Raises:
        ConfigError: N1, a deviation outside these bounds; another type.
    """
    _check(tensor)
    flat = _flat(tensor)
    if flat is not None:
        add_gaussian(source, flat, deviation)
    else:
        noise = np.zeros(tensor.numel(), np.float32)
        add_gaussian(source, noise, deviation)
        tensor.detach().add_(_like(tensor, noise))


def _check(tensor: Any) -> None:
    if str(tensor.dtype) not in _TYPES:
        raise ConfigError("", f"noise is for tensors of float32 or float64, not {tensor.dtype}; convert the sum first")


def _flat(tensor: Any) -> npt.NDArray[np.float32] | None:
    """The tensor's own memory as a vector, where numpy can write to it."""
    if str(tensor.dtype) != "torch.float32" or tensor.device.type != "cpu" or not tensor.is_contiguous():
        return None
    flat: npt.NDArray[np.float32] = tensor.detach().view(-1).numpy()
    return flat


def _like(tensor: Any, values: npt.NDArray[np.float32]) -> Any:
    return tensor.detach().new_tensor(values).view(tensor.shape)
