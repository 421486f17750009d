"""The summary as a table: in the terminal and as Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from securefed.report.outcome import aborted_text, dropout_text, headline, refusal_text, remarks, state_text
from securefed.report.summary import ARMS, Arm, Cost, Summary, read_summary
from securefed.report.units import byte_text, change_text, perplexity_text, second_text, share_text

__all__ = [
    "COST_TITLES",
    "RESULT_TITLES",
    "cost_cells",
    "markdown",
    "printable",
    "result_cells",
    "summary_table",
    "terminal_table",
]

RESULT_TITLES = ("Way to train", "Mean", "Worst client", "vs. public", "vs. alone")
COST_TITLES = ("Rounds", "Training", "Protection", "Share", "Up", "Down")


def printable(text: str, limit: int = 40) -> str:
    """A name from the data, without what would break a line or a drawing, cut where it is long."""
    shown = (one.isprintable() or unicodedata.category(one) == "Zs" for one in text)  # Zs: every kind of space
    clean = "".join(one if ok else "\N{REPLACEMENT CHARACTER}" for one, ok in zip(text, shown, strict=True))
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"


def result_cells(arm: Arm) -> tuple[str, ...]:
    """One row under `RESULT_TITLES`."""
    return (
        arm.label,
        perplexity_text(arm.mean),
        f"{perplexity_text(arm.worst)} {printable(arm.worst_client)}",
        "" if arm.name == "public" else change_text(arm.over_public),
        "" if arm.name == "local" else change_text(arm.over_local),
    )


def cost_cells(cost: Cost) -> tuple[str, ...]:
    """One row under `COST_TITLES`: seconds a round, bytes a client and round."""
    return (
        f"{ARMS.get(cost.arm, cost.arm)} × {cost.rounds}",
        second_text(cost.training_seconds / cost.rounds),
        second_text(cost.protection_seconds / cost.rounds),
        share_text(cost.protection_share),
        byte_text(cost.mean_up),
        byte_text(cost.mean_down),
    )


def terminal_table(run_dir: Path) -> RenderableType:
    """What a terminal shows of the run in a directory.

    Raises:
        PersistenceError: P1, `config.toml` or `metrics.jsonl` is missing or damaged.
    """
    return summary_table(read_summary(run_dir))


def summary_table(summary: Summary) -> RenderableType:
    """What a terminal shows at the end of a run."""
    parts: list[RenderableType] = [Text(headline(summary), style="bold")]
    if state := state_text(summary):
        parts.append(Text(state, style="yellow"))
    if summary.arms:
        table = _table(RESULT_TITLES, "Held-out perplexity, lower is better")
        for arm in summary.arms.values():
            # Text, not str: a client may be called [red], and rich would read that as markup.
            table.add_row(*map(Text, result_cells(arm)), style="bold" if arm is summary.federated else "")
        parts += ["", table]
    if summary.costs:
        table = _table(COST_TITLES, "Cost: seconds per round, bytes per client and round")
        for cost in summary.costs.values():
            table.add_row(*map(Text, cost_cells(cost)), style="bold" if cost is summary.cost else "")
        parts += ["", table]
    if lost := _lost(summary):
        parts += ["", *map(Text, lost)]
    parts += ["", Text(" ".join(remarks(summary)), style="dim")]
    return Group(*parts)


def _table(titles: Sequence[str], title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="dim", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, name in enumerate(titles):
        table.add_column(name, justify="left" if at == 0 else "right", no_wrap=at == 0)
    return table


def markdown(summary: Summary) -> str:
    """`report.md`: the same tables for a pull request or an issue."""
    lines = [f"# {_plain(summary.start.name)}", "", f"**{_plain(headline(summary))}**", ""]
    if state := state_text(summary):
        lines += [_plain(state), ""]
    if summary.arms:
        lines += ["Held-out perplexity, lower is better:", "", *_rows(RESULT_TITLES)]
        lines += [_row(result_cells(arm), bold=arm is summary.federated) for arm in summary.arms.values()]
        lines.append("")
    if summary.costs:
        lines += ["Cost, in seconds per round and bytes per client and round:", "", *_rows(COST_TITLES)]
        lines += [_row(cost_cells(cost), bold=cost is summary.cost) for cost in summary.costs.values()]
        lines.append("")
    if lost := _lost(summary):
        lines += [*(f"- {_plain(one)}" for one in lost), ""]
    if (privacy := summary.events.privacy) is not None:
        lines += ["Differential privacy:", "", *(f"- {_plain(term)}: {_plain(fact)}" for term, fact in privacy.facts)]
        lines.append("")
    return "\n".join([*lines, *(f"- {_plain(remark)}" for remark in remarks(summary))]) + "\n"


def _lost(summary: Summary) -> list[str]:
    """A sentence for each attempt that was aborted, each client that was lost, each message that was refused."""
    return [
        *(f"{ARMS.get(one.arm, one.arm)}. {aborted_text(one)}" for one in summary.events.aborted),
        *(f"{ARMS.get(one.arm, one.arm)}. {dropout_text(one)}" for one in summary.dropouts),
        *(refusal_text(number, one) for number, one in summary.refused),
    ]


def _rows(titles: Sequence[str]) -> list[str]:
    return [_row(titles), "|---|" + "---:|" * (len(titles) - 1)]


def _row(cells: Sequence[str], *, bold: bool = False) -> str:
    shown = [f"**{_plain(cell)}**" if bold and cell else _plain(cell) for cell in cells]
    return f"| {' | '.join(shown)} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it stands, whatever a client is called."""
    return re.sub(r"([\\`*_\[\]<>|#$])", r"\\\1", printable(text, limit=1000))
