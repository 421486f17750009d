"""How a test and the apps that it runs tell each other where they are: by files in one folder.

An app says `signal(folder, "training-1")` when it gets there. Where the test has put a file "hold-training-1", the app
then waits until that is gone: whatever the test does in between happens at that very place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

_LOOK_EVERY = 0.05


def signal(folder: Path | str, place: str, text: str = "") -> None:
    """Say where we are, and wait there as long as we are held."""
    folder = Path(folder)
    partial = folder / f"{place}.partial"
    partial.write_text(text)
    partial.replace(folder / place)
    while (folder / f"hold-{place}").exists():
        time.sleep(_LOOK_EVERY)


class SignallingGrid(Grid):
    """A grid that signals "before-K" and "after-K" around the K-th time, from 1, that it sends something to clients."""

    def __init__(self, grid: Grid, folder: Path | str) -> None:
        self._grid = grid
        self._folder = folder
        self._sent = 0

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def get_nodes(self) -> Any:
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        self._sent += 1
        types = sorted({message.metadata.message_type for message in messages})
        signal(self._folder, f"before-{self._sent}", f"{len(messages)} {' '.join(types)}")
        ids = list(self._grid.push_messages(messages))
        signal(self._folder, f"after-{self._sent}")
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self._grid.send_and_receive(messages, timeout=timeout)
