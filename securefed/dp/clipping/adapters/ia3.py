"""(IA)³ (Liu et al. 2022, arXiv:2205.05638): a vector that scales a layer's output, or a feed-forward layer's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import Module, Parameter

from securefed.dp.clipping.adapters.kinds import below, is_class
from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives import clip_scale
from securefed.dp.clipping.rules import Rule

__all__ = ["RULE"]


def _parameters(module: Module) -> dict[str, Parameter]:
    return below(module, "ia3_l")


def _parts(module: Module) -> Mapping[str, tuple[str, ...]]:
    return {name: (name,) for name in _parameters(module)}


def _ia3(module: Any, group: Group, x: Tensor) -> Tensor:
    if module.is_feedforward:
        dtype = x.dtype
        return module.base_layer(_scaled(module, group, x).to(dtype))
    result = module.base_layer(x)
    return _scaled(module, group, result).to(result.dtype)


def _scaled(module: Any, group: Group, x: Tensor) -> Tensor:
    for adapter in module.active_adapters:
        if adapter in module.ia3_l:
            vector, part = module.ia3_l[adapter], group.part(f"ia3_l.{adapter}")
            # peft keeps it as a row [1, in] or a column [out, 1]; one more dimension lets either be broadcast as it is.
            extra = -2 if module.is_feedforward else -1
            x = clip_scale(x.unsqueeze(extra), vector, None, part).squeeze(extra)
    return x


RULE = Rule(is_class("peft.tuners.ia3.layer.Linear"), _parameters, _ia3, "(IA)³ on a linear layer (peft)", parts=_parts)
