"""The groups' clip bounds over a run: how they begin, what they add up to, and how they follow the norms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.nn import Parameter

from securefed.dp.clipping.group import Clipper, Group
from securefed.dp.clipping.modes import Flat, Layerwise, Quantile, equal_bounds, norm_of_bounds, scaled_to, tied
from securefed.dp.clipping.release import noisy_count
from securefed.dp.noise.source import Source
from securefed.errors import PersistenceError

__all__ = ["Bounds"]

_LEAST, _GREATEST = 1e-12, 1e12


class Bounds:
    """The bounds of one engine.

    Args:
        mode: `Layerwise` or `Flat`.
        uses: by parameter, the groups that it is in.
        clipper: of the engine.

    With a `Quantile`, each group has a threshold τ besides its bound: it follows the quantile of the group's norms by
    itself, and the bounds are the thresholds scaled to the total, `c_k = C·τ_k/√Σ(Στ)²`. So sensitivity and noise
    stay as they are, and what is learnt is how the total is best divided (He et al. 2022, section 3.2). Were the counts
    taken at the scaled bounds, nothing could be learnt where all norms are above them, or below.
    """

    def __init__(self, mode: Layerwise | Flat, uses: Mapping[Parameter, Sequence[Group]], clipper: Clipper) -> None:
        self.mode = mode
        self.groups = tuple(dict.fromkeys(group for groups in uses.values() for group in groups))
        self._clipper = clipper
        self._components = tied(uses)
        self._thresholds: dict[Group, float] = {}
        if isinstance(mode, Layerwise):
            self.set(equal_bounds(mode, self._components))

    @property
    def quantile(self) -> Quantile | None:
        """How the bounds adapt."""
        return self.mode.adapt if isinstance(self.mode, Layerwise) else None

    @property
    def sensitivity(self) -> float:
        """C: by how much one sample can move the sum in ℓ₂."""
        if isinstance(self.mode, Flat):
            return self._clipper.bound
        return norm_of_bounds(self._components, {group: group.bound for group in self.groups})

    def effective_noise_multiplier(self, noise_multiplier: float) -> float:
        """z of the sum and of the counts together."""
        if self.quantile is None:
            return noise_multiplier
        return self.quantile.effective_noise_multiplier(noise_multiplier, len(self.groups))

    def set(self, thresholds: Mapping[Group, float]) -> None:
        """Bounds in proportion to the thresholds, with the total as it is."""
        bounds = scaled_to(self.mode.total, self._components, thresholds)
        adaptive = self.quantile is not None
        self._thresholds = dict(thresholds)
        for group in self.groups:
            group.bound = bounds[group]
            group.threshold = thresholds[group] if adaptive else None
        self._clipper.counting = self.groups if adaptive else ()

    def adapted(self, seen: int, divisor: float, noise_multiplier: float, source: Source | None) -> dict[Group, float]:
        """The next thresholds, from this step's counts with noise; none where the bounds are fixed.

        Args:
            seen: samples of the step.
            divisor: the expected batch.
            noise_multiplier: z of the sum.
            source: of the noise; None without any.
        """
        quantile = self.quantile
        if quantile is None:
            return {}
        deviation = quantile.deviation_for(noise_multiplier, len(self.groups))
        adapted = {}
        for group in self.groups:
            count = seen if group.count is None else int(group.count)
            share = noisy_count(count, seen, source, deviation) / divisor + 0.5
            # More than a factor e in one step would be noise alone; and no threshold leaves what floats can hold.
            change = min(1.0, max(-1.0, quantile.rate * (share - quantile.target)))
            adapted[group] = min(_GREATEST, max(_LEAST, self._thresholds[group] * math.exp(-change)))
        return adapted

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "sensitivity": self.sensitivity,
            "thresholds": {group.name: self._thresholds.get(group, 1.0) for group in self.groups},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the bounds of a checkpoint.

        Raises:
            PersistenceError: P4 where it is of other groups, or of another total.
        """
        found = state["thresholds"]
        if sorted(found) != sorted(group.name for group in self.groups) or not math.isclose(
            state["sensitivity"], self.sensitivity
        ):
            raise PersistenceError("P4", "the state is of another model, or of another clip")
        if isinstance(self.mode, Layerwise):
            self.set({group: float(found[group.name]) for group in self.groups})
