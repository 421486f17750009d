"""LoRA on an embedding, plain and with DoRA's magnitude: parameters in dictionaries, without modules of their own.

`y = E[id] + s·Aᵀ[id] Bᵀ` with A [r, V] and B [d, r]: a table's row and a linear layer. With DoRA (Liu et al. 2024,
arXiv:2402.09353) `y = m/‖E + s·(BA)ᵀ‖ · (E[id] + s·Aᵀ[id] Bᵀ)`, whose norm is a constant of the step (section 4.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from securefed.dp.clipping.adapters.kinds import below, embed_scale, is_class
from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives import clip_embedding, clip_linear, clip_scale
from securefed.dp.clipping.rules import Rule
from securefed.errors import LocalProtocolError

__all__ = ["RULE"]

_HOLDERS = ("lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")


def _parameters(module: Module) -> dict[str, Parameter]:
    return below(module, *_HOLDERS)


def _parts(module: Module) -> Mapping[str, tuple[str, ...]]:
    return {name: (name,) for name in _parameters(module)}


def _embedding(module: Any, group: Group, x: Tensor, adapter_names: Any = None) -> Tensor:
    if adapter_names is not None:
        raise LocalProtocolError(
            "D3", f"{group.name}: adapter_names mixes adapters in one batch; train one set of them"
        )
    base = module.get_base_layer()
    result = module.base_layer(x)
    dtype = result.dtype
    scale = embed_scale(module)
    for adapter in module.active_adapters:
        if adapter not in module.lora_embedding_A:
            continue
        down, up = module.lora_embedding_A[adapter], module.lora_embedding_B[adapter]
        rows = clip_embedding(x, down, group.part(f"lora_embedding_A.{adapter}"), base.padding_idx, transposed=True)
        added = clip_linear(rows, up, None, group.part(f"lora_embedding_B.{adapter}")) * module.scaling[adapter]
        if scale is not None:
            added = added * scale.to(added.dtype)
        result = result + added
        if adapter in module.lora_magnitude_vector:
            magnitude = module.lora_magnitude_vector[adapter]
            with torch.no_grad():
                norm = magnitude.get_weight_norm(base.weight, (up @ down), module.scaling[adapter])
            part = group.part(f"lora_magnitude_vector.{adapter}.weight")
            result = clip_scale(result / norm, magnitude.weight, None, part)
    return result.to(dtype)


RULE = Rule(
    is_class("peft.tuners.lora.layer.Embedding"),
    _parameters,
    _embedding,
    "LoRA and DoRA on an embedding (peft)",
    parts=_parts,
)
