"""Exchanges on Flower's real stack: seconds a round under masks, over plain FedAvg's and beside Flower's own SecAgg+.

A SuperLink with TLS and SuperNode authentication and three SuperNodes, all processes of their own on this machine; the
same job under each variant in turn. Rounds after the first are counted: the first one sets up what the others keep.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.figures import Figure, Report, Skipped

__all__ = ["Variant", "make_app", "run", "run_variant"]

NODES = 3
VALUES = 2**16


@dataclass(frozen=True)
class Variant:
    """One way to run the job: modules of `bench.flower_job`, and what a protected one asks for."""

    client: str
    server: str
    adversary: str = ""
    prepare: bool = True


FEDAVG = Variant("plain_client", "plain_server")
SECAGGPLUS = Variant("secaggplus_client", "secaggplus_server")
VARIANTS = {
    "fedavg": FEDAVG,
    "semi_honest_before": Variant("secure_client", "secure_server", "semi-honest", prepare=False),
    "semi_honest": Variant("secure_client", "secure_server", "semi-honest"),
    "malicious_before": Variant("secure_client", "secure_server", "malicious", prepare=False),
    "malicious": Variant("secure_client", "secure_server", "malicious"),
    "secaggplus": SECAGGPLUS,
}


def make_app(folder: Path, variant: Variant) -> Path:
    """A Flower app's folder that names the variant's two modules; the code itself is imported."""
    folder.mkdir()
    settings = {"nodes": NODES, "values": 0, "rounds": 0, "facts": "", "server": "", "identities": "", "prepare": True}
    (folder / "pyproject.toml").write_text(
        "[build-system]\n"
        'requires = ["hatchling"]\n'
        'build-backend = "hatchling.build"\n\n'
        "[project]\n"
        'name = "flowerjob"\n'
        'version = "1.0.0"\n'
        'license = "Apache-2.0"\n'
        "dependencies = []\n\n"
        "[tool.hatch.build.targets.wheel]\n"
        'packages = ["."]\n\n'
        "[tool.flwr.app]\n"
        'publisher = "bench"\n\n'
        "[tool.flwr.app.components]\n"
        f'serverapp = "bench.flower_job.{variant.server}:app"\n'
        f'clientapp = "bench.flower_job.{variant.client}:app"\n\n'
        "[tool.flwr.app.config]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    )
    return folder


def run_variant(
    stack: Any, folder: Path, name: str, variant: Variant, roster: Path, *, values: int, rounds: int
) -> list[Mapping[str, Any]]:
    """One run of the job; gives the lines that its processes wrote.

    Raises:
        RuntimeError: it ended before its last round.
    """
    facts = folder / f"{name}.facts"
    facts.mkdir()
    log = stack.run(
        make_app(folder / name, variant),
        {
            "values": values,
            "rounds": rounds,
            "facts": str(facts),
            "server": variant.adversary,
            "identities": str(roster) if variant.adversary == "malicious" else "",
            "prepare": variant.prepare,
        },
        within=600,
    )
    lines = (
        [json.loads(line) for line in (facts / "facts.jsonl").read_text().splitlines()] if any(facts.iterdir()) else []
    )
    over = [line for line in lines if line["name"] == "round"]
    # The clients' steps are 1, 2 and 3 thousandths: their mean is 2 (SecAgg+ is off by 3 % of it).
    ended = [line["round"] for line in over] == list(range(rounds + 1))
    if not ended or abs(over[-1]["first"] - 0.002 * rounds) > 1e-4 * rounds:
        raise RuntimeError(f"{name} ended early, or with another model:\n{log}\n{stack.tails()}")
    return lines


def run(*, quick: bool, quiet: bool) -> Report:
    """All variants in turn on one stack."""
    if find_spec("flwr") is None:
        return Report([], skipped=[Skipped("exchange", "flwr is not installed: make install")])
    from tests.integrations.flower_stack.clients import make_clients
    from tests.integrations.flower_stack.stack import FlowerStack

    rounds, turns = (3, 1) if quick else (4, 2)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    exchanges: dict[str, list[int]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="exchange-") as temporary:
        folder = Path(temporary)
        clients = folder / "clients"
        roster = make_clients(clients, NODES, {"server": '"semi-honest"', "least_sum": "2"})
        (folder / "stack").mkdir()
        # Flower's own intervals, everywhere.
        with FlowerStack(
            folder / "stack",
            NODES,
            lambda node: {"securefed": str(clients / f"client-{node}" / "client.toml")},
            task_poll=1.0,
        ) as stack:
            for turn in range(turns):
                for name, variant in VARIANTS.items():
                    if not quiet:
                        print(f"{name} …", file=sys.stderr, flush=True)
                    lines = run_variant(
                        stack, folder, f"{name}-{turn}", variant, roster, values=VALUES, rounds=rounds
                    )  # fmt: skip
                    over = [line for line in lines if line["name"] == "round"]
                    times = [line["time"] for line in over]
                    seconds[name] += [after - before for before, after in pairwise(times[1:])]
                    exchanges[name] += [line["exchanges"] for line in over[2:]]
    return Report(_figures(seconds, exchanges))


def _figures(seconds: Mapping[str, Sequence[float]], exchanges: Mapping[str, Sequence[int]]) -> list[Figure]:
    median = {name: statistics.median(values) for name, values in seconds.items()}
    figures = [
        Figure(f"exchanges_per_round_{name}", max(exchanges[name]), "exchanges", "lower", 3.0, "steady state")
        for name in ("semi_honest", "malicious")
    ]
    for name in VARIANTS:
        low, high = min(seconds[name]), max(seconds[name])
        note = f"{low:.1f} … {high:.1f} in {len(seconds[name])} rounds; {max(exchanges[name])} exchanges"
        figures.append(Figure(f"seconds_{name}", median[name], "s a round", "lower", note=note))
    for name in ("semi_honest", "malicious"):
        over = median[name] / median["fedavg"]
        figures.append(Figure(f"seconds_over_fedavg_{name}", over, "ratio", "lower", note="of medians"))
        before = median[f"{name}_before"] / median[name]
        figures.append(Figure(f"before_over_{name}", before, "ratio", "higher", note="nothing prepared, over prepared"))
        theirs = median["secaggplus"] / median[name]
        figures.append(Figure(f"secaggplus_over_{name}", theirs, "ratio", "higher", note="Flower's SecAgg+, over ours"))
    return figures
