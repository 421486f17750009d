"""`securefed audit protocol`: rounds of our schemes under an adversary, from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from securefed.audit.homomorphic_rounds import approximate_round_of_seed, homomorphic_round_of_seed
from securefed.audit.schedule import FAULTS
from securefed.audit.simulation import MakeRound, own_round, simulate
from securefed.audit.tally import Tally, simulate_many

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Try to break the aggregation.")


class Simulated(StrEnum):
    """Whose rounds are simulated."""

    MASKS = "masks"
    BFV = "bfv"
    CKKS = "ckks"


_ROUNDS: Final[Mapping[Simulated, MakeRound]] = {
    Simulated.MASKS: own_round,
    Simulated.BFV: homomorphic_round_of_seed,
    Simulated.CKKS: approximate_round_of_seed,
}


@app.callback()
def audit() -> None:
    """Try to break the aggregation."""


@app.command()
def protocol(
    seeds: Annotated[int, typer.Option(min=1, help="How many rounds to simulate.")] = 500,
    seed: Annotated[int | None, typer.Option(min=0, help="Show this one round, event by event.")] = None,
    first: Annotated[int, typer.Option(min=0, help="Seed of the first round.")] = 0,
    scheme: Annotated[
        Simulated, typer.Option(help="Rounds of which schemes: bfv takes bfv-2048 too, ckks ckks-compact.")
    ] = Simulated.MASKS,
) -> None:
    """Simulate rounds with an adversary that drops, delays, reorders, duplicates, changes, swaps, lies and crashes.

    Every round must end with the exact sum of the survivors that it names, or with a refusal or an abort, and no client
    may give both kinds of shares of a peer or mask twice. Exit status 1 where one did not.
    """
    console, make = Console(), _ROUNDS[scheme]
    if seed is not None:
        outcome = simulate(seed, make)
        console.print(outcome.told(), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1 if outcome.violation is not None else 0)
    tally = Tally()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("rounds", total=seeds)
        for so_far in simulate_many(seeds, first, make):
            tally = so_far
            progress.advance(task)
    console.print(_table(tally))
    for outcome in tally.violations:
        console.print(f"[bold red]violated[/] {escape(str(outcome.violation))}", highlight=False)
        console.print(outcome.told(), markup=False, highlight=False, soft_wrap=True)
        named = "" if scheme is Simulated.MASKS else f"--scheme {scheme.value} "
        console.print(f"  again: securefed audit protocol {named}--seed {outcome.seed}", highlight=False)
    raise typer.Exit(1 if tally.violations else 0)


def _table(tally: Tally) -> Table:
    table = Table("what", "times", "of it", box=None)
    ended = ", ".join(f"{count} {how}" for how, count in tally.ended.most_common())
    table.add_row("rounds", str(tally.rounds), ended)
    table.add_row("clients", str(tally.clients), f"{tally.survivors} in exact sums")
    silenced = ", ".join(f"{stage} {count}" for stage, count in tally.silenced.items())
    table.add_row("dropped or late messages", str(tally.silenced.total()), silenced)
    for kind, meaning in FAULTS.items():
        table.add_row(kind, str(tally.faults[kind]), meaning)
    refused = ", ".join(f"{rule} {count}" for rule, count in tally.refused.most_common())
    table.add_row("refused, by rule", str(tally.refused.total()), refused)
    table.add_row("violations", str(len(tally.violations)), "none" if not tally.violations else "see below")
    return table
