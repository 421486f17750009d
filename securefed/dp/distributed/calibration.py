"""From a budget to parameters: the least noise, a grid fine enough, and the fewest bits that hold both."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from securefed.dp.accounting import Failure
from securefed.dp.accounting import epsilon as epsilon_of
from securefed.dp.distributed.parameters import (
    GREATEST_BITS,
    GREATEST_GRID,
    LEAST_VARIANCE,
    Parameters,
    kind_named,
    noise_event,
    signal_bound,
)
from securefed.dp.distributed.rotation import BLOCK
from securefed.dp.distributed.rounding import l2_squared_bound
from securefed.dp.distributed.tails import Kind, reach
from securefed.errors import ConfigError

__all__ = ["for_budget"]

_PRECISION: Final = 1e-3
"""Of the noise's variance: half of it in the deviation."""
_ANY_VARIANCE: Final = 2.0**90
"""More than fits any bits: where the search ends above them, the grid is too fine."""
_WHOLE: Final = 256
"""Variances from here on are whole numbers."""


def for_budget(
    epsilon: float,
    delta: float,
    *,
    rounds: int,
    clients: int,
    least_honest: int,
    dimension: int,
    clip: float,
    corrupt: int = 0,
    bits: int | None = None,
    kind: Kind | str = Kind.SKELLAM,
    excess: float = 0.01,
    block: int = BLOCK,
    failure_bits: int = 128,
) -> Parameters:
    """The least noise that keeps one client's account within (ε, δ) when it takes part in all of the rounds.

    Args:
        epsilon, delta: of `rounds` planned events, under zero-out, for the unit client.
        rounds: in which one client takes part at most.
        clients, least_honest, corrupt, dimension, clip, kind, block, failure_bits: see `Parameters`.
        bits: of an integer. By default the fewest that hold a grid with no more than `excess`, 22 at most. Where these,
            or those that are given, do not hold it: the finest grid that they hold; see `expected_error` for its price.
        excess: most that rounding makes the sensitivity, and so the noise, greater: 0.01 for one in a hundred.

    Raises:
        ConfigError: N6 for numbers outside their bounds, or a budget that no noise within them keeps; N7 where the bits
            are too few for any grid.
    """
    if (
        not (0 < epsilon < math.inf and 0 < delta < 1 and 0 < excess < math.inf)
        or type(rounds) is not int
        or rounds < 1
    ):
        raise ConfigError(
            "privacy", "[N6] ε and the excess must be positive and finite, δ in (0, 1), rounds whole from 1"
        )
    most = GREATEST_BITS if bits is None else bits
    # Arguments are checked before anything is computed with them, by parameters that need next to no bits.
    least = Parameters(
        clients, least_honest, corrupt, dimension, clip, 1, most, LEAST_VARIANCE, kind_named(kind),
        block=block, failure_bits=failure_bits,
    )  # fmt: skip
    budget = _Budget(epsilon, delta, rounds, least)
    grid = budget.grid_for(excess)
    variance = budget.variance_for(grid)
    needed = budget.bits_for(grid, variance)
    if needed > most:
        low, high = 0, grid
        while high - low > 1:
            grid = (low + high) // 2
            variance = budget.variance_for(grid)
            low, high = (grid, high) if budget.bits_for(grid, variance) <= most else (low, grid)
        grid = max(low, 1)
        variance = budget.variance_for(grid)
    return replace(least, grid=grid, variance=variance, bits=most if bits is not None else min(needed, most))


class _Budget:
    """What the noise must keep, as a function of the grid."""

    def __init__(self, epsilon: float, delta: float, rounds: int, least: Parameters) -> None:
        self.epsilon, self.delta, self.rounds = epsilon, delta, rounds
        self.clients, self.honest = least.clients, least.least_honest
        self.kind, self.failure_bits = least.kind, least.failure_bits
        self.rotation = least.rotation
        self.failure = Failure(2.0**-least.failure_bits)

    def grid_for(self, excess: float) -> int:
        """The coarsest grid on which √N ≤ (1 + excess)·s."""
        low, high = 0, GREATEST_GRID
        while high - low > 1:
            grid = (low + high) // 2
            fine = l2_squared_bound(grid, self.rotation.length) <= ((1 + excess) * grid) ** 2
            low, high = (low, grid) if fine else (grid, high)
        return high

    def bits_for(self, grid: int, variance: float) -> int:
        """The fewest bits that hold signal and noise."""
        numbers = self.clients * self.rotation.length
        most = signal_bound(self.rotation, grid) + reach(self.kind, variance, numbers, self.failure_bits)
        return most.bit_length() + 1

    def variance_for(self, grid: int) -> float:
        """One client's least variance on this grid.

        Raises:
            ConfigError: N6, where none keeps the budget.
        """
        squared = l2_squared_bound(grid, self.rotation.length)
        low, high = LEAST_VARIANCE, _ANY_VARIANCE
        if not self._kept(squared, high):
            raise ConfigError(
                "privacy",
                f"[N6] no noise keeps ε = {self.epsilon:g} at δ = {self.delta:g} over {self.rounds} rounds of this "
                "mechanism: allow more, or count on more honest clients",
            )
        while high / low > 1 + _PRECISION:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self._kept(squared, middle) else (middle, high)
        return float(math.ceil(high)) if high > _WHOLE else math.ceil(high * 2**16) / 2**16

    def _kept(self, l2_squared: int, variance: float) -> bool:
        event = noise_event(self.kind, l2_squared, self.rotation.length, variance, self.honest)
        return epsilon_of({event: self.rounds, self.failure: self.rounds}, self.delta, "rdp") <= self.epsilon
