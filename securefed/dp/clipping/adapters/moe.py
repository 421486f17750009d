"""Mixtures of experts as transformers 5 has them: a router, and all experts' matrices in one tensor.

The rule stands for the whole block, because inside it the batch is flattened to tokens: which sample a token belongs to
is known only where the batch still has its shape. Routing is by token, so that a sample's loss does not depend on the
others; the load-balancing loss does, and is refused (D4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import Module, Parameter, functional

from securefed.dp.clipping.adapters.expert_matrices import Routed, clip_experts
from securefed.dp.clipping.adapters.kinds import type_name
from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives import clip_linear
from securefed.dp.clipping.rules import Rule

__all__ = ["RULE"]

_KNOWN: Final = tuple(
    f"transformers.models.{one}"
    for one in (
        "mixtral.modeling_mixtral.Mixtral",
        "olmoe.modeling_olmoe.Olmoe",
        "qwen2_moe.modeling_qwen2_moe.Qwen2Moe",
        "qwen3_moe.modeling_qwen3_moe.Qwen3Moe",
    )
)
_COVERED: Final = ("gate.weight", "experts.gate_up_proj", "experts.down_proj")


def _is_block(module: Module) -> bool:
    """A block of a known model whose router and experts are as transformers made them."""
    prefix = type_name(module).removesuffix("SparseMoeBlock")
    if prefix not in _KNOWN:
        return False
    router, experts = module.gate, module.experts
    if type_name(router) != f"{prefix}TopKRouter" or type_name(experts) != f"{prefix}Experts":
        return False
    if getattr(experts, "_is_expert_parallel", False):
        return False
    return set(_own(router)) == {"weight"} and set(_own(experts)) == {"gate_up_proj", "down_proj"}


def _own(module: Module) -> dict[str, Parameter]:
    return dict(module.named_parameters(remove_duplicate=False))


def _parameters(module: Module) -> dict[str, Parameter]:
    return {name: module.get_parameter(name) for name in _COVERED}


def _parts(module: Module) -> Mapping[str, tuple[str, ...]]:
    return {name: (name,) for name in _COVERED}


def _block(module: Any, group: Group, hidden_states: Tensor) -> Tensor:
    x = hidden_states
    samples, _, width = x.shape[0], x.shape[1], x.shape[-1]
    jitter = getattr(module, "jitter_noise", 0.0)
    if module.training and jitter > 0:
        x = x * torch.empty_like(x).uniform_(1.0 - jitter, 1.0 + jitter)
    weights, chosen = _routed(module.gate, x, group.part("gate.weight"))
    made = _experts(module.experts, x.reshape(-1, width), weights, chosen, samples, group).view_as(x)
    shared = getattr(module, "shared_expert", None)
    if shared is not None:  # its layers see the batch in its own shape, and have rules of their own
        made = made + functional.sigmoid(module.shared_expert_gate(x)) * shared(x)
    return made


def _routed(router: Any, x: Tensor, part: Group) -> tuple[Tensor, Tensor]:
    """Weights and experts of each token, [B·T, k] both."""
    logits = clip_linear(x, router.weight, None, part).flatten(0, 1)
    values, chosen = torch.topk(functional.softmax(logits, dtype=torch.float, dim=-1), router.top_k, dim=-1)
    if getattr(router, "norm_topk_prob", True):  # Mixtral's always are
        values = values / values.sum(dim=-1, keepdim=True)
    if hasattr(router, "norm_topk_prob"):  # Mixtral's stay in float32
        values = values.to(logits.dtype)
    return values, chosen


def _experts(module: Any, x: Tensor, weights: Tensor, chosen: Tensor, samples: int, group: Group) -> Tensor:
    routed = Routed.of(chosen, module.num_experts, samples)
    both = clip_experts(x[routed.token], module.gate_up_proj, routed, group.part("experts.gate_up_proj"))
    gate, up = both.chunk(2, dim=-1)
    out = clip_experts(module.act_fn(gate) * up, module.down_proj, routed, group.part("experts.down_proj"))
    out = out * weights[routed.token, routed.choice, None]
    return torch.zeros_like(x).index_add_(0, routed.token, out.to(x.dtype))


RULE = Rule(_is_block, _parameters, _block, "mixture of experts (transformers 5)", parts=_parts)
