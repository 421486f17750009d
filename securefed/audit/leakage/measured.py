"""What every attack of this package gives: figures with units and intervals, and whom they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Figure", "Measured", "Sees", "table"]


class Sees(StrEnum):
    """What the adversary has. Everyone here also knows the model that the clients trained from, and the tokenizer."""

    UPLOAD = "a server that reads what one client sends"
    SUM = "a server that reads the sum over a cohort"
    MODEL = "a user of the released model, who can compute losses under it"


@dataclass(frozen=True)
class Figure:
    """One number that an attack gives.

    Attributes:
        name: what is measured.
        value: the estimate.
        low, high: the confidence interval; None where there is none.
        confidence: of the interval, such as 0.95; it covers the sample that was attacked, not other trainings.
        unit: "bits", "nats", "share" (0 … 1), or another.
        chance: what somebody gets who has seen nothing; None where that is no single number.
        at_least: the true value may be far greater, the attack could not see it.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    confidence: float
    unit: str
    chance: float | None = None
    at_least: bool = False


class Measured(Protocol):
    """The result of an attack, of whatever kind, as a report shows it."""

    @property
    def attack(self) -> str:
        """Name of the attack, with its source."""
        ...

    @property
    def sees(self) -> Sees:
        """What the adversary has."""
        ...

    def figures(self) -> tuple[Figure, ...]:
        """What was measured, the most telling first."""
        ...


def table(results: Sequence[Measured]) -> str:
    """All figures side by side, as plain text: one line each, without a line break at the end."""
    lines = []
    for result in results:
        lines.append(f"{result.attack}: {result.sees}")
        for figure in result.figures():
            interval = "" if figure.low is None else f" [{figure.low:.3g}, {figure.high:.3g}]"
            chance = "" if figure.chance is None else f", by chance {figure.chance:.3g}"
            more = "≥ " if figure.at_least else ""
            lines.append(f"  {figure.name}: {more}{figure.value:.3g} {figure.unit}{interval}{chance}")
    return "\n".join(lines)
