"""How the bound on one sample's influence is divided over groups: `Layerwise`, `Flat`, and bounds that adapt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch.nn import Parameter

from securefed.dp.accounting.calibration import effective_multiplier
from securefed.dp.clipping.group import Group
from securefed.errors import ConfigError

__all__ = ["Flat", "Layerwise", "Quantile", "equal_bounds", "norm_of_bounds", "scaled_to", "tied"]

COUNTS_SHARE = 0.01
"""Of 1/z², what the counts of a `Quantile` without a deviation add: the effective noise multiplier is 0.5% less."""


@dataclass(frozen=True)
class Quantile:
    """Bounds that follow a quantile of the groups' gradient norms, estimated with noise (Andrew et al. 2021, arXiv
    1905.03871; per layer: He et al. 2022, arXiv 2212.01539).

    Args:
        target: γ, the share of samples whose norm should be at most the threshold; 0 … 1.
        rate: η of the geometric update `τ ← τ·exp(−η(s − γ))`; > 0.
        deviation: σ_b of the noise on each group's count, in samples. By default so much that the counts cost one
            part in a hundred of 1/z²: `σ_b = 5·z·√K` for K groups. To be of use it must be well below the batch.
    """

    target: float = 0.5
    rate: float = 0.2
    deviation: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.target <= 1.0:
            raise ConfigError("privacy.clip.quantile.target", f"[D10] {self.target} is not in 0 … 1")
        if not 0.0 < self.rate < math.inf:
            raise ConfigError("privacy.clip.quantile.rate", f"[D10] {self.rate} is not a positive number")
        if self.deviation is not None and not 0.0 < self.deviation < math.inf:
            raise ConfigError("privacy.clip.quantile.deviation", f"[D10] {self.deviation} is not a positive number")

    def deviation_for(self, noise_multiplier: float, groups: int) -> float:
        """σ_b with so many groups; 0 where there is no noise at all."""
        if noise_multiplier == 0.0:
            return 0.0
        if self.deviation is not None:
            return self.deviation
        return noise_multiplier * math.sqrt(groups / (4.0 * COUNTS_SHARE))

    def effective_noise_multiplier(self, noise_multiplier: float, groups: int) -> float:
        """`(z⁻² + K/(4σ_b²))^(−1/2)`: of sum and counts as one Gaussian release (`protocols/dp_sgd`, step 5)."""
        if noise_multiplier == 0.0:
            return 0.0
        return effective_multiplier(noise_multiplier, groups, self.deviation_for(noise_multiplier, groups))


def _check_total(total: float) -> None:
    if not (isinstance(total, int | float) and 0.0 < total < math.inf):
        raise ConfigError("privacy.clip.total", f"[D10] {total} is not a positive number")


@dataclass(frozen=True)
class Layerwise:
    """Each group's gradient is clipped by itself, in the backward pass.

    Args:
        total: C, the ℓ₂ sensitivity of the whole sum: the groups' bounds are such that `Σ c_k² = C²`, where groups that
            share a parameter count with the sum of their bounds.
        weights: relative bounds by pattern of group names (`*.mlp.*`); the first that matches; 1 otherwise.
        adapt: bounds that follow the norms; the total stays.

    Raises:
        ConfigError: D10.
    """

    total: float = 1.0
    weights: Mapping[str, float] | None = None
    adapt: Quantile | None = None

    def __post_init__(self) -> None:
        _check_total(self.total)
        for pattern, weight in (self.weights or {}).items():
            if not 0.0 < weight < math.inf:
                raise ConfigError("privacy.clip.weights", f"[D10] {pattern}: {weight} is not a positive number")

    def weight(self, name: str) -> float:
        """The relative bound of a group."""
        for pattern, weight in (self.weights or {}).items():
            if fnmatchcase(name, pattern):
                return float(weight)
        return 1.0


@dataclass(frozen=True)
class Flat:
    """One norm over all trainable parameters; the groups' contributions are kept until the backward pass ends.

    Args:
        total: C, the ℓ₂ sensitivity of the sum.

    Raises:
        ConfigError: D10.
    """

    total: float = 1.0

    def __post_init__(self) -> None:
        _check_total(self.total)


def tied(uses: Mapping[Parameter, Sequence[Group]]) -> list[list[Group]]:
    """The groups, put together where they share parameters, directly or over others."""
    component: dict[Group, list[Group]] = {}
    for groups in uses.values():
        merged: list[Group] = []
        for group in groups:
            for member in component.get(group, [group]):
                if member not in merged:
                    merged.append(member)
        for member in merged:
            component[member] = merged
    found: list[list[Group]] = []
    for members in component.values():
        if not any(members is one for one in found):
            found.append(members)
    return found


def norm_of_bounds(components: Sequence[Sequence[Group]], bounds: Mapping[Group, float]) -> float:
    """`√Σ(Σ c)²`: what one sample can move the sum by. Uses of one parameter may point the same way: they add."""
    return math.sqrt(sum(sum(bounds[group] for group in members) ** 2 for members in components))


def scaled_to(total: float, components: Sequence[Sequence[Group]], bounds: Mapping[Group, float]) -> dict[Group, float]:
    """The same bounds relative to each other, with `norm_of_bounds` equal to the total."""
    factor = total / norm_of_bounds(components, bounds)
    return {group: bound * factor for group, bound in bounds.items()}


def equal_bounds(mode: Layerwise, components: Sequence[Sequence[Group]]) -> dict[Group, float]:
    """The bounds to begin with."""
    weights = {group: mode.weight(group.name) for members in components for group in members}
    return scaled_to(mode.total, components, weights)
