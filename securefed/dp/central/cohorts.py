"""Cohorts of clients drawn by the aggregator, and whether their sampling may be counted as privacy.

Both kinds give with each round what is to be charged for it, as `CentralNoise.mean` takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from securefed.dp.accounting import Event, Gaussian
from securefed.dp.noise.source import Source
from securefed.dp.sampling import FixedBatches, Poisson
from securefed.errors import ConfigError

__all__ = ["FixedCohorts", "PoissonCohorts"]


class PoissonCohorts:
    """Each client is asked in each round with probability q, by itself.

    The smaller ε of sampling holds only against those who do not learn who was asked. So it is offered only where that
    is so: the aggregator is trusted, draws the cohort itself from a secret stream, every client is always reachable,
    and the adversary sees neither the roster of a round nor the traffic of clients. Under pairwise masking each client
    sees its round's roster: do not claim it there against clients. Otherwise the same cohorts are drawn, and every
    round is charged in full.

    Args:
        clients: ids of all clients, distinct.
        rate: q, 0 < q ≤ 1.
        hidden: whether all of the above holds; it is the operator's statement and part of the guarantee.
    """

    def __init__(self, clients: Sequence[int], rate: float, *, hidden: bool) -> None:
        self.clients = _distinct(clients)
        self.sampler = Poisson(len(clients), rate)
        self.hidden = hidden

    @property
    def expected_cohort(self) -> float:
        """q·N: the fixed divisor of every sum."""
        return self.sampler.expected_batch

    def event(self, noise_multiplier: float) -> Event:
        """What one round costs: sampled where the cohort is hidden, else in full."""
        return self.amplified(noise_multiplier) if self.hidden else Gaussian(noise_multiplier)

    def amplified(self, noise_multiplier: float) -> Event:
        """What one round costs where the cohort is hidden.

        Raises:
            ConfigError: U5 where it is not.
        """
        if not self.hidden:
            raise ConfigError(
                "privacy.sampling", "[U5] sampling is no privacy where the adversary sees who takes part: every round "
                "counts in full",
            )  # fmt: skip
        return self.sampler.event(noise_multiplier)

    def rounds(
        self, number: int, noise_multiplier: float, source: Source | None = None
    ) -> Iterator[tuple[tuple[int, ...], Event]]:
        """Ids of each round's cohort, ascending, and its event; a cohort may be empty, and the release noise alone.

        Args:
            number: of rounds.
            noise_multiplier: z of each release.
            source: of uniform words, used for nothing else; a fresh one by default.
        """
        for draw in self.sampler.draws(number, source):
            yield tuple(self.clients[at] for at in draw.indices), self.event(noise_multiplier)


class FixedCohorts:
    """Disjoint cohorts of a permutation of all clients, drawn anew for each pass over them; nothing is amplified.

    Each client takes part in one round of a pass, so the pass costs what one round costs, and nobody needs to be
    hidden. Neighbours must have the same clients (one of them zero), see `FixedBatches`.

    Args:
        clients: ids of all clients, distinct.
        size: clients a round, 1 … N.
    """

    def __init__(self, clients: Sequence[int], size: int) -> None:
        self.clients = _distinct(clients)
        self.sampler = FixedBatches(len(clients), size)

    @property
    def expected_cohort(self) -> float:
        """The size: the fixed divisor of every sum, of a pass's smaller last one as well."""
        return self.sampler.expected_batch

    def rounds(
        self, number: int, noise_multiplier: float, source: Source | None = None
    ) -> Iterator[tuple[tuple[int, ...], Event | None]]:
        """Ids of each round's cohort, ascending, and its event; None where the pass was charged with an earlier round.

        Args:
            number: of rounds.
            noise_multiplier: z of each release.
            source: of uniform words, used for nothing else; a fresh one by default.
        """
        for draw in self.sampler.draws(number, source):
            yield tuple(sorted(self.clients[at] for at in draw.indices)), draw.event(noise_multiplier)


def _distinct(clients: Sequence[int]) -> tuple[int, ...]:
    if len(set(clients)) != len(clients):
        raise ConfigError("data", "two clients have the same id")
    return tuple(sorted(clients))
