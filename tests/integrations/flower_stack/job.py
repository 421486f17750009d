"""A protected job on a stack: its folder, its clients' files, where it is held, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securefed.deployment import ClientFile
from tests.integrations.flower_stack.clients import make_clients
from tests.integrations.flower_stack.stack import FlowerStack, NodeConfig, Run

HELLO, ADVERTISE, SHARE, INPUT, CONSENT, RELEASE = range(1, 7)
"""Which sending of a job's first round an exchange is, against a malicious server."""


class ProtectedJob:
    """See the module.

    Args:
        stack: that it runs on.
        app: its folder.
        folder: of the job alone.
        roster: the identity roster.
        config: of every run; what `serving.federate` reads.
    """

    def __init__(
        self, stack: FlowerStack, app: Path, folder: Path, roster: Path, config: Mapping[str, str | int | float | bool]
    ) -> None:
        self.stack = stack
        self._app = app
        self.folder = folder
        self._config = {"folder": str(folder), "identities": str(roster), "nodes": stack.nodes, **config}

    def start(self) -> Run:
        """`flwr run`."""
        return self.stack.start(self._app, self._config)

    def finish(self, run: Run, within: float = 240.0) -> str:
        """Wait for a run's end, which must be a good one; gives the log."""
        log = run.wait(within)
        assert (self.folder / "done").exists(), f"the server app has failed:\n{log}"
        return log

    def hold(self, place: str) -> None:
        """Let an app wait where it gives this signal, until `release`."""
        (self.folder / f"hold-{place}").touch()

    def release(self, place: str) -> None:
        """See `hold`."""
        (self.folder / f"hold-{place}").unlink()

    def wait_for(self, run: Run, place: str, within: float = 200.0) -> None:
        """Wait until an app gives the signal."""

        def there() -> bool:
            if run.over:
                raise RuntimeError(f"the run has ended before {place}:\n{run.log}")
            return (self.folder / place).exists()

        self.stack.wait_until(there, within, place)

    @property
    def reports(self) -> list[dict[str, Any]]:
        """A line a finished round."""
        return [json.loads(line) for line in (self.folder / "reports.jsonl").read_text().splitlines()]

    def arrays_after(self, round_number: int) -> dict[str, npt.NDArray[np.float32]]:
        """The global model."""
        with np.load(self.folder / f"round-{round_number}.npz") as arrays:
            return dict(arrays)

    def client(self, partition: int) -> ClientFile:
        """A client's file."""
        return ClientFile.load(_client_file(self.folder, partition))

    def inputs(self, partition: int) -> list[str]:
        """Sessions that a client gave an input to, in order."""
        record = self.client(partition).state.folder / "record.jsonl"
        entries = [json.loads(line) for line in record.read_text().splitlines()]
        return [entry["session"] for entry in entries if entry["step"] == "input"]


@contextmanager
def protected_job(
    folder: Path,
    app: Path,
    nodes: int,
    config: Mapping[str, str | int | float | bool],
    *,
    policy: Mapping[str, str] | None = None,
    node_config: NodeConfig | None = None,
) -> Iterator[ProtectedJob]:
    """A stack with clients that have client files, and a job for it that has not begun."""
    work, stack_folder = folder / "job", folder / "stack"
    work.mkdir()
    stack_folder.mkdir()
    roster = make_clients(work, nodes, policy)

    def configured(node: int) -> Mapping[str, str | int]:
        more = node_config(node) if node_config is not None else {}
        return {"securefed": str(_client_file(work, node)), **more}

    with FlowerStack(stack_folder, nodes, configured) as stack:
        yield ProtectedJob(stack, app, work, roster, config)


def _client_file(folder: Path, partition: int) -> Path:
    return folder / f"client-{partition}" / "client.toml"
