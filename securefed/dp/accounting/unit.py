"""Whose presence is hidden: every figure names its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securefed.errors import ConfigError

__all__ = ["Unit"]

_ONE_RECORD: Final = frozenset({"sequence", "example", "client"})
"""Units that are one record by what they mean."""


@dataclass(frozen=True)
class Unit:
    """The privacy unit.

    An ε for sequences says nothing about a user who wrote eight of them: the noise hides one sequence, and a user's
    eight may all be drawn into one batch. With `most_examples_per_unit` the accountant counts that: eight records, each
    drawn by itself. It is not eight times ε, and at the usual parameters it is more than that.

    Args:
        name: "sequence", "example", "client", "user", or a word of your own.
        most_examples_per_unit: how many records one unit has at most. 1 for the first three; any other unit must say
            it, and the data must be cut to it: nothing here can check that.

    Raises:
        ConfigError: D10, a unit without a name, or whose number of records is missing or below 1.
    """

    name: str
    most_examples_per_unit: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise ConfigError("privacy.unit", "[D10] a unit has a name, such as sequence, example, client or user")
        most = self.most_examples_per_unit
        if most is None and self.name not in _ONE_RECORD:
            raise ConfigError(
                "privacy.unit",
                f"[D10] how many records one {self.name} has at most must be said (most_examples_per_unit)",
            )
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise ConfigError("privacy.unit", f"[D10] most_examples_per_unit {most} is not a whole number from 1")
        object.__setattr__(self, "most_examples_per_unit", self.records)

    @property
    def records(self) -> int:
        """How many records of one unit there are at most."""
        return 1 if self.most_examples_per_unit is None else self.most_examples_per_unit
