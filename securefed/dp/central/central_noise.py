"""Gaussian noise that a trusted server adds to the sum of one round's clipped updates.

**Guarantee.** One release of a sum of L2 sensitivity Δ is one Gaussian mechanism of noise multiplier z = s/Δ. Two runs
are neighbours where one has a client more than the other, or where one client's vector is zero instead: the divisor
is the expected cohort and never the number of survivors, so the mean moves by no more than Δ/m in both relations. Who
takes part, and how many answered, is not covered. The adversary sees every released mean and not the sum before it.

A round that is run again after its mean was released is another release: it draws fresh noise and is charged again.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from securefed.dp.accounting import DiscreteGaussianSum, Event, Gaussian
from securefed.dp.central.update_clip import rounded_sensitivity
from securefed.dp.noise.discrete_gaussian import discrete_gaussian
from securefed.dp.noise.gaussian import gaussian
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["CentralNoise", "Spender", "check_sum"]

_BLOCK: Final = 2**18
"""Values that noise is drawn for at a time: a megabyte of float32."""
_GREATEST_ON_GRID: Final = 2.0**51
"""Multiples of the grid up to here are exact in a double, the noise added to them included."""


class Spender(Protocol):
    """What is charged before a release: a `securefed.dp.Ledger`."""

    def spend(self, event: Event) -> None:
        """Charge one event, durably, or raise `BudgetExceeded` and charge nothing."""


class CentralNoise:
    """The Gaussian mechanism of one run's rounds.

    Args:
        noise_multiplier: z > 0.
        cohort: m, clients expected in a round (q·N for a Poisson sampler): the fixed divisor of every sum.
        source: of the noise; `Source.fresh()` outside of tests.
        grid: None for floats from the stream (the gap between floats and reals that Mironov 2012 describes is not
            covered); or the step of a grid, in the unit of the update, to which the sum is rounded before an exact
            discrete Gaussian is added (Canonne, Kamath, Steinke 2020), which covers it.

    Raises:
        ConfigError: U4.
    """

    def __init__(self, noise_multiplier: float, cohort: float, source: Source, grid: float | None = None) -> None:
        for name, number in (("noise_multiplier", noise_multiplier), ("cohort", cohort), ("grid", grid or 1.0)):
            if not 0 < number < math.inf:
                raise ConfigError(f"privacy.{name}", f"[U4] {number} is not positive and finite")
        self.noise_multiplier = float(noise_multiplier)
        self.cohort = float(cohort)
        self.grid = grid
        self._source = source

    def __repr__(self) -> str:
        return f"CentralNoise(noise_multiplier={self.noise_multiplier}, cohort={self.cohort}, grid={self.grid})"

    def mean(
        self,
        total: npt.NDArray[np.float64],
        sensitivity: float,
        ledger: Spender,
        event: Event | None = None,
        *,
        charged: bool = False,
        on_grid: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Noise for the sum, then its share of the expected cohort.

        Args:
            total: float64, shape [d]: the sum of clipped vectors, the entries of bits among them.
            sensitivity: Δ > 0, of `total` to one client: its clip's total or `AdaptiveClip.sensitivity`, after
                `rounded_sensitivity` where updates were rounded to integers on their way.
            ledger: charged before any noise is drawn.
            event: what to charge: the sampler's where the cohort was sampled and is hidden; else one Gaussian event.
            charged: the release is part of a pass over `FixedCohorts` that was charged with an earlier round.
            on_grid: the sum is a multiple of the grid already, as a sum of rounded updates is.

        Returns:
            float64, shape [d].

        Raises:
            BudgetExceeded: nothing was drawn.
            LocalProtocolError: U6 for a sum that is not finite, or too far from zero for its grid.
            ConfigError: U4 for an event of another noise multiplier; U5 for a sampled event with discrete noise.
        """
        check_sum(total, len(total))
        if not 0 < sensitivity < math.inf:
            raise ConfigError("privacy.clip", f"[U4] a sensitivity of {sensitivity} is not positive and finite")
        if event is not None and getattr(event, "noise_multiplier", None) != self.noise_multiplier:
            raise ConfigError("privacy.noise_multiplier", "[U4] the sampler's event has another noise multiplier")
        if self.grid is not None:
            if event is not None or charged:
                raise ConfigError("privacy.noise", "[U5] discrete noise is charged in full, round by round")
            return self._discrete(total, sensitivity, ledger, on_grid) / self.cohort
        if not charged:
            ledger.spend(event or Gaussian(self.noise_multiplier))
        deviation = self.noise_multiplier * sensitivity
        noised = total.copy()
        for start in range(0, len(noised), _BLOCK):
            block = noised[start : start + _BLOCK]
            block += gaussian(self._source, len(block)).astype(np.float64) * deviation
        noised /= self.cohort
        return noised

    def _discrete(
        self,
        total: npt.NDArray[np.float64],
        sensitivity: float,
        ledger: Spender,
        on_grid: bool,
    ) -> npt.NDArray[np.float64]:
        """The sum with an exact discrete Gaussian, in the unit of the update."""
        grid = float(self.grid or 0)
        steps: npt.NDArray[np.float64] = np.rint(total / grid)
        moved = sensitivity if on_grid else rounded_sensitivity(sensitivity, len(total), grid)
        sigma = Fraction(self.noise_multiplier) * Fraction(moved) / Fraction(grid)
        if len(steps) and float(np.abs(steps).max()) + 64 * float(sigma) > _GREATEST_ON_GRID:
            raise LocalProtocolError("U6", "the sum is too far from zero for its grid: a wider one is needed")
        l2 = moved / grid
        ledger.spend(DiscreteGaussianSum(l2=l2, sigma=float(sigma), clients=1, dimension=len(total)))
        steps += discrete_gaussian(self._source, sigma, len(steps))
        return steps * grid


def check_sum(total: npt.NDArray[np.float64], size: int) -> None:
    """Refuse what is no vector of so many finite doubles.

    Raises:
        LocalProtocolError: U6.
    """
    if total.dtype != np.float64 or total.shape != (size,) or not np.isfinite(total).all():
        raise LocalProtocolError("U6", f"the sum to be noised is not a vector of {size} finite doubles")
