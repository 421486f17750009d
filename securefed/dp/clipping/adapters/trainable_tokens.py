"""A few rows of an embedding trained, the rest as it is (`trainable_token_indices` of peft), and a head tied to it.

peft writes the rows into a copy of the table for each forward pass, which is then one tensor for the whole batch. Here
the rows are a small table of their own, looked up where a token is one of them; for a head, its rows are a small head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Module, Parameter, functional

from securefed.dp.clipping.adapters.kinds import below, embed_scale, is_class
from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives import clip_embedding, clip_linear
from securefed.dp.clipping.rules import Rule

__all__ = ["RULE"]


def _parameters(module: Module) -> dict[str, Parameter]:
    return below(module, "trainable_tokens_delta")


def _parts(module: Module) -> Mapping[str, tuple[str, ...]]:
    return {name: (name,) for name in _parameters(module)}


def _tokens(module: Any, group: Group, x: Tensor) -> Tensor:
    module._check_overlapping_tokens(module.active_adapters)
    parts = [
        (torch.tensor(module.token_indices[name], device=x.device), module.trainable_tokens_delta[name], name)
        for name in module.active_adapters
    ]
    base = module.base_layer
    if isinstance(base, nn.Embedding):
        result = functional.embedding(x, base.weight)
        for index, rows, name in parts:
            result = _looked_up(result, x, index, rows, base, group.part(f"trainable_tokens_delta.{name}"))
        scale = embed_scale(module)
        return result if scale is None else result * scale.to(result.dtype)
    result = functional.linear(x, base.weight)
    for index, rows, name in parts:
        of_rows = clip_linear(x, rows, None, group.part(f"trainable_tokens_delta.{name}"))
        result = result.index_copy(-1, index, of_rows.to(result.dtype))
    return result


def _looked_up(result: Tensor, ids: Tensor, index: Tensor, rows: Tensor, base: nn.Embedding, part: Group) -> Tensor:
    """`result` with the trained rows where a token is one of `index`."""
    place = torch.full((base.num_embeddings,), -1, dtype=ids.dtype, device=ids.device)
    place[index] = torch.arange(index.numel(), dtype=ids.dtype, device=ids.device)
    at = place[ids]
    frozen = None if base.padding_idx is None else int(place[base.padding_idx])
    # Other tokens look up row 0 and take none of it: their gradient there is zero.
    found = clip_embedding(at.clamp_min(0), rows, part, None if frozen is None or frozen < 0 else frozen)
    return torch.where((at >= 0).unsqueeze(-1), found.to(result.dtype), result)


RULE = Rule(
    is_class("peft.tuners.trainable_tokens.layer.TrainableTokensLayer"),
    _parameters,
    _tokens,
    "trained rows of an embedding (peft)",
    parts=_parts,
)
