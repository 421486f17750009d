"""LoRA on an embedding, plain and with DoRA's magnitude: parameters in dictionaries, without modules of their own.

`y = E[id] + s·Aᵀ[id] Bᵀ` with A [r, V] and B [d, r]: a table's row and a linear layer. With DoRA (Liu et al. 2024,
arXiv:2402.09353) `y = m/‖E + s·(BA)ᵀ‖ · (E[id] + s·Aᵀ[id] Bᵀ)`, whose norm is a constant of the step (section 4.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter, functional

from securefed.dp.clipping.adapters.kinds import below, embed_scale, is_class
from securefed.dp.clipping.group import Coefficients, Group, Sums, wide
from securefed.dp.clipping.primitives import clip_linear, clip_scale
from securefed.dp.clipping.primitives.embedding import EmbeddingContribution
from securefed.dp.clipping.rules import Rule
from securefed.errors import LocalProtocolError

__all__ = ["RULE", "clip_columns"]

_HOLDERS = ("lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")


def clip_columns(ids: Tensor, weight: Tensor, group: Group, padding_idx: int | None = None) -> Tensor:
    """`embedding(ids, weight.T, padding_idx)`, whose backward pass adds the clipped sum to the weight's gradient.

    Args:
        ids: integers [B, …] with at least two dimensions; [1, …] is read as the same for every sample.
        weight: [r, V].
        group: to which the weight belongs.
        padding_idx: a column that is not trained.

    Raises:
        LocalProtocolError: D3 where the first dimension is neither the sample nor 1; in the backward pass D4, D5, D6.
    """
    batch = group.clipper.batch
    if batch is not None and ids.dim() > 1 and ids.shape[0] == 1 != batch:
        ids = ids.expand(batch, *ids.shape[1:])
    else:
        group.samples(ids, data=True)
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[1]
    result: Tensor = _Columns.apply(ids, weight, group, padding_idx)
    return result


class _Columns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Parameter, group: Group, padding_idx: int | None) -> Tensor:
        ctx.group, ctx.padding_idx, ctx.weight = group, padding_idx, weight
        ctx.save_for_backward(ids)
        return functional.embedding(ids, weight.t())

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (ids,) = ctx.saved_tensors
        ctx.group.enter(ids.shape[0])
        g = wide(g).reshape(ids.shape[0], -1, g.shape[-1])
        ctx.group.settle(_ColumnsContribution(ctx.weight, ids.reshape(ids.shape[0], -1), g, ctx.padding_idx))
        return None, None, None, None


class _ColumnsContribution(EmbeddingContribution):
    """An embedding's, for a table that is stored transposed."""

    def __init__(self, weight: Parameter, ids: Tensor, g: Tensor, padding_idx: int | None) -> None:
        super().__init__(weight.detach().t(), ids, g, padding_idx)
        self.parameters = (weight,)

    def add(self, coefficients: Coefficients, sums: Sums) -> None:
        scaled = self.gathered * coefficients.values.to(self.gathered.dtype)[self.sample].unsqueeze(1)
        if coefficients.dropped is not None:
            scaled.masked_fill_(coefficients.dropped[self.sample].unsqueeze(1), 0.0)
        sums.zeros(self.parameters[0]).index_add_(1, self.row, scaled.t())

    def cross(self, *_: object) -> None:
        return None  # a table of this kind is tied to nothing that we know


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
        rows = clip_columns(x, down, group.part(f"lora_embedding_A.{adapter}"), base.padding_idx)
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
