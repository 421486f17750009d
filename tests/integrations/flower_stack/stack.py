"""A real Flower deployment on this machine: one SuperLink with TLS and SuperNode authentication, and its SuperNodes.

    with FlowerStack(tmp_path, nodes=3) as stack:
        log = stack.run(APPS / "plain", {"rounds": 2, "result": str(tmp_path / "result.npz")})

Every process is found and killed by a mark in its environment, at the end of the block or when this process dies.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integrations.flower_stack import guard, keys, processes

APPS = Path(__file__).parent / "apps"
_ROOT = Path(__file__).parents[3]
_BIN = Path(sys.executable).parent
_TAIL = 40

NodeConfig = Callable[[int], Mapping[str, str | int]]


class Run:
    """One `flwr run`: `flwr run --stream` goes on as long as the ServerApp does and writes what that prints."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def log(self) -> str:
        """What the ServerApp has printed up to now."""
        return self._log.read_text(errors="replace")

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self._process.poll() is not None

    def wait(self, within: float) -> str:
        """Wait for its end; gives the log.

        Raises:
            TimeoutError: it goes on.
        """
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the run goes on after {within} s") from None
        return self.log

    def stop(self) -> None:
        """No longer listen; what runs on the SuperLink goes on."""
        self._process.kill()
        self._process.wait()


class FlowerStack:
    """See the module.

    Args:
        folder: of this stack alone; keys, database, logs and Flower's own files are in it.
        nodes: how many SuperNodes.
        node_config: what a SuperNode is configured with, by its index from 0; each has `partition-id` in any case.
        task_poll: seconds between two looks for work of the processes that start apps (Flower's default is 1).
    """

    def __init__(
        self, folder: Path, nodes: int, node_config: NodeConfig | None = None, *, task_poll: float = 0.2
    ) -> None:
        self.folder, self.nodes = folder, nodes
        self._node_config = node_config or (lambda _: {})
        self.mark = uuid.uuid4().hex
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._runs = 0
        self._port = _free_port()
        self._task_poll = task_poll
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            watch = subprocess.Popen(
                [sys.executable, "-m", guard.__name__, self.mark],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
            closing.callback(watch.communicate)
            closing.callback(self.kill_all)
            closing.push(self._add_logs)
            self._write_settings()
            self.start_superlink()
            self._register()
            for node in range(self.nodes):
                self.start_node(node, wait=False)
            for node in range(self.nodes):
                self.wait_for_node(node)
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.__exit__(kind, error, traceback)

    def _add_logs(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.tails())

    def start_superlink(self) -> None:
        """Start it, or start it again on the same database, and wait until it answers."""
        self._start(
            "superlink",
            "flower-superlink",
            *("--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt", "--ssl-keyfile", "server.key"),
            *("--enable-supernode-auth", "--database", "superlink.db", "--port", str(self._port)),
            "--disable-runtime-dependency-installation",
        )
        self.wait_until(lambda: _answers(self._port), 60, "the SuperLink to listen", alive="superlink")

    def kill_superlink(self) -> None:
        """SIGKILL to it and to the ServerApps that it has started."""
        self._kill("superlink")

    def kill_server_app(self) -> None:
        """SIGKILL to the ServerApp alone."""
        killed = processes.kill(f"{self.mark}/superlink", "flwr-serverapp")
        assert killed, "no ServerApp runs"

    def start_node(self, node: int, *, wait: bool = True) -> None:
        """Start a SuperNode, or start it again with the same key.

        After SIGKILL the SuperLink believes for up to a minute that the old one lives, and sends the new one away: it
        is started until it stays, as a supervisor would.
        """
        self._start_node(node)
        if wait:
            self.wait_for_node(node)

    def wait_for_node(self, node: int, within: float = 120.0) -> None:
        """Wait until the SuperLink has let a SuperNode in."""
        name = f"node-{node}"

        def let_in() -> bool:
            if "SuperNode ID: " in self.log(name):
                return True
            if self._processes[name].poll() is not None:
                self._kill(name)
                self._start_node(node)
            return False

        self.wait_until(let_in, within, f"SuperNode {node} to be let in", every=0.2)

    def kill_node(self, node: int) -> None:
        """SIGKILL to a SuperNode and to the ClientApps that it has started."""
        self._kill(f"node-{node}")

    def kill_all(self) -> None:
        """SIGKILL to everything that this stack has started."""
        processes.kill(self.mark)
        for process in self._processes.values():
            process.wait()

    def start(self, app: Path, config: Mapping[str, str | int | float | bool]) -> Run:
        """`flwr run` on an app's folder with values for its run config."""
        self._runs += 1
        settings = self.folder / f"run-{self._runs}.toml"
        settings.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items()))
        log = self.folder / f"run-{self._runs}.log"
        command = ["flwr", "run", str(app), "stack", "--stream", "--run-config", str(settings)]
        process = self._popen(f"run-{self._runs}", self.folder / "flwr", command, log)
        self._processes[f"run-{self._runs}"] = process
        return Run(process, log)

    def run(self, app: Path, config: Mapping[str, str | int | float | bool], within: float = 120.0) -> str:
        """Run an app to its end; gives what its ServerApp printed."""
        return self.start(app, config).wait(within)

    def log(self, name: str) -> str:
        """What "superlink", "node-0" … or "run-1" … has printed since it was last started."""
        try:
            return (self.folder / f"{name}.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def tails(self) -> str:
        """The last lines of every log."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(_plain(path.read_text(errors="replace")).splitlines()[-_TAIL:])
            for path in logs
        )

    def wait_until(
        self,
        condition: Callable[[], bool],
        within: float,
        what: str,
        *,
        alive: str | None = None,
        every: float = 0.05,
    ) -> None:
        """Look again and again until it is so.

        Raises:
            TimeoutError: it is not, in time.
            RuntimeError: the process that must live for it has ended.
        """
        deadline = time.monotonic() + within
        while not condition():
            if alive is not None and (code := self._processes[alive].poll()) is not None:
                raise RuntimeError(f"waiting for {what}: {alive} has ended with {code}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {within} s for {what}")
            time.sleep(every)

    def _write_settings(self) -> None:
        keys.write_certificates(self.folder)
        for node in range(self.nodes):
            keys.write_node_key(self.folder / f"node-{node}.key")
        for name in ("flwr", "superlink", *(f"node-{node}" for node in range(self.nodes))):
            (self.folder / f"{name}.home").mkdir()
        (self.folder / "flwr.home" / "config.toml").write_text(
            "[superlink]\n"
            'default = "stack"\n\n'
            "[superlink.stack]\n"
            f'address = "127.0.0.1:{self._port}"\n'
            f"root-certificates = {json.dumps(str(self.folder / 'ca.crt'))}\n"
        )

    def _register(self) -> None:
        """Tell the SuperLink which keys it may let in."""
        for node in range(self.nodes):
            log = self.folder / f"register-{node}.log"
            command = ["flwr", "supernode", "register", f"node-{node}.pub", "stack"]
            with self._popen("register", self.folder / "flwr", command, log) as process:
                code = process.wait(60)
            if code:
                raise RuntimeError(f"`flwr supernode register` ended with {code}: {log.read_text()}")

    def _start_node(self, node: int) -> None:
        config = {"partition-id": node, **self._node_config(node)}
        self._start(
            f"node-{node}",
            "flower-supernode",
            *("--root-certificates", "ca.crt", "--superlink", f"127.0.0.1:{self._port}"),
            *("--auth-supernode-private-key", f"node-{node}.key", "--port", str(_free_port())),
            *("--node-config", " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())),
        )

    def _start(self, name: str, *command: str) -> None:
        log = self.folder / f"{name}.log"
        if log.exists():
            log.rename(self.folder / f"{name}.{time.time_ns()}.log")
        self._processes[name] = self._popen(name, self.folder / name, list(command), log)

    def _popen(self, name: str, home: Path, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "COV_", "PYTEST_"))},
            "FLWR_HOME": f"{home}.home",
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(self._task_poll),
            "RAY_USAGE_STATS_ENABLED": "0",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(_ROOT),
            "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            processes.MARK: f"{self.mark}/{name}",
        }
        with log.open("wb") as out:
            return subprocess.Popen(
                [str(_BIN / command[0]), *command[1:]],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _kill(self, name: str) -> None:
        processes.kill(f"{self.mark}/{name}")
        self._processes[name].wait()


def _plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
