"""`y = x̂·w + b` entry by entry: norms' weights, IA3's vectors, magnitudes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from securefed.dp.clipping.contributions import PerSample, wide
from securefed.dp.clipping.group import Group

__all__ = ["clip_scale", "sum_to"]


def clip_scale(xhat: Tensor, weight: Tensor, bias: Tensor | None, group: Group, one_plus: bool = False) -> Tensor:
    """`xhat * weight + bias`, whose backward pass adds the clipped sum to the parameters' gradients.

    Args:
        xhat: [B, …], the sample first.
        weight: broadcast against one sample of `xhat`.
        bias: likewise, or None.
        group: to which weight and bias belong.
        one_plus: `xhat * (1 + weight)`, as Gemma has it.

    Raises:
        LocalProtocolError: D3 where the first dimension is not the sample; in the backward pass D4, D5, D6.
    """
    group.samples(xhat, data=not xhat.requires_grad)
    result: Tensor = _Scale.apply(xhat, weight, bias, group, one_plus)
    return result


def sum_to(per_sample: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum [B, …] to [B, *shape], where `shape` is broadcast against one sample; in at least float32."""
    samples = per_sample.shape[0]
    padded = (samples, *[1] * (per_sample.dim() - 1 - len(shape)), *shape)
    return wide(per_sample).sum_to_size(padded).reshape(samples, *shape)


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, xhat: Tensor, weight: Any, bias: Any, group: Group, one_plus: bool) -> Tensor:
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        ctx.group, ctx.one_plus, ctx.samples = group, one_plus, xhat.shape[0]
        ctx.weight, ctx.bias = (weight if need_weight else None), (bias if need_bias else None)
        ctx.save_for_backward(xhat if need_weight else None, weight if need_x else None)
        y = xhat * (1 + weight if one_plus else weight)
        return y if bias is None else y + bias

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        xhat, weight = ctx.saved_tensors
        group: Group = ctx.group
        group.enter(ctx.samples)
        parameters, gradients = [], []
        if ctx.weight is not None:
            parameters.append(ctx.weight)
            gradients.append(sum_to(g * xhat, ctx.weight.shape))
        if ctx.bias is not None:
            parameters.append(ctx.bias)
            gradients.append(sum_to(g, ctx.bias.shape))
        group.settle(PerSample(parameters, gradients))
        upstream = None if weight is None else g * (1 + weight if ctx.one_plus else weight)
        return upstream, None, None, None, None
