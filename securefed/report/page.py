"""One self-contained `report.html`: no request leaves it, it opens offline, on a phone, on paper, in the dark."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from securefed.errors import PersistenceError
from securefed.report.outcome import (
    EFFECTS,
    aborted_text,
    dropout_text,
    headline,
    refusal_text,
    remarks,
    state_text,
)
from securefed.report.plots import Plot, draw, write_png
from securefed.report.protection import protection
from securefed.report.summary import ARMS, Summary, read_summary
from securefed.report.table import COST_TITLES, RESULT_TITLES, cost_cells, markdown, printable, result_cells
from securefed.report.units import (
    bound_text,
    byte_text,
    change_text,
    count_text,
    perplexity_text,
    second_text,
    share_text,
)
from securefed.schemes import PROTECTED

__all__ = ["html", "write_report"]

_FOLDER: Final = Path(__file__).parent


def write_report(run_dir: Path) -> Path:
    """Write `report.html`, `report.md` and `plots/*.png` into a run's directory, and return the page's path.

    Raises:
        PersistenceError: P1, `config.toml` or `metrics.jsonl` is missing or damaged, or nothing can be written.
    """
    summary = read_summary(run_dir)
    plots = draw(summary)
    page = run_dir / "report.html"
    try:
        write_png(plots, run_dir / "plots")
        (run_dir / "report.md").write_text(markdown(summary), encoding="utf-8")
        page.write_text(html(summary, plots), encoding="utf-8")
    except OSError as error:
        raise PersistenceError("P1", f"the report cannot be written: {error.strerror}") from error
    return page


def html(summary: Summary, plots: list[Plot]) -> str:
    """The page. Everything that comes from the run is escaped: a client may be called anything."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "byte": byte_text,
        "change": change_text,
        "count": count_text,
        "name": printable,
        "perplexity": perplexity_text,
        "second": second_text,
        "share": share_text,
    }
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        summary=summary,
        start=summary.start,
        style=Markup(style),  # noqa: S704 - our own file, and CSS must not be escaped
        headline=headline(summary),
        state=state_text(summary),
        remarks=remarks(summary),
        tiles=_tiles(summary),
        arm_labels=ARMS,
        result_titles=RESULT_TITLES,
        results=[(arm is summary.federated, result_cells(arm)) for arm in summary.arms.values()],
        cost_titles=COST_TITLES,
        costs=[(cost is summary.cost, cost_cells(cost)) for cost in summary.costs.values()],
        clients=_clients(summary),
        dropouts=[(ARMS.get(one.arm, one.arm), dropout_text(one)) for one in summary.dropouts],
        aborted=[(ARMS.get(one.arm, one.arm), aborted_text(one)) for one in summary.events.aborted],
        refusals=[refusal_text(number, one) for number, one in summary.refused],
        protection=protection(summary),
        privacy=summary.events.privacy,
        plots=[(plot, _data_uri(plot.light), _data_uri(plot.dark)) for plot in plots],
    )


def _tiles(summary: Summary) -> list[tuple[str, str, str]]:
    """The few figures to take away: value, what it is, and what it is compared with."""
    own, cost = summary.federated, summary.cost
    tiles = []
    if own is not None:
        tiles.append((perplexity_text(own.mean), "mean perplexity", ARMS.get(own.name, own.name).lower()))
        if own.over_local is not None:
            tiles.append((change_text(own.over_local), "perplexity against training alone", "lower is better"))
        plain = summary.arms.get("plain")
        if plain is not None and own.name in PROTECTED:
            cause = EFFECTS[own.name].lower() + (" and noise" if summary.events.privacy is not None else "")
            effect = f"perplexity by {cause}"
            tiles.append((change_text(own.mean / plain.mean), effect, "against in the clear"))
    if (privacy := summary.events.privacy) is not None:
        note = f"δ = {bound_text(privacy.delta)}, for every {privacy.unit}"
        tiles.append((f"ε = {bound_text(privacy.epsilon)}", "differential privacy", note))
    if cost is not None and cost.arm in PROTECTED:
        tiles.append((share_text(cost.protection_share), "of the rounds' time is protection", "all clients and server"))
    if cost is not None and cost.mean_up is not None:
        raw = 4 * summary.start.parameters.trained
        note = f"{cost.mean_up / raw:.2f} of the update as 32-bit floats" if raw else ""
        tiles.append((byte_text(cost.mean_up), "sent by a client each round", note))
    return tiles


def _clients(summary: Summary) -> list[dict[str, Any]]:
    """One row a client: who it is, what it has, and its perplexity by arm."""
    own = summary.federated
    local = summary.arms.get("local")
    rows = []
    for client in summary.start.clients:
        gain = None
        if own is not None and local is not None and client.name in own.perplexity.keys() & local.perplexity.keys():
            gain = own.perplexity[client.name] / local.perplexity[client.name]
        by_arm = [arm.perplexity.get(client.name) for arm in summary.arms.values()]
        rows.append({"client": client, "by_arm": by_arm, "gain": gain})
    return rows


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
