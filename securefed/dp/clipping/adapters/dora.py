"""DoRA on a linear layer (Liu et al. 2024, arXiv:2402.09353): `y = m/‖W + s·BA‖ · (W x + s·B A x)`, by output.

peft takes the norm as a constant of the step (section 4.3 of the paper), so that A and B have their gradients from
`B A x` alone, where they are linear layers of their own. Its own forward pass computes `B A` by sending the identity
through those layers, however: the rows of the identity are no samples. Here the product is taken without a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from securefed.dp.clipping.adapters.kinds import is_class
from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives import clip_scale
from securefed.dp.clipping.rules import Rule, own_parameters

__all__ = ["RULE"]


def _dora(
    module: Any,
    group: Group,
    x: Tensor,
    *,
    lora_A: Any,
    lora_B: Any,
    scaling: float,
    base_layer: Any,
    base_result: Tensor | None = None,
    adapter_name: str = "default",
) -> Tensor:
    """What DoRA adds to the base layer's output, as `DoraLinearLayer.forward` has it."""
    weight = base_layer.weight.detach().to(x.dtype)
    with torch.no_grad():
        product = functional.linear(lora_A.weight.t(), lora_B.weight, lora_B.bias).t().to(x.dtype)
        norm = module.get_weight_norm(weight, product, scaling)
    if base_result is None:  # with dropout, what is scaled comes from the dropped input
        base = functional.linear(x, weight.t() if module.fan_in_fan_out else weight)
    else:
        base = base_result if base_layer.bias is None else base_result - base_layer.bias
    return clip_scale((base + lora_B(lora_A(x)) * scaling) / norm, module.weight, None, group) - base


RULE = Rule(is_class("peft.tuners.lora.dora.DoraLinearLayer"), own_parameters, _dora, "DoRA on a linear layer (peft)")
