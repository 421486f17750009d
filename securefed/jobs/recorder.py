"""What a run writes down as it goes: one JSON object a line in `metrics.jsonl`, on disk before it goes on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from securefed import __version__
from securefed.federated.files import append_line

__all__ = ["Recorder", "machine", "now", "versions"]


class Recorder:
    """Appends events to a file; what the events hold is said in `report.events`, which reads them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **fields: object) -> None:
        """One event."""
        append_line(self._path, json.dumps({"event": event, **fields}))

    def finished_phases(self) -> frozenset[str]:
        """Phases that an earlier process finished: a resumed run does not do them again."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        found = set()
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # torn by a crash; whether more is wrong is said when the report reads the file
            if event.get("event") == "phase":
                found.add(str(event["phase"]))
        return frozenset(found)


def now() -> str:
    """Time of day in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Of what decides a run's numbers; `more` are distributions that this run alone needs."""
    libraries = ("torch", "transformers", "peft", "tokenizers", "numpy", "cryptography", *more)
    return {"securefed": __version__, **{name: metadata.version(name) for name in libraries}}


def machine() -> dict[str, object]:
    """What kind of machine this is; nothing that names it."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        memory = 0.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
