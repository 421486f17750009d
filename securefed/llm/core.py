"""The core of an adapter: ΔW = B·R·A with a trained r × r matrix R between fixed factors.

Fed-SB (Singhal et al. 2025, arXiv:2502.15436, on LoRA-SB, Ponkshe et al. 2024, arXiv:2411.19557) takes B and A from a
singular value decomposition of the first step of full fine-tuning, which is a function of somebody's data. Here both
are random with orthonormal columns and rows, from a seed: nothing about anyone, at the price of a subspace that knows
nothing of the task. Whoever has public gradients may write better factors into the weights before the first round.
"""

from __future__ import annotations

import numpy as np
import torch
from peft import PeftModel

from securefed.errors import ConfigError
from securefed.llm.runtime import derived_seed

__all__ = ["Core", "install_cores", "ordinary_state"]

_ADAPTER = "default"


class Core(torch.nn.Module):
    """Takes the place of an adapter's B: x ↦ B·(R·x).

    Attributes:
        factor: B, float32 [out, r], fixed.
        core: R, float32 [r, r], zero at first, so that the adapter changes nothing.
    """

    def __init__(self, factor: torch.Tensor) -> None:
        super().__init__()
        rank = factor.shape[1]
        self.factor = torch.nn.Parameter(factor, requires_grad=False)
        self.core = torch.nn.Parameter(torch.zeros(rank, rank, dtype=factor.dtype))

    @property
    def weight(self) -> torch.Tensor:
        """B·R, float32 [out, r]: what an ordinary adapter has as its B; peft merges with it."""
        return self.factor @ self.core

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """float32 [..., r] to [..., out]."""
        return torch.nn.functional.linear(torch.nn.functional.linear(values, self.core), self.factor)


def install_cores(module: PeftModel, seed: int) -> None:
    """Give every adapter of a fresh module a core, and fixed orthonormal factors.

    The factors follow from the seed up to the last bits of a QR decomposition, which may differ between machines: they
    are part of the module's weights, which the round's model digest binds, so unequal ones are noticed.

    Raises:
        ConfigError: the rank is greater than an extent of a layer: so many orthonormal vectors do not exist there.
    """
    for name, layer in module.named_modules():
        if not hasattr(layer, "lora_B") or _ADAPTER not in layer.lora_B:
            continue
        down, up = layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER]
        rank = down.out_features
        least = min(down.in_features, up.out_features)
        if rank > least:
            raise ConfigError(
                "method.rank",
                f'got {rank}; lora_aggregation "core" allows at most {least}, the smaller extent of layer {name!r}',
            )
        with torch.no_grad():
            down.weight.copy_(_orthonormal(down.in_features, rank, derived_seed(seed, "core A", name)).T)
        down.weight.requires_grad_(False)
        layer.lora_B[_ADAPTER] = Core(_orthonormal(up.out_features, rank, derived_seed(seed, "core B", name)))


def ordinary_state(module: PeftModel) -> dict[str, torch.Tensor]:
    """The module's state as that of an adapter without cores: B·R where it had B and R, all else as it is."""
    state = dict(module.state_dict())
    for name, layer in module.named_modules():
        if isinstance(layer, Core):
            state[f"{name}.weight"] = layer.weight.detach()
            del state[f"{name}.factor"], state[f"{name}.core"]
    return state


def _orthonormal(extent: int, rank: int, seed: int) -> torch.Tensor:
    """Float32 [extent, rank] with orthonormal columns that span a uniformly random subspace."""
    factor, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((extent, rank)))
    return torch.from_numpy(np.ascontiguousarray(factor, np.float32))
