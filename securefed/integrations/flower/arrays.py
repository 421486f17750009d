"""Flower's arrays as tensors that can be summed, and back; bfloat16 too, which Flower's own `Array` cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

from securefed.encoding.tensors import BFLOAT16, BFloat16, Tensor, TypedTensor, dtype_of, in_floats, read_values
from securefed.errors import LocalProtocolError

if TYPE_CHECKING:
    import torch

__all__ = ["Difference", "as_array", "as_tensor", "to_arrays", "to_state_dict"]

_NUMPY: Final = "numpy.ndarray"
_BFLOAT16_BITS: Final = "securefed.bfloat16"
"""How `Array.data` is written: Flower's own way, or the bits of bfloat16 numbers, little-endian, in C order."""
_SUMMABLE: Final = ("float16", "float32", "float64", BFLOAT16)


class _BFloat16Array(Array):
    """A bfloat16 array on its own side of the wire: strategies that ask for `numpy()` get float32 of the same values.

    It must not be sent: Flower knows an object on the wire by the name of its class (`as_sent` gives one that may be).
    """

    def __init__(self, tensor: BFloat16) -> None:
        data = np.ascontiguousarray(tensor.bits, "<u2").tobytes()
        super().__init__(BFLOAT16, tuple(tensor.shape), _BFLOAT16_BITS, data)

    def numpy(self) -> npt.NDArray[np.float32]:
        """The values, exactly, as float32."""
        return _bits(self).widened()

    def as_sent(self) -> Array:
        """The same as an `Array` of Flower's own."""
        return Array(self.dtype, self.shape, self.stype, self.data)


def to_arrays(state: Mapping[str, torch.Tensor | npt.NDArray[Any]]) -> ArrayRecord:
    """An `ArrayRecord` of tensors by name, bfloat16 ones included; values are copied.

    Everything but bfloat16 is written as `ArrayRecord(state_dict)` does. Tensors that are no floats are taken too, but
    no protected round sums them.
    """
    record = ArrayRecord()
    for name, tensor in state.items():
        record[name] = _array_of(tensor)
    return record


def to_state_dict(record: ArrayRecord) -> dict[str, torch.Tensor]:
    """The torch tensors of an `ArrayRecord`, bfloat16 ones included; the record stays as it is.

    On the server a strategy hands bfloat16 tensors on as float32: `load_state_dict` rounds them to the model's dtype.
    """
    import torch

    state: dict[str, torch.Tensor] = {}
    for name, array in record.items():
        if array.stype == _BFLOAT16_BITS:
            state[name] = torch.from_numpy(_bits(array).bits.copy()).view(torch.bfloat16)
        else:
            state[name] = torch.from_numpy(array.numpy())
    return state


def _array_of(tensor: Any) -> Array:
    if isinstance(tensor, np.ndarray):
        return Array(tensor)
    if str(tensor.dtype) != "torch.bfloat16":
        return Array(tensor.detach().cpu().numpy())
    import torch

    return _BFloat16Array(BFloat16(tensor.detach().cpu().contiguous().view(torch.uint16).numpy()))


def as_array(tensor: TypedTensor, *, to_send: bool = False) -> Array:
    """A tensor as Flower carries it; of bfloat16 one that gives float32 as `numpy()`, or that may be sent."""
    if not isinstance(tensor, BFloat16):
        return Array(np.asarray(tensor))
    array = _BFloat16Array(tensor)
    return array.as_sent() if to_send else array


def as_tensor(name: str, array: Array) -> TypedTensor:
    """A tensor that can be summed, without a copy of its values.

    Raises:
        LocalProtocolError: V4 where it is no float, or is not what its description says.
    """
    if array.stype == _BFLOAT16_BITS:
        return _bits(array, name)
    if array.stype != _NUMPY:
        raise LocalProtocolError("V4", f"tensor {name!r} is written as {array.stype!r}, which is not known here")
    try:
        tensor = _view(array.data)
    except (ValueError, TypeError, EOFError):
        raise LocalProtocolError("V4", f"tensor {name!r} is not a numpy array as its description says") from None
    if dtype_of(tensor) not in _SUMMABLE:
        raise LocalProtocolError(
            "V4",
            f"tensor {name!r} is {tensor.dtype}, and only {', '.join(_SUMMABLE)} can be summed: leave it out of the "
            "arrays on both sides, as in ArrayRecord({k: v for k, v in state.items() if v.is_floating_point()})",
        )
    return tensor


def _bits(array: Array, name: str = "") -> BFloat16:
    try:
        return BFloat16(np.frombuffer(array.data, "<u2").reshape(array.shape))
    except ValueError:
        raise LocalProtocolError("V4", f"tensor {name!r} has other bytes than its shape needs") from None


def _view(data: bytes) -> npt.NDArray[Any]:
    # `BytesIO` of bytes shares them until it is written to, and `np.load` would copy.
    file = BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("an array of objects")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran_order else "C")


class Difference:
    """New minus old, computed piece by piece in double precision as it is read: the models are held once each.

    Args:
        name: of the tensor.
        new, old: of one shape. Their dtypes may differ: Flower's FedAdam sends float64 from the second round on, and
            a model of float32 replies as it is.

    Raises:
        LocalProtocolError: V3, another shape.
    """

    def __init__(self, name: str, new: TypedTensor, old: TypedTensor) -> None:
        if tuple(new.shape) != tuple(old.shape):
            raise LocalProtocolError(
                "V3", f"tensor {name!r} came back with shape {tuple(new.shape)}, the server sent {tuple(old.shape)}"
            )
        self._new: Tensor = new
        self._old: Tensor = old

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return tuple(self._old.shape)

    @property
    def dtype(self) -> str:
        """The old one's, which is the layout's."""
        return dtype_of(self._old)

    def read(self, start: int, out: npt.NDArray[np.float64]) -> None:
        """See `TensorSource.read`."""
        read_values(self._new, start, out)
        old = np.empty_like(out)
        read_values(self._old, start, old)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where it is read
            np.subtract(out, old, out)


def added(old: TypedTensor, mean: TypedTensor) -> npt.NDArray[np.floating]:
    """Old plus mean update, in the old one's dtype; float32 where either is bfloat16."""
    total = in_floats(old) + in_floats(mean)
    return np.asarray(total, np.float32) if isinstance(old, BFloat16) else np.asarray(total, old.dtype)
