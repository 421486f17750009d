"""Rules of the base layers: torch's Linear, Embedding, LayerNorm and RMSNorm, and what transformers adds to them."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor, nn
from torch.nn import Module

from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives.embedding import clip_embedding
from securefed.dp.clipping.primitives.linear import clip_linear
from securefed.dp.clipping.primitives.normalized import RmsKind, clip_layer_norm, clip_rms_norm, rms_norm
from securefed.dp.clipping.rules import Rule, is_exactly, own_parameters, same_output

__all__ = ["BASE_RULES"]

_KINDS: Final[tuple[RmsKind, ...]] = ("llama", "gemma", "wide", "torch")
_FOUND: Final[dict[tuple[type[nn.Module], float, int], RmsKind | None]] = {}
"""What was found by trying: by class, epsilon and width."""


def _linear(module: Any, group: Group, x: Tensor) -> Tensor:
    return clip_linear(x, module.weight, module.bias, group)


def _is_conv1d(module: Module) -> bool:
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"


def _conv1d(module: Any, group: Group, x: Tensor) -> Tensor:
    return clip_linear(x, module.weight, module.bias, group, transposed=True)


def _is_embedding(module: Module) -> bool:
    # max_norm writes to the table in the forward pass; scale_grad_by_freq divides by a count over the batch.
    return type(module) is nn.Embedding and _is_plain_table(module)


def _is_plain_table(module: nn.Embedding) -> bool:
    return module.max_norm is None and not module.scale_grad_by_freq and not module.sparse


def _embedding(module: Any, group: Group, ids: Tensor) -> Tensor:
    return clip_embedding(ids, module.weight, group, module.padding_idx)


def _is_scaled_embedding(module: Module) -> bool:
    return (
        isinstance(module, nn.Embedding)
        and type(module).__module__.startswith("transformers.")
        and type(module).__name__.endswith("ScaledWordEmbedding")
        and hasattr(module, "embed_scale")
        and _is_plain_table(module)
    )


def _scaled_embedding(module: Any, group: Group, input_ids: Tensor) -> Tensor:
    scale = module.embed_scale
    if isinstance(scale, Tensor):
        scale = scale.to(module.weight.dtype)
    embedded: Tensor = clip_embedding(input_ids, module.weight, group, module.padding_idx) * scale
    return embedded


def _has_weight(kind: type[nn.Module]) -> Any:
    return lambda module: type(module) is kind and module.weight is not None


def _layer_norm(module: Any, group: Group, x: Tensor) -> Tensor:
    return clip_layer_norm(x, module.normalized_shape, module.weight, module.bias, module.eps, group)


def _torch_rms_norm(module: Any, group: Group, x: Tensor) -> Tensor:
    return clip_rms_norm(x, module.weight, module.eps, "torch", group)


def _eps(module: Any) -> float | None:
    for name in ("variance_epsilon", "eps"):
        found = getattr(module, name, None)
        if isinstance(found, float):
            return found
    return None


def _rms_kind(module: Module) -> RmsKind | None:
    """Which formula a model's own RMSNorm follows: found by trying, never by its name alone."""
    kind, eps = type(module), _eps(module)
    named = kind.__name__.endswith(("RMSNorm", "T5LayerNorm"))
    weight = getattr(module, "weight", None)
    if not named or kind is nn.RMSNorm or eps is None or not isinstance(weight, Tensor) or weight.dim() != 1:
        return None
    if list(dict(module.named_parameters())) != ["weight"] or weight.device.type == "meta":
        return None
    key = (kind, eps, weight.shape[0])
    if key not in _FOUND:
        _FOUND[key] = _try(module, eps, weight.shape[0])
    return _FOUND[key]


def _try(module: Module, eps: float, width: int) -> RmsKind | None:
    for kind in _KINDS:

        def standing_in(tried: Any, x: Tensor, kind: RmsKind = kind) -> Tensor:
            return rms_norm(x, tried.weight, eps, kind)[0]

        try:
            if same_output(module, standing_in, width):
                return kind
        except (TypeError, RuntimeError):  # a norm that takes more than its input
            return None
    return None


def _rms_norm(module: Any, group: Group, hidden_states: Tensor) -> Tensor:
    kind = _rms_kind(module) or "llama"  # the rule matched
    return clip_rms_norm(hidden_states, module.weight, _eps(module), kind, group)


BASE_RULES: Final[tuple[Rule, ...]] = (
    Rule(is_exactly(nn.Linear), own_parameters, _linear, "torch.nn.Linear"),
    Rule(_is_conv1d, own_parameters, _conv1d, "transformers Conv1D"),
    Rule(_is_embedding, own_parameters, _embedding, "torch.nn.Embedding"),
    Rule(_is_scaled_embedding, own_parameters, _scaled_embedding, "transformers ScaledWordEmbedding"),
    Rule(_has_weight(nn.LayerNorm), own_parameters, _layer_norm, "torch.nn.LayerNorm"),
    Rule(_has_weight(nn.RMSNorm), own_parameters, _torch_rms_norm, "torch.nn.RMSNorm"),
    Rule(lambda module: _rms_kind(module) is not None, own_parameters, _rms_norm, "RMSNorm of transformers"),
)
