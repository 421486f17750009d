"""What samples add to gradients, clipped: contributions that know their own norms, coefficients, and the sums.

Norms, coefficients and contributions are not private and never leave this package.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter

if TYPE_CHECKING:
    from securefed.dp.clipping.group import Group

__all__ = ["Coefficients", "Contribution", "PerSample", "Sums", "clip", "wide", "wide_dtype"]


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32, or as it is where it is wider: norms and clipped sums are never taken in 16 bits."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What each sample's contribution is multiplied by.

    Args:
        values: [B], in [0, 1]; 0 for a dropped sample.
        dropped: bool [B]: samples whose norm is not finite, or None where there is none. 0·NaN is NaN, so that they
            must be taken out of whatever is summed.
    """

    values: Tensor
    dropped: Tensor | None

    def scale(self, per_sample: Tensor) -> Tensor:
        """`c_i · x_i` over the first dimension, exactly zero for dropped samples."""
        shape = (-1, *[1] * (per_sample.dim() - 1))
        scaled = per_sample * self.values.to(per_sample.dtype).view(shape)
        return scaled if self.dropped is None else scaled.masked_fill_(self.dropped.view(shape), 0.0)

    def without_dropped(self, per_sample: Tensor) -> Tensor:
        """`x_i`, zero for dropped samples; the tensor itself where there are none."""
        if self.dropped is None:
            return per_sample
        return per_sample.masked_fill(self.dropped.view(-1, *[1] * (per_sample.dim() - 1)), 0.0)

    def weighted_sum(self, per_sample: Tensor) -> Tensor:
        """`Σ_i c_i · x_i`, the shape of one x_i."""
        rows = self.without_dropped(per_sample).reshape(per_sample.shape[0], -1)
        return torch.mv(rows.t(), self.values.to(rows.dtype)).view(per_sample.shape[1:])


class Sums:
    """The clipped sums of a step, by parameter.

    They are the parameters' own `.grad`, so that micro-batches accumulate in the usual place. Parameters of 16 bits
    have theirs here in float32, and get a `.grad` only once noise has been added.
    """

    def __init__(self) -> None:
        self._by_parameter: dict[Parameter, Tensor] = {}
        self._versions: dict[Parameter, int] = {}

    def __contains__(self, parameter: Parameter) -> bool:
        return parameter in self._by_parameter

    def __bool__(self) -> bool:
        return bool(self._by_parameter)

    def buffer(self, parameter: Parameter) -> Tensor | None:
        """The sum so far, to be added to in place; None before the first contribution."""
        return self._by_parameter.get(parameter)

    def zeros(self, parameter: Parameter) -> Tensor:
        """The sum so far, made of zeros where there is none yet."""
        found = self._by_parameter.get(parameter)
        if found is None:
            found = torch.zeros_like(
                parameter, dtype=wide_dtype(parameter.dtype), memory_format=torch.contiguous_format
            )
            self.put(parameter, found)
        return found

    def put(self, parameter: Parameter, total: Tensor) -> None:
        """Make `total` the sum so far; it is the engine's from now on."""
        total = wide(total).contiguous()
        self._by_parameter[parameter] = total
        if total.dtype == parameter.dtype:
            parameter.grad = total

    def add(self, parameter: Parameter, total: Tensor) -> None:
        """Add what all samples of a backward pass contribute, already clipped."""
        found = self._by_parameter.get(parameter)
        if found is None:
            self.put(parameter, total.reshape(parameter.shape))
        else:
            found.add_(total.reshape(parameter.shape))

    def seal(self) -> None:
        """Remember the state after a backward pass, for `altered`."""
        self._versions = {parameter: total._version for parameter, total in self._by_parameter.items()}

    def altered(self, parameter: Parameter) -> bool:
        """Whether someone else wrote to the gradient since the last backward pass."""
        total = self._by_parameter.get(parameter)
        if total is None:
            return parameter.grad is not None
        own = parameter.grad is total if total.dtype == parameter.dtype else parameter.grad is None
        return not own or total._version != self._versions.get(parameter)

    def clear(self) -> None:
        """Forget all sums; the gradients go too."""
        for parameter in self._by_parameter:
            parameter.grad = None
        self._by_parameter.clear()
        self._versions.clear()


def wide_dtype(dtype: Any) -> Any:
    """In which dtype a parameter's clipped sum is held."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


class Contribution(ABC):
    """What the samples of one backward pass contribute to the parameters of one group."""

    parameters: tuple[Parameter, ...]

    @abstractmethod
    def squares(self) -> Tensor:
        """[B] in at least float32: the square of the ℓ₂ norm of each sample's gradient, over all these parameters."""

    @abstractmethod
    def add(self, coefficients: Coefficients, sums: Sums) -> None:
        """Add `Σ_i c_i · g_i` to the sums."""

    def settle(self, group: Group, sums: Sums) -> None:
        """Layerwise: clip by the group's own bound and add."""
        self.add(group.coefficients(self.squares()), sums)

    def keep(self) -> Tensor:
        """Flat: the squares, after which only what `add` needs is held."""
        return self.squares()

    def cross(self, other: Contribution, parameter: Parameter) -> Tensor | None:
        """[B]: `⟨g_i, h_i⟩` for two contributions to one parameter; None where no exact form is known."""
        return None


class PerSample(Contribution):
    """Explicit per-sample gradients, for small parameters.

    Args:
        parameters: what is trained.
        gradients: one for each parameter, [B, *shape], or [B, n] with n its number of entries.
    """

    def __init__(self, parameters: Iterable[Parameter], gradients: Iterable[Tensor]) -> None:
        self.parameters = tuple(parameters)
        self.gradients = tuple(wide(gradient) for gradient in gradients)

    def squares(self) -> Tensor:
        """[B]: over all parameters."""
        total = self.gradients[0].new_zeros(self.gradients[0].shape[0])
        for gradient in self.gradients:
            total = total + torch.linalg.vector_norm(gradient.flatten(1), dim=1).square()
        return total

    def add(self, coefficients: Coefficients, sums: Sums) -> None:
        """Add the weighted sums."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            sums.add(parameter, coefficients.weighted_sum(gradient))

    def cross(self, other: Contribution, parameter: Parameter) -> Tensor | None:
        """With other explicit gradients."""
        if not isinstance(other, PerSample):
            return None
        mine, theirs = (one.gradients[one.parameters.index(parameter)].flatten(1) for one in (self, other))
        return (mine * theirs).sum(1)


def clip(norms: Tensor, bound: float) -> Coefficients:
    """`min(1, C/‖g_i‖)` for norms [B]; 0, and named as dropped, where a norm is not finite."""
    values = bound / norms.clamp_min(bound)
    if math.isfinite(float(norms.sum())):
        return Coefficients(values, None)
    dropped = torch.isfinite(norms).logical_not_()
    return Coefficients(values.masked_fill_(dropped, 0.0), dropped)
