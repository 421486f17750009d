"""Who takes part: names to client ids, and the choice of a round's cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from securefed.errors import ConfigError

__all__ = ["Cohort", "Loss"]


@dataclass(frozen=True)
class Cohort:
    """All clients of a job. Ids are 1 … n in the order of the names."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ConfigError("data", "two clients have the same name")

    @cached_property
    def by_id(self) -> Mapping[int, str]:
        """Name by client id."""
        return dict(enumerate(self.names, start=1))

    @cached_property
    def by_name(self) -> Mapping[str, int]:
        """Client id by name."""
        return {name: client for client, name in self.by_id.items()}

    def choose(self, round_number: int, size: int, seed: int) -> tuple[int, ...]:
        """The ids of one round, ascending: `size` of them, or all where size is 0.

        A function of its arguments alone, so that a resumed job asks the same clients. It is no secret.
        """
        if not 0 <= size <= len(self.names):
            raise ConfigError("training.clients_per_round", f"{size} of {len(self.names)} clients cannot be asked")
        if size in (0, len(self.names)):
            return tuple(self.by_id)
        chosen = np.random.default_rng([seed, round_number]).choice(len(self.names), size, replace=False)
        return tuple(sorted(int(at) + 1 for at in chosen))


@dataclass(frozen=True)
class Loss:
    """A client that is lost on purpose: it does not answer `stage` of `round`, nor any later stage of it."""

    round: int
    client: int
    stage: str

    @staticmethod
    def choose(stage: str, stages: Sequence[str], round_number: int, cohort: Sequence[int]) -> tuple[Loss, ...]:
        """Lose one client of the cohort at a stage; none where the stage is "none"."""
        if stage == "none":
            return ()
        if stage not in stages:
            raise ConfigError("aggregation.lose_stage", f"{stage!r} is not a stage: {', '.join(stages)}")
        return (Loss(round_number, cohort[len(cohort) // 2], stage),)
