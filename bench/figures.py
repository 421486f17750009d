"""A figure, and the table of a bench."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from securefed.jobs.recorder import machine

__all__ = ["Figure", "Report", "Skipped", "interleaved", "ratio", "show", "spread"]


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        name, unit: as documented in `docs/benchmarks/`.
        value: median, or ratio of medians.
        better: which way is better.
        bound: what it must reach; None where it only informs.
        note: how it was taken and how it spreads; in the table alone.
    """

    name: str
    value: float
    unit: str
    better: Literal["lower", "higher"]
    bound: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the bound is reached."""
        if self.bound is None:
            return True
        return self.value <= self.bound if self.better == "lower" else self.value >= self.bound


@dataclass(frozen=True)
class Skipped:
    """A figure that cannot be taken here: in the table with its reason, not among the numbers, and no failure."""

    name: str
    reason: str


@dataclass(frozen=True)
class Report:
    """All figures of one bench."""

    figures: Sequence[Figure]
    machine: str = field(default_factory=lambda: machine_line())
    skipped: Sequence[Skipped] = ()


def machine_line() -> str:
    """The machine's kind in one line."""
    facts = machine()
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['platform']}, "
        f"Python {facts['python']}"
    )


def interleaved(variants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each variant, in turn: A B C A B C …, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, variant in variants.items():
            start = perf_counter()
            variant()
            if turn:
                seconds[name].append(perf_counter() - start)
    return seconds


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the ratios turn by turn: drifts of the machine's speed cancel."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def spread(over: Sequence[float], under: Sequence[float] | None = None) -> str:
    """Least and greatest, of values or of ratios turn by turn."""
    values = list(over) if under is None else [a / b for a, b in zip(over, under, strict=True)]
    return f"{min(values):.3g} … {max(values):.3g} in {len(values)} turns"


def show(name: str, report: Report) -> None:
    """The table, on standard output."""
    table = Table("figure", "value", "unit", "to reach", "how", title=f"bench {name}", title_justify="left", box=None)
    for figure in report.figures:
        sign = "≤" if figure.better == "lower" else "≥"
        bound = "" if figure.bound is None else f"{sign} {figure.bound:g}{'' if figure.holds else '  MISSED'}"
        table.add_row(figure.name, f"{figure.value:.4g}", figure.unit, bound, escape(figure.note))
    for skipped in report.skipped:
        table.add_row(skipped.name, "skipped", "", "", escape(skipped.reason))
    console = Console()
    console.print(table)
    console.print(f"[dim]{report.machine}")
