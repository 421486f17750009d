"""Clip bounds that follow a quantile of the clients' norms, learnt privately (Andrew et al. 2021, arXiv 1905.03871).

Each client says of each group whether its norm was within the bound. Those bits are entries of the very vector that is
summed and noised, scaled so that one deviation of noise serves both; nothing about norms travels in clear.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from securefed.dp.central.groups import Groups
from securefed.dp.central.update_clip import GREATEST_BOUND, LEAST_BOUND, Clipped, UpdateClip
from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["AdaptiveClip"]

BITS_OVER_COHORT: Final = 1 / 20
"""Noise of a sum of bits by default, in clients: the paper's choice (section 3.1) of a twentieth of the cohort."""


@dataclass(frozen=True)
class AdaptiveClip:
    """Bounds C_g of one round, and how the next round's follow from what the server learns.

    The bits b_g − 1/2 of a client, ±1/2 each, ride as K entries of ±κ/2 behind the update. All entries get noise of
    one deviation s, so that of the sum of bits is σ_b = s/κ. The whole vector has the L2 sensitivity
    √(C² + K·κ²/4), C² = ΣC_g², and with κ = z_Δ·C/σ_b the update itself sees the multiplier
    z_Δ = (z^-2 − K/(2σ_b)^2)^-1/2 of theorem 1 there, for K groups instead of one: s = z_Δ·C, and the whole release
    is one Gaussian mechanism of multiplier z, whatever the bounds become.

    Attributes:
        groups: which tensors are clipped together.
        bounds: C_g by group, of this round.
        noise_multiplier: z > 0 of the whole release: what the ledger is charged with.
        cohort: m, clients expected in a round; the divisor of the sum of bits.
        quantile: γ in (0, 1): the share of clients that should be within their bound.
        rate: η > 0 of the geometric update C_g ← C_g·exp(−η·(b̃_g − γ)).
        bit_deviation: σ_b > z·√K/2, in clients; by default m/20, but at least twice that limit.
        least, greatest: bounds do not leave these, whatever the noise says.

    Raises:
        ConfigError: U1 for a bound, U3 for numbers of adaptation, U4 for z or m.
    """

    groups: Groups
    bounds: Mapping[str, float]
    noise_multiplier: float
    cohort: float
    quantile: float = 0.5
    rate: float = 0.2
    bit_deviation: float = 0.0
    least: float = 2.0**-40
    greatest: float = 2.0**40

    def __post_init__(self) -> None:
        for name, number in (("noise_multiplier", self.noise_multiplier), ("cohort", self.cohort)):
            if not 0 < number < math.inf:
                raise ConfigError(f"privacy.{name}", f"[U4] {number} is not positive and finite")
        if not LEAST_BOUND <= self.least <= self.greatest <= GREATEST_BOUND:
            raise ConfigError("privacy.clip", f"[U1] bounds from {self.least} to {self.greatest} are no range")
        if not 0 < self.quantile < 1:
            raise ConfigError("privacy.quantile", f"[U3] a target quantile of {self.quantile} is not between 0 and 1")
        if not 0 < self.rate < math.inf:
            raise ConfigError("privacy.quantile", f"[U3] a rate of {self.rate} is not positive and finite")
        limit = self.noise_multiplier * math.sqrt(len(self.groups)) / 2
        if not self.bit_deviation:
            object.__setattr__(self, "bit_deviation", max(self.cohort * BITS_OVER_COHORT, 2 * limit))
        if not limit < self.bit_deviation < math.inf:
            raise ConfigError(
                "privacy.quantile",
                f"[U3] noise of {self.bit_deviation:g} clients on {len(self.groups)} bits takes the whole budget: more "
                f"than {limit:g} is needed, or fewer groups",
            )
        _ = self.clip  # U1

    @cached_property
    def clip(self) -> UpdateClip:
        """What clips this round's updates."""
        return UpdateClip(self.groups, self.bounds)

    @property
    def update_multiplier(self) -> float:
        """z_Δ: noise on the update over its bound C."""
        ratio = self.noise_multiplier * math.sqrt(len(self.groups)) / (2 * self.bit_deviation)
        return self.noise_multiplier / math.sqrt(1 - ratio**2)

    @property
    def scale(self) -> float:
        """κ, in the unit of the update: the entries of bits are ±κ/2."""
        return self.update_multiplier * self.clip.total / self.bit_deviation

    @property
    def sensitivity(self) -> float:
        """√(C² + K·κ²/4), rounded up: of the sum of whole vectors, update and bits, to one client's."""
        return math.hypot(self.clip.total, self.scale / 2 * math.sqrt(len(self.groups))) * (1 + 2.0**-20)

    def entries(self, clipped: Clipped) -> npt.NDArray[np.float32]:
        """The bits of one clipped update as entries of its vector: ±κ/2, shape [K]."""
        half = np.float32(self.scale / 2)
        return np.where(clipped.within, half, -half).astype(np.float32)

    def after(self, noised: npt.NDArray[np.floating]) -> AdaptiveClip:
        """The next round's bounds.

        Args:
            noised: shape [K]: the entries' sum over the clients, as the mechanism released it. A client that is missing
                counts as half within, for the divisor is the expected cohort.

        Raises:
            LocalProtocolError: U6 for another number of entries, or one that is not finite.
        """
        if noised.shape != (len(self.groups),) or not np.isfinite(noised).all():
            raise LocalProtocolError("U6", f"{len(self.groups)} finite entries of bits are needed")
        shares = noised.astype(np.float64) / (self.scale * self.cohort) + 0.5
        # A share beyond 0 … 1 is noise alone, and exp of it would be a leap.
        factors = np.exp(-self.rate * (np.clip(shares, 0, 1) - self.quantile))
        moved = {
            name: min(max(bound * float(factor), self.least), self.greatest)
            for (name, bound), factor in zip(self.clip.bounds.items(), factors, strict=True)
        }
        return replace(self, bounds=moved)

    def to_json(self) -> dict[str, Any]:
        """Bounds and numbers, for a checkpoint; all of them are released values and no secret."""
        fields = ("noise_multiplier", "cohort", "quantile", "rate", "bit_deviation", "least", "greatest")
        return {"bounds": dict(self.clip.bounds)} | {name: getattr(self, name) for name in fields}

    @classmethod
    def from_json(cls, groups: Groups, state: Mapping[str, Any]) -> AdaptiveClip:
        """What `to_json` gave, with the same groups."""
        return cls(groups, **state)
