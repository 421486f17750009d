"""The pictures of a run: loss by round, perplexity by client, time by round, bytes by client.

Each is drawn for light and for dark ground as SVG for the page, and once as PNG for `plots/`. They are small and
their type is large, so that a phone shows them without zooming.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from securefed.report.summary import ARMS, Summary
from securefed.report.table import printable
from securefed.report.themes import DARK, LIGHT, LINES, MARKERS, Theme
from securefed.report.units import byte_text, perplexity_text, second_text
from securefed.schemes import PROTECTED, Protection

__all__ = ["Plot", "draw", "write_png"]

_WIDTH: Final = 4.7  # inches; 10 points of type stay readable where a phone scales this to its own width
_UNEVEN: Final = 1.3  # times the mean
_SHOWN: Final = 30  # clients in one picture; more are listed in the page's table

Axes = Any  # matplotlib is not typed strictly enough to say more


@dataclass(frozen=True)
class Plot:
    """One picture: file name, title, what it shows, the same without eyes, and SVG for either ground."""

    name: str
    title: str
    caption: str
    alternative: str
    light: bytes
    dark: bytes
    png: bytes


def draw(summary: Summary) -> list[Plot]:
    """The pictures for which the run has data."""
    return [plot for make in (_loss, _perplexity, _time, _traffic) if (plot := make(summary)) is not None]


def write_png(plots: Sequence[Plot], folder: Path) -> list[Path]:
    """Write each picture as `NAME.png` on light ground; the folder is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{plot.name}.png" for plot in plots]
    for plot, path in zip(plots, paths, strict=True):
        path.write_bytes(plot.png)
    return paths


def _plot(
    name: str, title: str, caption: str, alternative: str, height: float, paint: Callable[[Figure, Theme], None]
) -> Plot:
    """Paint once for each ground."""
    images: dict[str, bytes] = {}
    for theme in (LIGHT, DARK):
        # A Figure of its own, not pyplot: no global state, no window, safe beside other threads.
        with mpl.rc_context(theme.settings()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # SVG leaves glyphs to the browser
            figure = Figure(figsize=(_WIDTH, height), layout="constrained")
            paint(figure, theme)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
            images[theme.name] = buffer.getvalue()
            if theme is LIGHT:
                buffer = io.BytesIO()
                figure.savefig(buffer, format="png", dpi=200, facecolor=theme.ground, metadata={"Software": None})
                images["png"] = buffer.getvalue()
    return Plot(name, title, caption, alternative, images["light"], images["dark"], images["png"])


def _legend(owner: Any, columns: int, **place: Any) -> None:
    owner.legend(ncols=columns, handlelength=1.6, columnspacing=1.2, borderaxespad=0.2, **place)


def _loss(summary: Summary) -> Plot | None:
    curves = {arm: losses for arm in ("plain", *PROTECTED) if (losses := summary.losses(arm))}
    if not curves:
        return None
    own = summary.cost.arm if summary.cost else None
    lost = Counter(one.round for one in summary.dropouts if one.arm == own)
    lost.update(one.round for one in summary.events.aborted for _ in one.lost if one.arm == own)
    flat = {arm: summary.final_loss(arm) for arm in ("public", "local", "central") if arm in summary.arms}

    def paint(figure: Figure, theme: Theme) -> None:
        axes: Axes = figure.subplots()
        for arm, loss in flat.items():
            axes.axhline(loss, color=theme.arms[arm], linestyle=LINES[arm], linewidth=1.6, label=ARMS[arm])
        for arm, losses in curves.items():
            # The two curves lie on each other where protection changes nothing: a wide one below, a narrow one above.
            wide = arm == "plain"
            axes.plot(
                list(losses), list(losses.values()), color=theme.arms[arm], label=ARMS[arm],
                linewidth=5 if wide else 1.6, marker=MARKERS[arm], markersize=9 if wide else 4.5, zorder=3,
            )  # fmt: skip
        for number, count in lost.items():
            axes.axvline(number, color=theme.grid, linewidth=8, zorder=0)
            axes.annotate(
                f"{count} lost", (number, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points", ha="center", va="bottom", color=theme.muted, fontsize=9,
            )  # fmt: skip
        axes.set_xlabel("Round")
        axes.set_ylabel("Held-out loss (nats per token)")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(figure, 2, loc="outside upper left")

    words = [
        f"{ARMS[arm]}: {list(losses.values())[-1]:.3f} after round {max(losses)}" for arm, losses in curves.items()
    ]
    words += [f"{ARMS[arm]}: {loss:.3f}" for arm, loss in flat.items()]
    return _plot(
        "loss",
        "Held-out loss after each round",
        "Mean over clients of the loss on text that nobody trained on. Level lines are ways to train that have no "
        "rounds; a grey band marks a round in which clients were lost. Where protection changes nothing, its curve "
        "runs inside the one in the clear.",
        "Line plot of held-out loss in nats per token. " + "; ".join(words) + ".",
        3.7,
        paint,
    )


def _perplexity(summary: Summary) -> Plot | None:
    if not summary.arms:
        return None
    reference = next(iter(summary.arms.values()))
    order = sorted(reference.perplexity, key=lambda client: reference.perplexity[client])
    shown = order[-_SHOWN:]

    def paint(figure: Figure, theme: Theme) -> None:
        axes: Axes = figure.subplots()
        for row, client in enumerate(shown):
            values = [arm.perplexity[client] for arm in summary.arms.values() if client in arm.perplexity]
            axes.hlines(row, min(values), max(values), color=theme.grid, linewidth=2.5, zorder=1)
        for name, arm in summary.arms.items():
            rows = [row for row, client in enumerate(shown) if client in arm.perplexity]
            hollow, tick = name == "plain", name == "central"
            axes.scatter(
                [arm.perplexity[shown[row]] for row in rows], rows, label=ARMS[name], marker=MARKERS[name],
                s=150 if tick else 95 if hollow else 30, linewidths=2.2 if hollow or tick else 0.8,
                zorder=2 if hollow else 4 if name in PROTECTED else 3,
                **({"facecolors": "none", "edgecolors": theme.arms[name]} if hollow else {"color": theme.arms[name]}),
            )  # fmt: skip
        axes.set_yticks(range(len(shown)), [printable(client, 22) for client in shown])
        axes.tick_params(axis="y", length=0, labelcolor=theme.text)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlabel("Held-out perplexity (lower is better)")
        axes.grid(axis="x")
        _legend(figure, 2, loc="outside upper left")

    words = [
        f"{arm.label}: mean {perplexity_text(arm.mean)}, worst {perplexity_text(arm.worst)}"
        for arm in summary.arms.values()
    ]
    cut = "" if len(shown) == len(order) else f" The {len(shown)} hardest of {len(order)} clients are shown."
    return _plot(
        "perplexity",
        "Perplexity of each client",
        "One row a client, the hardest text on top; further left is better. Filled inside a ring: protected and in the "
        f"clear agree.{cut}",
        "Dot plot of held-out perplexity by client. " + "; ".join(words) + ".",
        1.35 + 0.27 * max(len(shown), 4),
        paint,
    )


def _time(summary: Summary) -> Plot | None:
    cost = summary.cost
    if cost is None:
        return None
    rounds = [one for one in summary.events.rounds if one.arm == cost.arm]
    numbers = [one.round for one in rounds]
    has_stages = any(cost.stages.values())

    def paint(figure: Figure, theme: Theme) -> None:
        panels = figure.subplots(2 if has_stages else 1, 1, sharex=True, squeeze=False)[:, 0]
        top: Axes = panels[0]
        top.bar(numbers, [one.training_seconds for one in rounds], color=theme.training, label="Training", width=0.7)
        top.bar(
            numbers, [one.protection_seconds for one in rounds], bottom=[one.training_seconds for one in rounds],
            color=theme.protection, label="Protection", width=0.7,
        )  # fmt: skip
        if has_stages:
            below = [0.0] * len(rounds)
            for stage in cost.stages:
                heights = [1e3 * one.stages.get(stage, 0.0) for one in rounds]
                panels[1].bar(
                    numbers,
                    heights,
                    bottom=below,
                    color=theme.stages.get(stage, theme.protection),
                    label=stage,
                    width=0.7,
                )
                below = [one + more for one, more in zip(below, heights, strict=True)]
            panels[1].set_ylabel("Protection (ms)")
        top.set_ylabel("All of a round (s)")
        panels[-1].set_xlabel("Round")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in panels:
            axes.grid(axis="y")
            axes.margins(y=0.08)
            _legend(axes, 4 if axes is not top else 2, loc="lower right", bbox_to_anchor=(1, 1.0))

    stages = ", ".join(f"{stage} {second_text(cost.stages[stage] / cost.rounds)}" for stage in cost.stages)
    return _plot(
        "time",
        "Time of each round",
        f"{ARMS.get(cost.arm, cost.arm)}. Wall time of a round, and below it the part that protection takes, on a "
        "scale of its own (milliseconds).",
        f"Bar plot of seconds per round. Mean training {second_text(cost.training_seconds / cost.rounds)}, "
        f"mean protection {second_text(cost.protection_seconds / cost.rounds)}; by stage: {stages}.",
        4.6 if has_stages else 3.0,
        paint,
    )


def _traffic(summary: Summary) -> Plot | None:
    bars = [
        (name, way, clients, mean)
        for name, cost in summary.costs.items()
        for way, clients, mean in (("up", cost.bytes_up, cost.mean_up), ("down", cost.bytes_down, cost.mean_down))
        if mean is not None
    ]
    if not bars:
        return None
    raw = 4 * summary.start.parameters.trained
    largest = max([raw, *(max(clients.values()) for _, _, clients, _ in bars)])
    power = next(power for power in (0, 1, 2, 3) if largest < 1024 ** (power + 1) or power == 3)
    # A key holder sends and is sent more than the others: its dot lies far from the bar, and has a number too.
    uneven = any(max(clients.values()) > _UNEVEN * mean for _, _, clients, mean in bars)
    scale, unit = 1024**power, ("bytes", "KiB", "MiB", "GiB")[power]

    def paint(figure: Figure, theme: Theme) -> None:
        axes: Axes = figure.subplots()
        for row, (name, way, clients, mean) in enumerate(reversed(bars)):
            colour = theme.arms[name]
            axes.barh(row, mean / scale, height=0.55, color=colour, alpha=1.0 if way == "up" else 0.55)
            points = sorted(set(clients.values()))
            axes.scatter([one / scale for one in points], [row] * len(points), s=9, color=theme.text, zorder=3)
            words = byte_text(mean)
            if points[-1] > _UNEVEN * mean:
                words = f"mean {words}\nmost {byte_text(points[-1])}"
            axes.annotate(words, (points[-1] / scale, row), xytext=(6, 0), textcoords="offset points", va="center")
        axes.axvline(raw / scale, color=theme.muted, linestyle=(0, (4, 3)), linewidth=1.2, zorder=0)
        axes.annotate(
            "the update as 32-bit floats", (raw / scale, 1), xycoords=("data", "axes fraction"), xytext=(-4, 3),
            textcoords="offset points", ha="right", va="bottom", color=theme.muted, fontsize=9,
        )  # fmt: skip
        labels = [f"{ARMS[name].removeprefix('Federated, ')}, {way}" for name, way, _, _ in reversed(bars)]
        axes.set_yticks(range(len(bars)), labels)
        axes.tick_params(axis="y", length=0, labelcolor=theme.text)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{unit} per client and round")
        axes.set_xlim(0, (1.5 if uneven else 1.22) * largest / scale)
        axes.grid(axis="x")

    words = [f"{ARMS[name]}, {way}: {byte_text(mean)}" for name, way, _, mean in bars]
    encrypted = Protection.ENCRYPTION.value in summary.costs
    holder = " The farthest is the key holder's, which also makes the key and opens the sum." if encrypted else ""
    return _plot(
        "traffic",
        "Bytes of each client",
        "Bar: mean over rounds and clients of what one client sends (up) and is sent (down). Dots: the means of single "
        f"clients.{holder}",
        "Bar plot of bytes per client and round. " + "; ".join(words) + ".",
        1.3 + 0.42 * len(bars),
        paint,
    )
