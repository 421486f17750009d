"""Layer norm and root-mean-square norm with their weights in one operation.

The output is bit for bit that of the module it stands for. The backward pass is written out, so that it holds the
input and one number a token, which is less than the modules' own chains of operations hold.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from securefed.dp.clipping.contributions import PerSample, wide
from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives.scale import sum_to

__all__ = ["RmsKind", "clip_layer_norm", "clip_rms_norm", "rms_norm"]

RmsKind = Literal["torch", "llama", "wide", "gemma"]
"""Where the input's own dtype comes back, which shows in 16 bits: `llama` w·(x̂ to dtype); `wide` (w·x̂) to dtype;
`gemma` (x̂·(1 + w)) to dtype; `torch` as `torch.nn.functional.rms_norm` has it."""


def clip_layer_norm(
    x: Tensor, shape: tuple[int, ...], weight: Tensor, bias: Tensor | None, eps: float, group: Group
) -> Tensor:
    """`F.layer_norm(x, shape, weight, bias, eps)`, whose backward pass adds the clipped sums of weight and bias.

    Args:
        x: [B, …, *shape], the sample first.
        shape: of weight and bias.
        weight: [*shape].
        bias: [*shape] or None.
        eps: added to the variance.
        group: to which weight and bias belong.

    Raises:
        LocalProtocolError: D3 where the first dimension is not the sample; in the backward pass D4, D5, D6.
    """
    group.samples(x, data=not x.requires_grad)
    result: Tensor = _LayerNorm.apply(x, weight, bias, shape, eps, group)
    return result


def clip_rms_norm(x: Tensor, weight: Tensor, eps: float | None, kind: RmsKind, group: Group) -> Tensor:
    """A root-mean-square norm over the weight's dimensions, whose backward pass adds the weight's clipped sum.

    Args:
        x: [B, …, *shape], the sample first.
        weight: [*shape].
        eps: added to the mean square; None (only `torch`) for the dtype's own.
        kind: whose rounding is followed.
        group: to which the weight belongs.

    Raises:
        LocalProtocolError: D3 where the first dimension is not the sample; in the backward pass D4, D5, D6.
    """
    group.samples(x, data=not x.requires_grad)
    result: Tensor = _RmsNorm.apply(x, weight, eps, kind, group)
    return result


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Any, bias: Any, shape: tuple[int, ...], eps: float, group: Group
    ) -> Tensor:
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        ctx.group, ctx.shape, ctx.eps, ctx.need_x = group, shape, eps, need_x
        ctx.weight, ctx.bias = (weight if need_weight else None), (bias if need_bias else None)
        if x.dtype == weight.dtype and x.dtype in (torch.float32, torch.float64):
            y, mean, rstd = torch.native_layer_norm(x, shape, weight, bias, eps)
            ctx.save_for_backward(x, weight, mean, rstd)
            return y
        ctx.save_for_backward(x, weight, None, None)
        return functional.layer_norm(x, shape, weight, bias, eps)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, mean, rstd = ctx.saved_tensors
        group: Group = ctx.group
        group.enter(x.shape[0])
        g, x, weight = wide(g), wide(x), wide(weight)
        if mean is None:
            _, mean, rstd = torch.native_layer_norm(x, ctx.shape, None, None, ctx.eps)
        parameters, gradients = [], []
        if ctx.weight is not None:
            parameters.append(ctx.weight)
            gradients.append(sum_to((x - mean).mul_(rstd).mul_(g), ctx.shape))
        if ctx.bias is not None:
            parameters.append(ctx.bias)
            gradients.append(sum_to(g, ctx.shape))
        group.settle(PerSample(parameters, gradients))
        upstream = None
        if ctx.need_x:
            upstream, _, _ = torch.ops.aten.native_layer_norm_backward(
                g, x, ctx.shape, mean, rstd, weight, None, [True, False, False]
            )
        return upstream, None, None, None, None, None


def rms_norm(x: Tensor, weight: Tensor, eps: float | None, kind: RmsKind) -> tuple[Tensor, Tensor]:
    """The norm as its module computes it, and 1/‖x‖ (root mean square) of each row."""
    dims = tuple(range(-weight.dim(), 0))
    h = wide(x)
    if kind == "torch":
        rstd = torch.rsqrt(h.pow(2).mean(dims, keepdim=True) + (torch.finfo(x.dtype).eps if eps is None else eps))
        return functional.rms_norm(x, weight.shape, weight, eps), rstd
    if kind == "gemma":
        rstd = torch.rsqrt(h.pow(2).mean(dims, keepdim=True) + eps)
        return ((h * rstd) * (1.0 + wide(weight))).type_as(x), rstd
    h = h.to(torch.float32)
    rstd = torch.rsqrt(h.pow(2).mean(dims, keepdim=True) + eps)
    if kind == "wide":
        return (weight * (h * rstd)).to(x.dtype), rstd
    return weight * (h * rstd).to(x.dtype), rstd


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Any, eps: float | None, kind: RmsKind, group: Group) -> Tensor:
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.group, ctx.need_x, ctx.kind = group, need_x, kind
        ctx.weight = weight if need_weight else None
        y, rstd = rms_norm(x, weight, eps, kind)
        ctx.save_for_backward(x, weight, rstd)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, rstd = ctx.saved_tensors
        group: Group = ctx.group
        group.enter(x.shape[0])
        g, xhat, scale = wide(g), wide(x) * rstd, wide(weight)
        g_xhat = g * xhat
        if ctx.weight is not None:
            group.settle(PerSample([ctx.weight], [sum_to(g_xhat, weight.shape)]))
        upstream = None
        if ctx.need_x:
            if ctx.kind == "gemma":
                scale = 1.0 + scale
            # ∂: rstd·(w∘g − x̂·mean(w∘g∘x̂)), the mean over the normalised dimensions.
            inner = g_xhat.mul_(scale).mean(tuple(range(-weight.dim(), 0)), keepdim=True)
            upstream = torch.addcmul(g * scale, xhat, inner, value=-1.0).mul_(rstd)
        return upstream, None, None, None, None
