"""The layout of an update: named tensors in order, then scalars, and the digest that names it."""

import math
from dataclasses import dataclass

from protocols.notation import H, require, u8, u16, u32, u64

DTYPES = {"float16": 1, "float32": 2, "float64": 3, "bfloat16": 4}


@dataclass(frozen=True)
class TensorSpec:
    """One tensor's place in the layout."""

    name: str
    dtype: str  # a key of DTYPES
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of its parameters."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """What an update looks like. Pre-condition: the first scalar is `weight`."""

    tensors: tuple[TensorSpec, ...]
    scalars: tuple[str, ...]

    @property
    def values(self) -> int:
        """Number of parameters, d."""
        return sum(tensor.size for tensor in self.tensors)


def check_layout(layout: Layout) -> None:
    """Raise V4 for a dtype that no update has, V10 for no parameters, or a name twice in one of the two lists."""
    for tensor in layout.tensors:
        require(tensor.dtype in DTYPES, "V4", f"{tensor.name} holds {tensor.dtype}")
    require(layout.values >= 1, "V10", "no parameter")
    for names in ([tensor.name for tensor in layout.tensors], list(layout.scalars)):
        for name in names:
            require(names.count(name) == 1, "V10", f"two entries are named {name}")


def layout_digest(layout: Layout) -> bytes:
    """The 32 bytes that name a layout in a specification. Raises V4 or V10."""
    check_layout(layout)
    tensors = b"".join(
        name_bytes(tensor.name)
        + u8(DTYPES[tensor.dtype])
        + u8(len(tensor.shape))
        + b"".join(u64(dimension) for dimension in tensor.shape)
        for tensor in layout.tensors
    )
    scalars = b"".join(name_bytes(name) for name in layout.scalars)
    return H(b"securefed/1/layout\x00" + u32(len(layout.tensors)) + tensors + u32(len(layout.scalars)) + scalars)


def name_bytes(name: str) -> bytes:
    """A name with its length in bytes before it."""
    encoded = name.encode("utf-8")
    return u16(len(encoded)) + encoded
