"""What is refused about a model and its inputs, because one sample's gradient would depend on other samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Module

from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["batch_statistics", "first_tensor", "refuse_batch_statistics", "refuse_model", "refuse_packed"]

_PACKING = (
    "cu_seqlens",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "cu_seqlens_q",
    "cu_seqlens_k",
    "seq_idx",
    "packed_seq_params",
)
_INPUTS = ("input_ids", "inputs_embeds", "pixel_values", "input_values", "input_features", "x")


def batch_statistics(model: Module) -> list[tuple[str, Module]]:
    """The modules whose output for one sample depends on the others of its batch, at least in training."""
    return [(name, module) for name, module in model.named_modules() if _mixes(module)]


def _mixes(module: Module) -> bool:
    kind = type(module).__name__
    return (
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        # Running statistics are released with the model, and have no noise.
        or (isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats)
        or ("BatchNorm" in kind and "Frozen" not in kind and not list(module.children()))
    )


def refuse_batch_statistics(found: Iterable[tuple[str, Module]]) -> None:
    """Raises:
    ConfigError: D2, where one of them would use its batch now.
    """
    for name, module in found:
        if module.training or getattr(module, "running_mean", 0) is None:
            raise ConfigError(
                name,
                f"[D2] {type(module).__name__} normalises a sample by the others of its batch; "
                "use GroupNorm or LayerNorm, or freeze it and put it into eval mode",
            )


def refuse_model(model: Module) -> None:
    """Raises:
    ConfigError: D4 for a router's auxiliary loss.
    """
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        if config is not None and getattr(config, "output_router_logits", False) is True:
            raise ConfigError(
                f"{name}.config.output_router_logits".lstrip("."),
                "[D4] the load-balancing loss of a router is over the whole batch; set it to False",
            )


def first_tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The input whose first dimension is the batch."""
    for name in _INPUTS:
        if isinstance(kwargs.get(name), Tensor):
            found: Tensor = kwargs[name]
            return found
    return next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor) and one.dim() > 0), None)


def refuse_packed(kwargs: Mapping[str, Any]) -> None:
    """Refuse what shows that a row holds several documents.

    What does not show cannot be refused: documents joined without a trace are one sample, and the unit is then the row.

    Raises:
        LocalProtocolError: D3, D4.
    """
    for name in _PACKING:
        if kwargs.get(name) is not None:
            raise LocalProtocolError(
                "D3", f"{name} is given: packed sequences cross samples; give each sample a row of its own, padded"
            )
    if kwargs.get("adapter_names") is not None:
        raise LocalProtocolError("D3", "adapter_names splits the batch among adapters; train one of them at a time")
    if kwargs.get("output_router_logits"):
        raise LocalProtocolError(
            "D4", "output_router_logits: the load-balancing loss is over the whole batch; leave it out"
        )
    positions, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
    if not isinstance(positions, Tensor) or positions.dim() != 2 or positions.shape[-1] < 2:
        return
    restarts = positions[..., 1:] <= positions[..., :-1]
    if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape == positions.shape[-2:]:
        seen = mask.to(torch.bool)
        restarts = restarts & seen[:, 1:] & seen[:, :-1]
    if bool(restarts.any()):
        raise LocalProtocolError(
            "D3",
            "position_ids start again within a row: a row holds several sequences; give each sample a row of its own, "
            "padded and with an attention mask",
        )
