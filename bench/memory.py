"""An update of 300 MB through Flower's real stack: time, and the greatest memory of every process, over plain FedAvg.

The same stack and job as `exchange`, with 75 million float32 parameters. Memory is the greatest resident set of each
kind of process, looked at five times a second.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from bench.exchange import NODES, VARIANTS, run_variant
from bench.figures import Figure, Report, Skipped

__all__ = ["Watch", "run"]

VALUES = 75_000_000
PROCESSES = {
    "client": "flwr-clientapp",
    "server": "flwr-serverapp",
    "node": "flower-supernode",
    "superlink": "flower-superlink",
}
"""What is asked about, and what Flower calls the process."""
SHOWN = ("fedavg", "semi_honest", "malicious")


class Watch:
    """While inside, looks at the memory of all processes that carry a mark in their environment.

    Args:
        mark: as `FlowerStack.mark`.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.peaks: dict[str, int] = dict.fromkeys(PROCESSES, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        from tests.integrations.flower_stack.processes import marked

        while not self._over.wait(0.2):
            for kind, command in PROCESSES.items():
                for pid in marked(self._mark, command):
                    self.peaks[kind] = max(self.peaks[kind], _peak_bytes(pid))


def _peak_bytes(pid: int) -> int:
    """The greatest resident set of a process so far; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def run(*, quick: bool, quiet: bool) -> Report:
    """Each variant on a stack of its own: peaks of long-lived processes are each one's."""
    if find_spec("flwr") is None or not sys.platform.startswith("linux"):
        return Report([], skipped=[Skipped("memory", "needs Linux and flwr: make install")])
    from tests.integrations.flower_stack.clients import make_clients
    from tests.integrations.flower_stack.stack import FlowerStack

    values, rounds = VALUES // 10 if quick else VALUES, 2
    seconds: dict[str, float] = {}
    peaks: dict[str, Mapping[str, int]] = {}
    for name in SHOWN:
        if not quiet:
            print(f"{name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="memory-") as temporary:
            folder = Path(temporary)
            clients = folder / "clients"
            roster = make_clients(clients, NODES, {"server": '"semi-honest"', "least_sum": "2"})
            (folder / "stack").mkdir()

            def config(node: int, clients: Path = clients) -> Mapping[str, str]:
                return {"securefed": str(clients / f"client-{node}" / "client.toml")}

            with (
                FlowerStack(folder / "stack", NODES, config, task_poll=1.0) as stack,
                Watch(stack.mark) as watch,
            ):
                lines = run_variant(stack, folder, name, VARIANTS[name], roster, values=values, rounds=rounds)
            peaks[name] = dict(watch.peaks)
            seconds[name] = _last_round(lines)
    return Report(_figures(seconds, peaks, 4 * values))


def _last_round(lines: list[Mapping[str, Any]]) -> float:
    times = [line["time"] for line in lines if line["name"] == "round"]
    return float(times[-1] - times[-2])


def _figures(seconds: Mapping[str, float], peaks: Mapping[str, Mapping[str, int]], size: int) -> list[Figure]:
    figures = []
    for name in SHOWN:
        note = f"an update of {size / 1e6:.0f} MB; the last round of the job"
        figures.append(Figure(f"seconds_{name}", seconds[name], "s a round", "lower", note=note))
        for kind in PROCESSES:
            value = peaks[name][kind] / 1e6
            figures.append(Figure(f"peak_{kind}_{name}", value, "MB", "lower", note=PROCESSES[kind]))
    for name in SHOWN[1:]:
        figures.append(Figure(f"seconds_over_fedavg_{name}", seconds[name] / seconds["fedavg"], "ratio", "lower"))
        for kind in ("client", "server"):
            over = peaks[name][kind] / peaks["fedavg"][kind]
            figures.append(Figure(f"{kind}_over_fedavg_{name}", over, "ratio", "lower", note="greatest resident set"))
    return figures
