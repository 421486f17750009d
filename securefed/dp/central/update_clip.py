"""Clipping of a client's whole update, group by group: what one client can add to a sum (McMahan et al. 2018).

The bound holds for the numbers as they leave, in their dtype, and not only before they were rounded to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.dp.central.groups import Groups
from securefed.encoding.layout import Layout
from securefed.encoding.tensors import BFLOAT16, BFloat16, Tensor, dtype_of, read_values
from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["GREATEST_BOUND", "LEAST_BOUND", "Clipped", "UpdateClip", "rounded_sensitivity"]

LEAST_BOUND: Final = 2.0**-100
GREATEST_BOUND: Final = 2.0**100
"""Within these the slack below is larger than all rounding of float32 and float64 numbers."""
SLACK: Final = 1 - 2.0**-20
"""Clipping aims below the bound by this factor: rounding the norm, the product and its float32 take less than that."""
_PIECE: Final = 2**16
"""Values at a time: short enough that the rounding of a piece's sum of squares is below 2^-36 of it."""
_FAR: Final = 400
"""Beyond 2^±400 a square may overflow or vanish; such values are scaled by a power of two first."""


@dataclass(frozen=True)
class Clipped:
    """A clipped update.

    Attributes:
        tensors: as they were given, or scaled, in their dtypes.
        within: bool, shape [K]: whether a group's norm was within its bound. One client's own secret: it leaves only
            as noised entries of the sum (`securefed.dp.central.adaptive`).
    """

    tensors: dict[str, Tensor]
    within: npt.NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"Clipped({len(self.tensors)} tensors)"


class UpdateClip:
    """Bounds for the groups of an update.

    Args:
        groups: which tensors are clipped together.
        bounds: C_g for each group; or the total C for all, of which each of K groups gets C/√K.

    Raises:
        ConfigError: U1 for a bound outside 2^-100 … 2^100, missing, or for a group that is not there.
    """

    def __init__(self, groups: Groups, bounds: float | Mapping[str, float]) -> None:
        if not isinstance(bounds, Mapping):
            bounds = dict.fromkeys(groups.names, bounds / math.sqrt(len(groups)))
        if unequal := set(groups.names) ^ set(bounds):
            raise ConfigError("privacy.clip", f"[U1] groups and bounds are not the same: {min(unequal)!r} is in one")
        for name, bound in bounds.items():
            if not LEAST_BOUND <= bound <= GREATEST_BOUND:
                raise ConfigError("privacy.clip", f"[U1] the bound {bound} of {name!r} is not in 2^-100 … 2^100")
        self.groups = groups
        self.bounds: Mapping[str, float] = {name: float(bounds[name]) for name in groups.names}

    @property
    def total(self) -> float:
        """C = √ΣC_g², rounded up: the L2 sensitivity of a sum of clipped updates to one client's."""
        return math.nextafter(math.hypot(*self.bounds.values()), math.inf)

    def clip(self, update: Mapping[str, Tensor]) -> Clipped:
        """Each group scaled down to its bound; a group within it is left as it is.

        An update with a value that is no number is refused as a whole: it tells of a training that failed, and zero
        in its place would hide that from its own user. That a client is missing is visible to the server, as for
        any dropout, and is not covered by the guarantee.

        Args:
            update: finite floats of any dtype that a layout may have; norms are computed in float64.

        Returns:
            For each group √Σx² ≤ C_g, exactly (over the reals, of the numbers in their dtypes).

        Raises:
            LocalProtocolError: U2 other tensors than the groups', V1 a NaN or an infinity, V4 no float.
        """
        if unequal := set(update) ^ set(self.groups.by_tensor):
            raise LocalProtocolError(
                "U2", f"the update's tensors are not those of the groups: {min(unequal)!r} is in one of them"
            )
        Layout.of(update)  # V4
        exponents = {name: _greatest_exponent(name, tensor) for name, tensor in update.items()}
        within = np.ones(len(self.groups), np.bool_)
        out = dict(update)
        for at, (group, names) in enumerate(self.groups.tensors.items()):
            greatest = max(exponents[name] for name in names)
            if greatest < -_FAR:
                continue  # squares would vanish, and so small a group is within any bound
            shift = greatest if greatest > _FAR else 0
            norm = _norm([update[name] for name in names], shift)
            target = self.bounds[group] * SLACK
            if norm > target or shift:
                within[at] = False
                out |= {name: _scaled(update[name], shift, target / norm) for name in names}
        return Clipped(out, within)


def rounded_sensitivity(bound: float, dimension: int, step: float) -> float:
    """C + √d·s, rounded up: of a sum of updates of which every coordinate was moved by less than `step`.

    Stochastic rounding to integers does that to each client's update before it is summed (`Numbers.step`, s = c/Q):
    by the triangle inequality the norm grows by no more than √d·s, whatever the rounding drew. So also where a sum is
    rounded to a grid of that step before noise is added; and with s = n·c·2^-23 where a sum of n clients' values, each
    within ±c, was held as float32 before that.

    Args:
        bound: C > 0, in the unit of the update.
        dimension: d, number of values.
        step: s ≥ 0, in the unit of the update.
    """
    # The encoding's own arithmetic moves a value by some 2^-50 of Q steps more.
    return (bound + math.sqrt(dimension) * step * (1 + 2.0**-16)) * (1 + 2.0**-40)


def _pieces(tensor: Tensor) -> Iterator[npt.NDArray[np.float64]]:
    """All values in C order, as float64; each piece is written over the last."""
    size = math.prod(tensor.shape)
    room = np.empty(min(_PIECE, size))
    for start in range(0, size, _PIECE):
        piece = room[: min(_PIECE, size - start)]
        with np.errstate(invalid="ignore"):  # a NaN, which is refused in a moment, without a warning
            read_values(tensor, start, piece)
        yield piece


def _greatest_exponent(name: str, tensor: Tensor) -> int:
    """The least e with |x| < 2^e for all values; a very small number where all are zero."""
    greatest = 0.0
    for piece in _pieces(tensor):
        if not np.isfinite(piece).all():
            raise LocalProtocolError("V1", f"tensor {name!r} has a NaN or an infinity: the update is not sent")
        greatest = max(greatest, float(np.abs(piece).max()))
    return math.frexp(greatest)[1] if greatest else -2 * 1074


def _norm(tensors: list[Tensor], shift: int) -> float:
    """√Σ(x·2^-shift)², to a relative 2^-36: exact sums of pieces whose own sums are rounded."""
    sums = []
    for tensor in tensors:
        for piece in _pieces(tensor):
            values = np.ldexp(piece, -shift) if shift else piece
            sums.append(float(values @ values))
    return math.sqrt(math.fsum(sums))


def _scaled(tensor: Tensor, shift: int, factor: float) -> Tensor:
    """x·2^-shift·factor in the tensor's dtype; never further from zero than by the rounding that the slack covers."""
    dtype = dtype_of(tensor)
    flat = np.empty(math.prod(tensor.shape), "<u2" if dtype == BFLOAT16 else dtype)
    done = 0
    for piece in _pieces(tensor):
        if shift:
            np.ldexp(piece, -shift, out=piece)
        piece *= factor
        flat[done : done + len(piece)] = _rounded(piece, dtype)
        done += len(piece)
    shaped = flat.reshape(tensor.shape)
    return BFloat16(shaped) if dtype == BFLOAT16 else shaped


def _rounded(values: npt.NDArray[np.float64], dtype: str) -> npt.NDArray[np.generic]:
    """Rounded to the dtype: to nearest where that is fine enough, else toward zero (for bfloat16 its bits)."""
    if dtype == BFLOAT16:
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    rounded = values.astype(dtype)
    if dtype == "float16":
        beyond = np.abs(rounded) > np.abs(values)
        rounded[beyond] = np.nextafter(rounded[beyond], np.float16(0))
    return rounded
