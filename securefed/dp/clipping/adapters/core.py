"""An adapter's trained r × r core between fixed factors, `x ↦ B·(R·x)`: the project's own module, and any like it.

It is known by what it holds and computes, not by its class: this room does not depend on the one of language models.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, functional

from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives import clip_linear
from securefed.dp.clipping.rules import Rule, own_parameters

__all__ = ["RULE"]


def _is_core(module: Module) -> bool:
    own = own_parameters(module)
    if type(module).__name__ != "Core" or set(own) != {"core", "factor"} or next(module.children(), None) is not None:
        return False
    core, factor = own["core"], own["factor"]
    if factor.requires_grad or core.shape != (factor.shape[-1], factor.shape[-1]) or factor.dim() != 2:
        return False
    with torch.no_grad():
        x = torch.linspace(-1.0, 1.0, 6 * core.shape[0], dtype=core.dtype, device=core.device).view(2, 3, -1)
        return torch.equal(type(module).forward(module, x), functional.linear(functional.linear(x, core), factor))


def _core(module: Any, group: Group, values: Tensor) -> Tensor:
    return functional.linear(clip_linear(values, module.core, None, group), module.factor)


RULE = Rule(_is_core, own_parameters, _core, "the trained core of an adapter")
