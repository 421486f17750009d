"""Named tensors as one flat vector, in an agreed order, with a digest that both sides compare."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.encoding.tensors import BFLOAT16, BFloat16, Floats, Tensor, TypedTensor, dtype_of, read_values
from securefed.errors import LocalProtocolError

__all__ = ["WEIGHT", "Floats", "Layout", "TensorSpec"]

WEIGHT: Final = "weight"
_DTYPE_CODES: Final = {"float16": 1, "float32": 2, "float64": 3, BFLOAT16: 4}


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor: `dtype` is float16, float32, float64 or bfloat16."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """Number of parameters."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The tensors of an update in order, and the scalars behind them.

    Args:
        tensors: at least one parameter in all, names distinct.
        metrics: names of the metrics that ride along, in order; the weight is always there and comes first.

    Raises:
        LocalProtocolError: V4 for a dtype that is no float, V10 for no parameters at all or a repeated name.
    """

    tensors: tuple[TensorSpec, ...]
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for names, what in (([t.name for t in self.tensors], "tensor"), (list(self.scalars), "scalar")):
            repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
            if repeated:
                raise LocalProtocolError("V10", f"{what} {min(repeated)!r} occurs twice in the layout")
        for tensor in self.tensors:
            if tensor.dtype not in _DTYPE_CODES:
                raise LocalProtocolError(
                    "V4",
                    f"tensor {tensor.name!r} is {tensor.dtype}: only {', '.join(_DTYPE_CODES)} can be summed",
                )
        if self.size == 0:
            raise LocalProtocolError("V10", "the layout has no parameters: nothing is trained")

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], metrics: Sequence[str] = ()) -> Layout:
        """The layout of these tensors, in the mapping's order; their values are not looked at."""
        specs = (TensorSpec(name, tensor.shape, dtype_of(tensor)) for name, tensor in tensors.items())
        return cls(tuple(specs), tuple(metrics))

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of all scalars: the weight and the metrics."""
        return (WEIGHT, *self.metrics)

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum(tensor.size for tensor in self.tensors)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the canonical form (`protocols/encoding/README.md`), 32 bytes."""
        out = [b"securefed/1/layout\0", len(self.tensors).to_bytes(4, "big")]
        for tensor in self.tensors:
            out += [_text(tensor.name), bytes([_DTYPE_CODES[tensor.dtype], len(tensor.shape)])]
            out += [extent.to_bytes(8, "big") for extent in tensor.shape]
        out.append(len(self.scalars).to_bytes(4, "big"))
        out += [_text(name) for name in self.scalars]
        return hashlib.sha256(b"".join(out)).digest()

    def check(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse tensors that are not of this layout; their values are not looked at.

        Raises:
            LocalProtocolError: V2 names or order, V3 shape, V4 dtype; each with the tensor's name.
        """
        names, wanted = list(tensors), [tensor.name for tensor in self.tensors]
        if names != wanted:
            missing, added = sorted(set(wanted) - set(names)), sorted(set(names) - set(wanted))
            what = f"missing {missing[:3]}" if missing else f"unknown {added[:3]}" if added else "in another order"
            raise LocalProtocolError("V2", f"the update's tensors are not the layout's: {what}")
        for spec in self.tensors:
            tensor = tensors[spec.name]
            if tensor.shape != spec.shape:
                raise LocalProtocolError(
                    "V3", f"tensor {spec.name!r} has shape {tensor.shape}, the layout says {spec.shape}"
                )
            if dtype_of(tensor) != spec.dtype:
                raise LocalProtocolError("V4", f"tensor {spec.name!r} is {tensor.dtype}, the layout says {spec.dtype}")

    def pieces(self, tensors: Mapping[str, Tensor], length: int) -> Iterator[npt.NDArray[np.float64]]:
        """All parameters in order as float64 pieces of `length` (the last may be shorter).

        Memory: two pieces, whatever the tensors' sizes; the next piece is written over the last.

        Raises:
            LocalProtocolError: V1 with the tensor's name, where a value is NaN or infinite.
        """
        self.check(tensors)
        piece, filled = np.empty(min(length, self.size)), 0
        for spec in self.tensors:
            tensor, done = tensors[spec.name], 0
            while done < spec.size:
                step = min(len(piece) - filled, spec.size - done)
                part = piece[filled : filled + step]
                with np.errstate(invalid="ignore"):  # a NaN, which is refused in a moment, without a warning
                    read_values(tensor, done, part)
                if not np.isfinite(part).all():
                    raise LocalProtocolError("V1", f"tensor {spec.name!r} has a NaN or an infinity")
                done, filled = done + step, filled + step
                if filled == len(piece):
                    yield piece
                    filled = 0
        if filled:
            yield piece[:filled]

    def unflatten(self, values: npt.NDArray[np.float64]) -> dict[str, TypedTensor]:
        """The tensors of a flat vector of `size` values, each in its dtype."""
        return self.assemble([values])

    def assemble(self, pieces: Iterable[npt.NDArray[np.float64]]) -> dict[str, TypedTensor]:
        """The tensors of all values in order, each in its dtype; memory beyond the tensors: one piece.

        Args:
            pieces: of any lengths, `size` values in all.
        """
        tensors: dict[str, TypedTensor] = {}
        source, rest = iter(pieces), np.empty(0)
        for spec in self.tensors:
            flat = np.empty(spec.size, "<u2" if spec.dtype == BFLOAT16 else spec.dtype)
            done = 0
            while done < spec.size:
                rest = rest if len(rest) else next(source)
                part, rest = rest[: spec.size - done], rest[spec.size - done :]
                with np.errstate(over="ignore"):  # beyond the dtype's greatest: an infinity, without a warning
                    flat[done : done + len(part)] = BFloat16.nearest(part).bits if spec.dtype == BFLOAT16 else part
                done += len(part)
            shaped = flat.reshape(spec.shape)
            tensors[spec.name] = BFloat16(shaped) if spec.dtype == BFLOAT16 else shaped
        return tensors


def _text(name: str) -> bytes:
    raw = name.encode()
    if len(raw) >= 2**16:
        raise LocalProtocolError("V10", f"a name of {len(raw)} bytes is too long")
    return len(raw).to_bytes(2, "big") + raw
