"""The examples that people copy: run as they are, in real processes, some of which are killed."""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import Adversary, ClientIdentity, Policy, Update
from securefed.chains import ClientChain, RoundPlan, ServerChain
from securefed.deployment import FolderState
from securefed.deployment.round_store import RoundStore
from securefed.encoding.layout import Layout
from securefed.federated.model_digest import model_digest
from securefed.plain import PlainIntegers
from tests.docs.processes import ENVIRONMENT, ROOT, Processes, run

EXAMPLES = ROOT / "docs" / "examples"
PAGE = ROOT / "docs" / "how-to" / "your-own-loop.md"
CLIENTS, ROUNDS = (1, 2, 3), 3
SECONDS = 200
"""A bound for a machine that is busy with other things; alone it takes ten."""

# Each dies by SIGKILL at a place that a test can name, as a machine would at any.
DIES = "import os, signal, sys\ndef die(): os.kill(os.getpid(), signal.SIGKILL)\n"
IN_TRAINING = """
import task
train, trained = task.train, []
def train_once(*given):
    trained.append(1)
    if len(trained) == 2: die()
    return train(*given)
task.train = train_once
"""
BEFORE_AN_ANSWER_LEAVES = """
import client
call, answered = client.Connection.call, []
def call_thrice(self, method, path, body=None):
    answered.append(path.startswith("/answer/"))
    if sum(answered) == 6: die()
    return call(self, method, path, body)
client.Connection.call = call_thrice
"""
WITH_ONE_INPUT = """
import transport
exchange, stages = transport.Mailbox.exchange, []
def exchange_until(self, stage, requests):
    stages.append(str(stage))
    for answer in exchange(self, stage, requests):
        yield answer
        if stages.count("input") == 3 and stage == "input": die()
transport.Mailbox.exchange = exchange_until
"""


def dying(change: str, program: str) -> str:
    """The example's program, changed in that it dies."""
    return f"{DIES}{change}\nimport {program}\n{program}.main()"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path)
    yield started
    started.kill()


def test_one_process() -> None:
    shown = run(str(EXAMPLES / "one_process.py"), folder=EXAMPLES)
    assert "bit for bit: True" in shown
    plain, masked, clear = (
        re.findall(r"round \d: loss ([\d.]+)", part) for part in re.split(r"masks\n|clear\n", shown)
    )
    assert len(plain) == 4
    assert np.allclose([float(loss) for loss in plain], [float(loss) for loss in masked], atol=2e-3)
    assert masked == clear
    assert float(plain[-1]) < 0.9 * float(plain[0])
    away = re.search(r"at most ([\d.e-]+) away", shown)
    assert away is not None
    assert float(away[1]) < 1e-3


def prepare(folder: Path) -> None:
    """The commands of the how-to page, as they stand there, in an empty folder."""
    commands = re.search(r"```sh\n(cp .*?)\n\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert commands is not None
    assert "python client.py client-$i/client.toml &" in commands[2]
    assert "python server.py --clients 1 2 3 --rounds 3\n" in commands[2]
    found = folder / "bin" / "python"
    found.parent.mkdir()
    found.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    found.chmod(0o755)
    environment = ENVIRONMENT | {"PATH": f"{found.parent}:{os.environ['PATH']}", "SECUREFED": str(ROOT)}
    done = subprocess.run(["bash", "-euc", commands[1]], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def in_the_clear(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The model that the same clients make in one process, without protection, in rounds of the same numbers."""
    monkeypatch.syspath_prepend(folder)
    task = importlib.import_module("task")
    monkeypatch.delitem(sys.modules, "task")
    model, scheme, adversary = task.make_model(), PlainIntegers(), Adversary("semi-honest")
    layout = Layout.of(task.arrays(model), metrics=("loss",))
    policy = Policy(frozenset({"plain"}), adversary, least_sum=2)
    states = {client: FolderState(folder / f"client-{client}" / "state") for client in CLIENTS}
    clients = {
        client: ClientChain(scheme, ClientIdentity(client, layout, policy, state.rounding_key))
        for client, state in states.items()
    }
    server, last = ServerChain(scheme), RoundStore(folder / "server").number
    assert last is not None

    def update(client: int) -> Update:
        change, examples, loss = task.train(model, *task.load_data(client))
        return Update(change, digest, examples, {"loss": loss})

    for number in range(last - ROUNDS + 1, last + 1):
        digest = model_digest(task.JOB, task.arrays(model))
        server.begin(RoundPlan(number, CLIENTS, adversary, layout, task.BITS, task.CLIP, task.MOST_EXAMPLES), digest)
        for client, request in server.requests().items():
            server.receive(client, clients[client].reply(request, partial(update, client)))
        server.advance()
        assert server.aggregate is not None
        task.add(model, server.aggregate.tensors)
    packed: bytes = task.pack(model)
    return packed


def test_over_http_with_clients_and_server_killed(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    deadline = time.monotonic() + SECONDS
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    server = ("--clients", *map(str, CLIENTS), "--rounds", str(ROUNDS), "--port", port, "--deadline", str(SECONDS))
    client = {i: (f"client-{i}/client.toml", "--port", port) for i in CLIENTS}

    servers = [processes.start("-c", dying(WITH_ONE_INPUT, "server"), *server)]
    first = processes.start("client.py", *client[1])
    seconds = [processes.start("-c", dying(BEFORE_AN_ANSWER_LEAVES, "client"), *client[2])]
    thirds = [processes.start("-c", dying(IN_TRAINING, "client"), *client[3])]
    for killed, again, command in (
        (thirds, "client.py", client[3]),
        (seconds, "client.py", client[2]),
        (servers, "server.py", server),
    ):
        assert processes.ended(killed[0], deadline) == -signal.SIGKILL
        killed.append(processes.start(again, *command))
    assert [processes.ended(one, deadline) for one in (servers[1], first, seconds[1], thirds[1])] == [0] * 4

    # No round was given up: who was killed has gone on where it was, and nobody has trained twice for one round.
    shown = "".join(map(processes.output, servers))
    assert re.findall(r"round (\d): loss .*clients 1, 2, 3", shown) == ["1", "2", "3"]
    assert shown.count("asked") == 5 + 3 + 3 + 1
    trained = [sum(processes.output(one).count("trained") for one in run) for run in ([first], seconds, thirds)]
    assert trained == [ROUNDS] * 3
    for i in CLIENTS:
        kept = {path.name for path in (tmp_path / f"client-{i}" / "state").iterdir()}
        assert kept == {"lock", "record.jsonl", "record.jsonl.lock", "rounding.key"}
    stored = (tmp_path / "server" / "model.bin").read_bytes()
    assert stored == ROUNDS.to_bytes(4, "big") + in_the_clear(tmp_path, monkeypatch)
