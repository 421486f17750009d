"""Progress on the terminal: a bar for each arm, and lines that stay; plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

__all__ = ["TITLES", "TerminalDisplay"]

TITLES = {
    "pretraining": "public model, pretraining",
    "public": "public model, held-out",
    "masks": "federated under masks",
    "encrypted": "federated, encrypted",
    "plain": "federated in the clear",
    "local": "each client alone",
    "central": "all data in one place",
}


class TerminalDisplay:
    """An `watching.Display` for people; used as a context."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # Every column but the note keeps its width; the note takes what is left, and is cut there.
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=Column(min_width=24, no_wrap=True)),
            BarColumn(bar_width=16, table_column=Column(min_width=16)),
            MofNCompleteColumn(table_column=Column(min_width=7, justify="right")),
            TextColumn("{task.fields[what]}", table_column=Column(min_width=7)),
            TimeElapsedColumn(table_column=Column(min_width=7)),
            TextColumn("[dim]{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._title = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, arm: str, steps: int, what: str) -> None:
        """See `watching.Display`."""
        self._title = TITLES.get(arm, arm)
        self._task = self._progress.add_task(self._title, total=steps, what=what, note="")
        if not self._console.is_terminal:
            self._console.print(f"{self._title}: {steps} {what}", highlight=False)

    def step(self, text: str = "") -> None:
        """See `watching.Display`."""
        # A round is worth a line that stays; a training step is not.
        stays = text.startswith("round ")
        if stays:
            self.line(text)
        if self._task is not None:
            self._progress.update(self._task, advance=1, note="" if stays else text)

    def note(self, text: str) -> None:
        """See `watching.Display`."""
        if self._task is not None:
            self._progress.update(self._task, note=text)

    def line(self, text: str) -> None:
        """See `watching.Display`."""
        self._progress.console.print(f"  {text}", highlight=False)
