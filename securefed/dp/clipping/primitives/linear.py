"""`y = x Wᵀ + b`, with the clipped sum of its gradients.

A sample's gradient is `G_i = Σ_t g_it x_itᵀ` (p×d). Its norm is had in one of two ways, and the cheaper one is taken:

- *direct*: the gradients are made in blocks that stay in the cache, where norm and weighted sum take one pass each;
- *ghost* (Goodfellow 2015, arXiv 1510.01799; Li et al. 2021, arXiv 2110.05679):
  `‖G_i‖² = Σ_{t,s} (x_it·x_is)(g_it·g_is)`, for T(d+p)/(dp) of the cost of a weight gradient.

The ghost norm loses digits where its terms cancel, and could let a sample pass its bound. So the size of the terms'
rounding is added to its square, 2⁻²⁴·‖XXᵀ‖‖GGᵀ‖: a norm that is too large by 10⁻⁷ to 10⁻⁵, not one that is too small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, functional

from securefed.dp.clipping.contributions import Coefficients, Contribution, Sums, wide, wide_dtype
from securefed.dp.clipping.group import Group

__all__ = ["LinearContribution", "clip_linear", "lowered"]

DIRECT_COST = 0.25
"""Of the direct way, in weight gradients: memory traffic, measured at widths 256 to 1024."""
BALANCE_16_BITS, BALANCE_32_BITS = 800.0, 70.0
"""Tokens at which 12 bytes of traffic take as long as 2·T operations: by the data sheet of an H200, not measured."""
KEPT_FROM = 2.0 / 3.0
"""Flat: where the ghost norm costs more than this of a weight gradient, T(d+p)/(dp), per-sample gradients are kept.
They take at most 1.5 times the room of inputs and output gradients, which would be kept otherwise."""
_GHOST_ROUNDING = 2.0**-24


def clip_linear(x: Tensor, weight: Tensor, bias: Tensor | None, group: Group, transposed: bool = False) -> Tensor:
    """`F.linear(x, weight, bias)`, whose backward pass adds the clipped sum to the parameters' gradients.

    Args:
        x: [B, …, d], the sample first.
        weight: [p, d], or [d, p] where `transposed` (`Conv1D` of transformers).
        bias: [p] or None.
        group: to which weight and bias belong.
        transposed: the layout of the weight.

    Raises:
        LocalProtocolError: D3 where the first dimension is not the sample; in the backward pass D4, D5, D6.
    """
    group.samples(x, data=not x.requires_grad)
    result: Tensor = _Linear.apply(x, weight, bias, group, transposed)
    return result


def lowered(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The tensors in autocast's dtype, where autocast is on for them."""
    device = next(tensor.device.type for tensor in tensors if tensor is not None)
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        t.to(dtype) if t is not None and t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Parameter, bias: Parameter | None, group: Group, transposed: bool
    ) -> Tensor:
        used_x, used_weight, used_bias = lowered(x, weight, bias)
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        ctx.group, ctx.transposed, ctx.samples = group, transposed, x.shape[0]
        ctx.weight, ctx.bias = (weight if need_weight else None), (bias if need_bias else None)
        # What plain autograd would hold, and no more.
        ctx.save_for_backward(used_x if need_weight else None, used_weight if need_x else None)
        if transposed and used_bias is not None:
            flat = torch.addmm(used_bias, used_x.reshape(-1, used_x.shape[-1]), used_weight)
            return flat.view(*x.shape[:-1], weight.shape[1])
        return functional.linear(used_x, used_weight.t() if transposed else used_weight, used_bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, used_weight = ctx.saved_tensors
        group: Group = ctx.group
        samples: int = ctx.samples
        group.enter(samples)
        group.settle(
            LinearContribution(
                ctx.weight,
                ctx.bias,
                None if x is None else x.reshape(samples, -1, x.shape[-1]),
                g.reshape(samples, -1, g.shape[-1]),
                ctx.transposed,
                group,
            )
        )
        upstream = None
        if used_weight is not None:
            upstream = g @ (used_weight.t() if ctx.transposed else used_weight)
        return upstream, None, None, None, None


class LinearContribution(Contribution):
    """Of `x` [B, T, d] and the output's gradient `g` [B, T, p] to a weight and a bias, either of which may be None."""

    def __init__(
        self,
        weight: Parameter | None,
        bias: Parameter | None,
        x: Tensor | None,
        g: Tensor,
        transposed: bool,
        group: Group,
    ) -> None:
        self.weight = weight if x is not None else None
        self.parameters = tuple(one for one in (self.weight, bias) if one is not None)
        self.x = g if x is None else x
        self.g = g
        self.transposed = transposed
        self.clipper = group.clipper
        self.made: Tensor | None = None
        self._of_bias: tuple[Parameter, Tensor] | None = None
        if bias is not None:
            self._of_bias = bias, g.sum(1, dtype=wide_dtype(g.dtype))

    def settle(self, group: Group, sums: Sums) -> None:
        """Layerwise, by the cheaper of the two ways."""
        squares = self._bias_squares()
        if self.weight is None or self._ghost_cost() < self._direct_cost():
            if self.weight is not None:
                squares = squares + self._ghost_squares()
            self.add(group.coefficients(squares), sums)
            return
        left, right = self._factors()
        for first, last, block in self._blocks(left, right):
            norms = squares[first:last] + torch.linalg.vector_norm(block, dim=1).square()
            coefficients = group.coefficients(norms)
            _add_block(self.weight, coefficients, block, sums)
            if self._of_bias is not None:
                sums.add(self._of_bias[0], coefficients.weighted_sum(self._of_bias[1][first:last]))

    def squares(self) -> Tensor:
        """[B]: of weight and bias together."""
        squares = self._bias_squares()
        if self.weight is None:
            return squares
        if self._ghost_cost() < KEPT_FROM:
            return squares + self._ghost_squares()
        # Here a sample's gradient takes about as much room as what it is made of, so that it may as well be held.
        left, right = self._factors()
        self.made = _product(left.transpose(1, 2), right).flatten(1)
        return squares + torch.linalg.vector_norm(self.made, dim=1).square()

    def keep(self) -> Tensor:
        """[B], and what is not needed any more is let go of."""
        squares = self.squares()
        if self.made is not None or self.weight is None:
            self.x = self.g = self.g.new_empty(0)
        return squares

    def add(self, coefficients: Coefficients, sums: Sums) -> None:
        """Add what all samples contribute to weight and bias."""
        if self._of_bias is not None:
            sums.add(self._of_bias[0], coefficients.weighted_sum(self._of_bias[1]))
        if self.weight is None:
            return
        if self.made is not None:
            _add_block(self.weight, coefficients, self.made, sums)
            return
        left, right = self._factors()
        # The narrower one is scaled: it is a copy.
        if left.shape[2] <= right.shape[2]:
            left, right = coefficients.scale(wide(left)), coefficients.without_dropped(right)
        else:
            left, right = coefficients.without_dropped(left), coefficients.scale(wide(right))
        _add_product(self.weight, left.flatten(0, 1), right.flatten(0, 1), sums)

    def cross(self, other: Contribution, parameter: Parameter) -> Tensor | None:
        """With another linear use of the weight: `Σ_{t,s} (x_t·x'_s)(g_t·g'_s)`, or by the gradients that were made."""
        if not isinstance(other, LinearContribution) or parameter is not self.weight or parameter is not other.weight:
            return None
        if self.made is not None or other.made is not None:
            return (self._gradients() * other._gradients()).sum(1)
        (left, right), (other_left, other_right) = self._factors(), other._factors()
        first = _product(left, other_left.transpose(1, 2))
        second = _product(right, other_right.transpose(1, 2))
        return (first * second).flatten(1).sum(1)

    def rows_at(self, ids: Tensor) -> Tensor | None:
        """Rows `ids` [B, T] of each sample's gradient of a [V, d] weight, [B, T, d]: for a tied head."""
        if self.weight is None or self.transposed:
            return None
        if self.made is not None:
            made = self.made.view(-1, *self.weight.shape)
            return torch.gather(made, 1, ids.unsqueeze(-1).expand(-1, -1, made.shape[2]))
        picked = torch.gather(self.g, 2, ids.unsqueeze(1).expand(-1, self.g.shape[1], -1))  # [B, S, T]
        return _product(picked.transpose(1, 2), self.x)

    def _gradients(self) -> Tensor:
        """[B, rows·columns]: each sample's gradient."""
        if self.made is not None:
            return self.made
        left, right = self._factors()
        return _product(left.transpose(1, 2), right).flatten(1)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """[B, T, rows] and [B, T, columns], whose product over T is the gradient in the weight's own layout."""
        return (self.x, self.g) if self.transposed else (self.g, self.x)

    def _ghost_cost(self) -> float:
        """In weight gradients."""
        tokens, d, p = self.x.shape[1], self.x.shape[2], self.g.shape[2]
        cost = 0.0 if tokens == 1 else tokens * (d + p) / (d * p)
        return cost + 1.0 if _native(self.x) and _native(self.g) else cost  # the sum then takes two products

    def _direct_cost(self) -> float:
        """In weight gradients: on a device, memory traffic against 2·T operations an entry."""
        if not self.g.is_cuda:
            return DIRECT_COST
        return (BALANCE_16_BITS if _native(self.g) else BALANCE_32_BITS) / self.g.shape[1]

    def _bias_squares(self) -> Tensor:
        if self._of_bias is None:
            return torch.zeros(self.g.shape[0], device=self.g.device, dtype=wide_dtype(self.g.dtype))
        return _squares(self._of_bias[1])

    def _ghost_squares(self) -> Tensor:
        x, g = self.x, self.g
        if x.shape[1] == 1:
            return _squares(x) * _squares(g)
        of_x = _product(x, x.transpose(1, 2)).flatten(1)
        of_g = _product(g, g.transpose(1, 2)).flatten(1)
        slack = torch.linalg.vector_norm(of_x, dim=1) * torch.linalg.vector_norm(of_g, dim=1)
        return torch.linalg.vecdot(of_x, of_g).add_(slack, alpha=_GHOST_ROUNDING)

    def _blocks(self, left: Tensor, right: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """(first, last, per-sample gradients [last − first, rows·columns]), in the same room each time."""
        samples, rows, columns = left.shape[0], left.shape[2], right.shape[2]
        room = self.clipper.scratch(samples, rows * columns, left)
        for first in range(0, samples, room.shape[0]):
            last = min(samples, first + room.shape[0])
            block = room[: last - first]
            _product(left[first:last].transpose(1, 2), right[first:last], block.view(-1, rows, columns))
            yield first, last, block


def _squares(per_sample: Tensor) -> Tensor:
    return torch.linalg.vector_norm(wide(per_sample).flatten(1), dim=1).square()


def _native(tensor: Tensor) -> bool:
    """Whether the device multiplies such tensors as they are, and sums and gives the products in float32."""
    return tensor.is_cuda and tensor.dtype == torch.bfloat16 and hasattr(torch.ops.aten.bmm, "dtype")


def _native_bmm(left: Tensor, right: Tensor) -> Tensor:
    product: Tensor = torch.bmm(left, right, out_dtype=torch.float32)
    return product


def _product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Batched matrix product, summed and given in at least float32."""
    if _native(left) and _native(right):
        made = _native_bmm(left, right)
        return made if out is None else out.copy_(made)
    left, right = wide(left), wide(right)
    if left.dtype != right.dtype:
        left, right = left.to(torch.float64), right.to(torch.float64)
    return torch.bmm(left, right) if out is None else torch.bmm(left, right, out=out)


def _add_product(weight: Parameter, left: Tensor, right: Tensor, sums: Sums) -> None:
    """Add `leftᵀ·right` for [N, rows] and [N, columns], of which one was scaled in float32."""
    held = sums.buffer(weight)
    if _native(left) or _native(right):
        # The scaled one is taken as the sum of two in bfloat16: 2⁻¹⁷ of an entry is lost, where one would lose 2⁻⁹.
        scaled = right if _native(left) else left
        high = scaled.to(torch.bfloat16)
        for part in (high, (scaled - high).to(torch.bfloat16)):
            first, second = (left, part) if _native(left) else (part, right)
            sums.add(weight, _native_bmm(first.t().unsqueeze(0), second.unsqueeze(0)).squeeze(0))
    elif held is None:
        sums.put(weight, wide(left).t() @ wide(right))
    else:
        held.addmm_(wide(left).t(), wide(right))


def _add_block(weight: Parameter, coefficients: Coefficients, block: Tensor, sums: Sums) -> None:
    """Add `Σ_i c_i block_i` for per-sample gradients [b, rows·columns]."""
    rows = coefficients.without_dropped(block)
    values = coefficients.values.to(rows.dtype)
    held = sums.buffer(weight)
    if held is None:
        sums.put(weight, torch.mv(rows.t(), values).view(weight.shape))
    else:
        held.view(-1).addmv_(rows.t(), values)
