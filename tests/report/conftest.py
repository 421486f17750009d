"""A run that never happened: the files of a run directory, from made-up numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAMES = ("asyncio", "email", "xml", "multiprocessing", "unittest", "importlib", "http", "logging")
CONFIG = '# The configuration of a run, complete.\nname = "demo"\nseed = 0\n\n# The rounds.\n[training]\nrounds = 8\n'
FACTORS = {"public": 1.0, "local": 0.935, "plain": 0.884, "masks": 0.8841, "central": 0.881}


def fake_events(
    names: tuple[str, ...] = NAMES, rounds: int = 8, factors: dict[str, float] | None = None
) -> list[dict[str, Any]]:
    """All lines of a run that was finished; `factors` are perplexities over the public model's, by arm."""
    factors = FACTORS if factors is None else factors
    public = {name: 40.0 + 50 * ((7 * at + 3) % len(names)) / len(names) for at, name in enumerate(names)}

    def evaluations(arm: str, factor: float, round_: int | None, final: bool) -> list[dict[str, Any]]:
        lines = []
        for at, name in enumerate(names):
            tilt = 1 + 0.02 * math.sin(at) * (arm == "local")
            loss = math.log(public[name] * factor * tilt)
            line = {"event": "evaluation", "arm": arm, "round": round_, "final": final, "client": name}
            lines.append(line | {"loss": loss, "tokens": 4096, "perplexity": math.exp(loss)})
        return lines

    events: list[dict[str, Any]] = [
        {
            "event": "start",
            "name": "demo",
            "time": "2026-01-31T12:00:00+00:00",
            "seed": 0,
            "versions": {"securefed": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.0"},
            "machine": {"cpu": "Example CPU", "cores": 2, "memory_gib": 7.8, "python": "3.11.9", "platform": "Linux"},
            "clients": [
                {"id": at + 1, "name": name, "train_tokens": 20_000 - 517 * at, "held_out_tokens": 9_000 + 311 * at}
                for at, name in enumerate(names)
            ],
            "parameters": {"total": 771_000, "trained": 61_440},
            "method": "lora",
            "scheme": "masks",
            "threshold": 6,
            "bits": 16,
            "clip": 0.05,
            "adversary": "malicious",
            "corrupt": 2,
        },
        {"event": "phase", "phase": "tokenizer", "seconds": 1.9, "cached": True},
        {"event": "phase", "phase": "pretraining", "seconds": 71.4, "cached": False},
    ]
    for arm in ("public", "local", "plain", "masks", "central"):
        if arm not in factors:
            continue
        for number in range(1, rounds + 1) if arm in ("plain", "masks") else ():
            masked = arm == "masks"
            lost = [{"client": names[1], "stage": "input"}] if masked and number == 3 else []
            stages = {"advertise": 0.004, "share": 0.011, "input": 0.014 + 0.001 * (number % 3)}
            stages |= {"consent": 0.003, "release": 0.006}
            protection = sum(stages.values()) if masked else 0.004
            up, down = (262_144, 251_904) if masked else (122_944, 245_824)
            reached = 1 + (factors[arm] - 1) * (1 - math.exp(-0.55 * number)) / (1 - math.exp(-0.55 * rounds))
            events += evaluations(arm, reached, number, False)
            events.append(
                {
                    "event": "round",
                    "arm": arm,
                    "round": number,
                    "seconds": 2.9 + 0.1 * math.sin(number) + protection,
                    "training_seconds": 2.8 + 0.1 * math.sin(number),
                    "protection_seconds": protection,
                    "stages": stages if masked else {},
                    "survivors": len(names) - len(lost),
                    "cohort": len(names),
                    "lost": lost,
                    "bytes_up": {name: up + 40 * at for at, name in enumerate(names)},
                    "bytes_down": {name: down + 12 * at for at, name in enumerate(names)},
                    "training_loss": 4.0 - 0.05 * number,
                    "clipped_share": 0.001,
                    "session": "0a1b2c3d",
                }
            )
        events += evaluations(arm, factors[arm], None, True)
        events.append({"event": "phase", "phase": arm, "seconds": 12.5, "cached": False})
    events.append({"event": "finish", "seconds": 139.2, "time": "2026-01-31T12:02:20+00:00"})
    return events


def write_run(run_dir: Path, events: list[dict[str, Any]], config: str = CONFIG) -> Path:
    """The two files that a report is made from."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.toml").write_text(config, encoding="utf-8")
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (run_dir / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return run_dir


@pytest.fixture
def events() -> list[dict[str, Any]]:
    """A finished run's events, to change before they are written."""
    return fake_events()


@pytest.fixture
def make_events() -> Callable[..., list[dict[str, Any]]]:
    """`fake_events`, for other names, rounds or results."""
    return fake_events


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write events (and a configuration) into a new run directory and return it."""

    def written(events: list[dict[str, Any]], config: str = CONFIG) -> Path:
        return write_run(tmp_path / "run", events, config)

    return written
