"""`y = W[e] x` for tokens sent to expert e, with the clipped sum of the gradients of all experts' matrices.

The matrices of all experts are one parameter [E, p, d] in transformers 5. A sample's gradient of it has one block an
expert, `G_ie = Σ g_t x_tᵀ` over those of its tokens that went there, and the blocks are orthogonal:
`‖G_i‖² = Σ_e ‖G_ie‖²`. Each block's norm is taken as for a linear layer, directly or by the ghost norm, over the tokens
of one sample laid side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, functional

from securefed.dp.clipping.group import Coefficients, Contribution, Group, Sums, wide
from securefed.dp.clipping.primitives.linear import lowered

__all__ = ["Routed", "clip_experts"]

_GHOST_ROUNDING = 2.0**-22
"""Of the ghost norm's terms, added so that rounding never makes a norm too small (as for a linear layer)."""


@dataclass(frozen=True, slots=True)
class Routed:
    """Rows of tokens, in the order of their experts and, for one expert, of their samples.

    Args:
        token: int64 [n], of the flattened batch [B·T].
        choice: int64 [n], which of the token's k choices this is.
        sample: int64 [n], to which the token belongs.
        counts: rows of each expert.
        samples: B.
    """

    token: Tensor
    choice: Tensor
    sample: Tensor
    counts: tuple[int, ...]
    samples: int

    @classmethod
    def of(cls, chosen: Tensor, experts: int, samples: int) -> Routed:
        """From the router's choices, int64 [B·T, k]; one of `experts` or above is no expert."""
        k = chosen.shape[1]
        flat = chosen.reshape(-1)
        order = torch.argsort(flat, stable=True)  # stable: tokens, and with them samples, stay in their order
        counts = torch.bincount(flat, minlength=experts)[:experts]
        order = order[: int(counts.sum())]
        token = torch.div(order, k, rounding_mode="floor")
        tokens = chosen.shape[0] // samples
        return cls(
            token, order - token * k, torch.div(token, tokens, rounding_mode="floor"), tuple(counts.tolist()), samples
        )

    def parts(self) -> list[tuple[int, slice]]:
        """Each expert that has tokens, with its rows."""
        found, first = [], 0
        for expert, count in enumerate(self.counts):
            if count:
                found.append((expert, slice(first, first + count)))
            first += count
        return found


def clip_experts(x: Tensor, weight: Tensor, routed: Routed, group: Group) -> Tensor:
    """`functional.linear(x[rows of e], weight[e])` for every expert e, whose backward pass adds the clipped sum.

    Args:
        x: [n, d], rows as `routed` has them.
        weight: [E, p, d].
        routed: which row is whose; the caller has checked that its samples are the batch's.
        group: to which the weight belongs.

    Returns:
        [n, p].

    Raises:
        LocalProtocolError: in the backward pass D4, D5, D6.
    """
    result: Tensor = _Experts.apply(x, weight, routed, group)
    return result


class _Experts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Parameter, routed: Routed, group: Group) -> Tensor:
        used: tuple[Any, ...] = lowered(x, weight)
        used_x, used_weight = used
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.routed, ctx.group, ctx.weight = routed, group, weight if need_weight else None
        ctx.save_for_backward(used_x if need_weight else None, used_weight if need_x else None)
        y = used_x.new_empty(x.shape[0], weight.shape[1])
        for expert, rows in routed.parts():
            y[rows] = functional.linear(used_x[rows], used_weight[expert])
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, used_weight = ctx.saved_tensors
        routed: Routed = ctx.routed
        if ctx.weight is not None:
            ctx.group.enter(routed.samples)
            ctx.group.settle(ExpertsContribution(ctx.weight, x, g, routed))
        upstream = None
        if used_weight is not None:
            upstream = g.new_empty(g.shape[0], used_weight.shape[2])
            for expert, rows in routed.parts():
                upstream[rows] = g[rows] @ used_weight[expert]
        return upstream, None, None, None


class ExpertsContribution(Contribution):
    """Of `x` [n, d] and the output's gradient `g` [n, p] to the matrices [E, p, d]."""

    def __init__(self, weight: Parameter, x: Tensor, g: Tensor, routed: Routed) -> None:
        self.parameters = (weight,)
        self.x = x
        self.g = g
        self.routed = routed

    def squares(self) -> Tensor:
        total = wide(self.g).new_zeros(self.routed.samples)
        with torch.autocast(total.device.type, enabled=False):  # of a backward pass that is called under it
            for _, rows in self.routed.parts():
                x, g = _side_by_side(self.routed.sample[rows], self.routed.samples, self.x[rows], self.g[rows])
                total += _squares(x, g)
        return total

    def add(self, coefficients: Coefficients, sums: Sums) -> None:
        (weight,) = self.parameters
        total = sums.zeros(weight)
        of_rows = coefficients.values[self.routed.sample].unsqueeze(1)
        dropped = None if coefficients.dropped is None else coefficients.dropped[self.routed.sample].unsqueeze(1)
        for expert, rows in self.routed.parts():
            x, g = wide(self.x[rows]), wide(self.g[rows])
            g = g * of_rows[rows].to(g.dtype)
            if dropped is not None:
                x, g = x.masked_fill(dropped[rows], 0.0), g.masked_fill(dropped[rows], 0.0)
            with torch.autocast(total.device.type, enabled=False):
                total[expert].addmm_(g.t(), x.to(g.dtype))


def _side_by_side(sample: Tensor, samples: int, *tensors: Tensor) -> list[Tensor]:
    """Rows [n, …] in the order of `sample` as [B, most, …], zero where a sample has fewer."""
    counts = torch.bincount(sample, minlength=samples)
    firsts = counts.cumsum(0) - counts
    place = torch.arange(sample.numel(), device=sample.device) - firsts[sample]
    laid = []
    for tensor in tensors:
        room = wide(tensor).new_zeros(samples, int(counts.max()), tensor.shape[1])
        room[sample, place] = wide(tensor)
        laid.append(room)
    return laid


def _squares(x: Tensor, g: Tensor) -> Tensor:
    """`‖Σ_t g_it x_itᵀ‖²` [B] of x [B, m, d] and g [B, m, p], the cheaper way."""
    tokens, d, p = x.shape[1], x.shape[2], g.shape[2]
    if tokens * (d + p) >= d * p:
        return torch.linalg.vector_norm(torch.bmm(g.transpose(1, 2), x).flatten(1), dim=1).square()
    of_x = torch.bmm(x, x.transpose(1, 2)).flatten(1)
    of_g = torch.bmm(g, g.transpose(1, 2)).flatten(1)
    slack = torch.linalg.vector_norm(of_x, dim=1) * torch.linalg.vector_norm(of_g, dim=1)
    return torch.linalg.vecdot(of_x, of_g).add_(slack, alpha=_GHOST_ROUNDING)
