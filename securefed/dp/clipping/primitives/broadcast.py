"""A small parameter that every sample uses: prompts, prefixes, magnitudes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from securefed.dp.clipping.contributions import PerSample
from securefed.dp.clipping.group import Group
from securefed.errors import LocalProtocolError

__all__ = ["clip_broadcast"]


def clip_broadcast(parameter: Tensor, samples: int, group: Group) -> Tensor:
    """One copy of a parameter for each sample, whose backward pass adds the clipped sum of the copies' gradients.

    Whatever is computed from a copy must stay with its sample. Every copy's gradient is held: for small parameters.

    Args:
        parameter: any shape.
        samples: B.
        group: to which it belongs.

    Returns:
        [B, *parameter.shape], a view.

    Raises:
        LocalProtocolError: D3 where there are not so many samples in the batch; in the backward pass D4, D5, D6.
    """
    if samples != group.clipper.batch:
        raise LocalProtocolError(
            "D3", f"{group.name}: asked for {samples} samples, the batch has {group.clipper.batch}"
        )
    result: Tensor = _Broadcast.apply(parameter, samples, group)
    return result


class _Broadcast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: Any, samples: int, group: Group) -> Tensor:
        ctx.group, ctx.parameter = group, parameter
        expanded: Tensor = parameter.unsqueeze(0).expand(samples, *parameter.shape)
        return expanded

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        group: Group = ctx.group
        group.enter(g.shape[0])
        group.settle(PerSample([ctx.parameter], [g]))
        return None, None, None
