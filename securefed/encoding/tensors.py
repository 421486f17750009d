"""What an update's tensor may be besides a numpy array: read piece by piece from elsewhere, or of bfloat16.

numpy has no bfloat16 and cannot map a file without its pages piling up, so both are types of their own here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from securefed.errors import LocalProtocolError

__all__ = [
    "BFLOAT16", "BFloat16", "Floats", "Tensor", "TensorSource", "TypedTensor", "dtype_of", "in_floats", "read_values",
]  # fmt: skip

Floats = npt.NDArray[np.floating]

BFLOAT16: Final = "bfloat16"
_LOWER_HALF: Final = 16
_NAN: Final = 0x7FC00000


@runtime_checkable
class TensorSource(Protocol):
    """A tensor whose values are asked for piece by piece, wherever they lie."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        ...

    @property
    def dtype(self) -> str:
        """Name as in `TensorSpec`."""
        ...

    def read(self, start: int, out: npt.NDArray[np.float64]) -> None:
        """Write the values from number `start` on, in C order, to `out` (float64, shape [m]); all of them exist.

        The memory that it takes beyond `out` should be no more than `out` has.
        """
        ...


@dataclass(frozen=True, eq=False, repr=False)
class BFloat16:
    """A bfloat16 tensor in memory: the upper halves of float32 numbers.

    Args:
        bits: uint16 of any byte order and shape; `tensor.view(torch.uint16).numpy()` gives them without a copy.

    Raises:
        LocalProtocolError: V4 for bits that are not uint16.
    """

    bits: npt.NDArray[np.uint16]

    def __post_init__(self) -> None:
        if not isinstance(self.bits, np.ndarray) or self.bits.dtype.newbyteorder("=") != np.uint16:
            raise LocalProtocolError("V4", "the bits of a bfloat16 tensor are an array of uint16")

    @classmethod
    def nearest(cls, values: npt.NDArray[np.floating]) -> BFloat16:
        """The nearest bfloat16 of each value, ties to even, an infinity beyond the greatest; a NaN stays one.

        Rounds once: on the way a float32 is rounded to odd, which keeps a bit that says on which side of a tie it is.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            single = np.array(values, "<f4")
            bits = single.view("<u4")
            too_far, inexact = np.abs(single) > np.abs(values), single != values
        bits -= too_far  # toward zero; from an infinity to the greatest float32
        bits |= inexact
        bits += 0x7FFF + (bits >> _LOWER_HALF & 1)
        bits[np.isnan(values)] = _NAN
        bits >>= _LOWER_HALF
        return cls(bits.astype("<u2"))

    def __repr__(self) -> str:
        return f"BFloat16(shape={self.shape})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return self.bits.shape

    @property
    def dtype(self) -> str:
        """`bfloat16`."""
        return BFLOAT16

    def widened(self) -> npt.NDArray[np.float32]:
        """The same values as float32, exactly; a copy."""
        return _widened(self.bits)

    def read(self, start: int, out: npt.NDArray[np.float64]) -> None:
        """See `TensorSource.read`."""
        out[:] = _widened(_flat(self.bits)[start : start + len(out)])


def in_floats(tensor: TypedTensor) -> Floats:
    """An array as it is; of a `BFloat16` the same values in float32, as numpy computes with no bfloat16."""
    return tensor.widened() if isinstance(tensor, BFloat16) else tensor


Tensor = Floats | TensorSource
"""What an update may hold."""
TypedTensor = Floats | Any
"""What a mean holds: a `BFloat16` where the layout says bfloat16, else an array. A layout is known when a program runs,
so no type can say which; whoever made it without bfloat16 need not ask."""


def _widened(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    wide = bits.astype("<u4")
    wide <<= _LOWER_HALF
    return wide.view("<f4")


def _flat(array: np.ndarray) -> np.ndarray | np.flatiter:
    """The values in C order, to be sliced: a view where they lie so, else an iterator, which copies slices alone."""
    return array.reshape(-1) if array.flags.c_contiguous else array.flat


def dtype_of(tensor: Tensor) -> str:
    """The dtype's name without its byte order."""
    return tensor.dtype if isinstance(tensor, TensorSource) else tensor.dtype.newbyteorder("=").name


def read_values(tensor: Tensor, start: int, out: npt.NDArray[np.float64]) -> None:
    """As `TensorSource.read`, for an array too."""
    if isinstance(tensor, TensorSource):
        tensor.read(start, out)
    else:
        out[:] = _flat(tensor)[start : start + len(out)]
