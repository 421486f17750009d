"""Pairwise masking against a malicious server: a hundred to ten thousand clients, and updates larger than memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from bench import streaming
from bench.cohorts import Cost, RealCohort, SimulatedCohort
from bench.figures import Figure, Report
from securefed.aggregation import Adversary

ADVERSARY = Adversary("malicious", corrupt=0.05, dropouts=0.05)
SMALL, LARGE = 1000, 10_000
PARAMETERS = 10**6
SERVER_PARAMETERS = 10**4
"""Of the server's part, whose work on vectors is the same for every client whatever the cohort."""


def run(*, quick: bool, quiet: bool) -> Report:
    """All figures; quick leaves out the plot and times smaller vectors."""
    return Report(
        [
            *_malicious_round(10**5 if quick else PARAMETERS),
            *_growth(10**5 if quick else PARAMETERS, 3 if quick else 7),
            *streaming.figures(quick=quick),
        ]
    )


def _malicious_round(parameters: int, clients: int = 100) -> list[Figure]:
    """A whole round of real clients in one process, one tenth of them lost over its stages."""
    adversary = Adversary("malicious", corrupt=0.1, dropouts=0.1)
    stages = ("share", "input", "input", "input", "input", "consent", "consent", "release", "release", "release")
    lost = dict(zip(range(5, clients, 10), stages, strict=True))
    cohort = RealCohort.of(clients, parameters, adversary, lost)
    aggregate, cost = cohort.run(), cohort.cost
    assert all(not mean.any() for mean in aggregate.tensors.values())
    what = f"all {clients} clients and the server in one process, {parameters:,} parameters, {len(lost)} clients lost"
    return [Figure("malicious_round_seconds", cost.seconds, "s", "lower", None, what)] + [
        Figure(f"malicious_round_seconds.{stage}", seconds, "s", "lower", None, "")
        for stage, seconds in cost.stage_seconds.items()
    ]


def _growth(parameters: int, repeats: int) -> list[Figure]:
    """What a client and the server pay for a client in a large cohort, over a small one; in turns, one run."""
    cohorts = {n: SimulatedCohort(n, parameters, ADVERSARY) for n in (SMALL, LARGE)}
    costs: dict[int, list[Cost]] = {n: [] for n in cohorts}
    for turn in range(repeats + 1):
        for n, cohort in cohorts.items():
            cost = cohort.client_cost()
            if turn:
                costs[n].append(cost)
    seconds = {n: median(cost.total for cost in costs[n]) for n in cohorts}
    moved = {n: costs[n][0].up + costs[n][0].down for n in cohorts}
    server = {n: server_seconds(n) / n for n in cohorts}
    note = f"{parameters:,} parameters, {ADVERSARY}, everybody alive"
    numbers = {n: cohort.parameters for n, cohort in cohorts.items()}
    few, many = numbers[SMALL], numbers[LARGE]
    picks = f"k {few.neighbours} → {many.neighbours}, κ {few.masks} → {many.masks}"
    return [
        Figure(
            "client_cost_growth", seconds[LARGE] / seconds[SMALL], "", "lower", 1.3,
            f"{1e3 * seconds[SMALL]:.0f} → {1e3 * seconds[LARGE]:.0f} ms of n = {SMALL:,} → {LARGE:,}; {note}; {picks}",
        ),
        Figure(
            "client_bytes_growth", moved[LARGE] / moved[SMALL], "", "lower", None,
            f"{moved[SMALL] / 1e6:.2f} → {moved[LARGE] / 1e6:.2f} MB up and down, roster {LARGE * 164 / 1e6:.1f} MB",
        ),
        Figure(
            "server_cost_growth", server[LARGE] / server[SMALL], "", "lower", 1.3,
            f"{1e3 * server[SMALL]:.2f} → {1e3 * server[LARGE]:.2f} ms a client, {SERVER_PARAMETERS:,} parameters, "
            f"{ADVERSARY.dropouts:.0%} lost",
        ),
    ]  # fmt: skip


def server_seconds(clients: int) -> float:
    """The server's whole round."""
    return SimulatedCohort(clients, SERVER_PARAMETERS, ADVERSARY).server_cost().total


def plot(path: Path, sizes: tuple[int, ...] = (100, 300, 1000, 3000, 10_000)) -> Mapping[int, tuple[float, float]]:
    """Milliseconds a client, of a client and of the server, over n: drawn as SVG, and given back."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figures = {}
    for n in sizes:
        cohort = SimulatedCohort(n, PARAMETERS, ADVERSARY)
        own = median(cohort.client_cost().total for _ in range(3))
        figures[n] = (1e3 * own, 1e3 * server_seconds(n) / n)
    figure, axes = pyplot.subplots(figsize=(7, 4))
    labels = (f"a client, {PARAMETERS:,} parameters", f"the server, {SERVER_PARAMETERS:,} parameters")
    for at, label in enumerate(labels):
        axes.plot(sizes, [figures[n][at] for n in sizes], marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="clients in the cohort", ylabel="milliseconds a client and round")
    axes.set_title(f"Pairwise masking against {ADVERSARY}", fontsize=10)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    return figures
