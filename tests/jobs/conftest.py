"""A run that is small enough for a test: the real job on the real text with a tiny model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from securefed.jobs.configuration import Configuration
from securefed.jobs.configuration_file import load
from securefed.jobs.job import run

TINY = (
    "model.pretraining.steps=6",
    "model.vocabulary=400",
    "model.hidden=32",
    "model.layers=1",
    "model.heads=2",
    "model.feed_forward=48",
    "model.context=32",
    "training.rounds=3",
    "training.local_steps=2",
    "data.tokens_per_client=2000",
    "evaluation.max_tokens_per_client=300",
)


class Silent:
    """A display that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, arm: str, steps: int, what: str) -> None: ...

    def step(self, text: str = "") -> None: ...

    def note(self, text: str) -> None: ...

    def line(self, text: str) -> None:
        self.lines.append(text)


def events(folder: Path, kind: str) -> list[dict[str, object]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def job(folder: Path, *overrides: str) -> tuple[Configuration, Silent]:
    config, display = load(None, [*TINY, *overrides]), Silent()
    folder.mkdir(parents=True, exist_ok=True)
    run(config, folder, display)
    return config, display


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache of base models for all tests here, and none of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("SECUREFED_CACHE", str(place))
        yield place
