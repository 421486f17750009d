"""The stack that the tests start leaves nothing behind, however the tests end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

pytest.importorskip("flwr")
if not Path("/proc/self/environ").exists():
    pytest.skip("processes are found in /proc", allow_module_level=True)

from tests.integrations.flower_stack import guard, processes
from tests.integrations.flower_stack.stack import APPS, FlowerStack

_ROOT = Path(__file__).parents[3]


def test_the_guard_kills_what_is_marked_when_the_pipe_closes():
    mark = uuid.uuid4().hex
    environment = {**os.environ, processes.MARK: f"{mark}/node-0"}
    with (
        subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as marked,
        subprocess.Popen(["sleep", "60"]) as other,
        subprocess.Popen([sys.executable, "-m", guard.__name__, mark], cwd=_ROOT, stdin=subprocess.PIPE) as watch,
    ):
        assert list(processes.marked(mark)) == [marked.pid]
        watch.communicate(timeout=20)
        assert marked.wait(5) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()


def test_one_part_of_a_stack_is_killed_alone():
    mark = uuid.uuid4().hex
    parts = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, processes.MARK: f"{mark}/{part}"})
        for part in ("node-1", "node-12")
    ]
    try:
        assert processes.kill(f"{mark}/node-1") == 1
        assert parts[1].poll() is None
    finally:
        processes.kill(mark)
        for part in parts:
            part.wait()


@pytest.mark.stack
def test_an_unprotected_app_runs_and_nothing_is_left(tmp_path):
    with FlowerStack(tmp_path, nodes=2) as stack:
        log = stack.run(APPS / "plain", {"rounds": 1, "nodes": 2, "result": str(tmp_path / "result.npy")})
        assert "round 1 over" in log
        left = list(processes.marked(stack.mark))
        assert len(left) >= 6  # SuperLink, two SuperNodes, and what looks for work in each
    assert (tmp_path / "result.npy").exists()
    assert list(processes.marked(stack.mark)) == []


@pytest.mark.stack
def test_nothing_is_left_when_the_tests_are_killed(tmp_path):
    script = (
        "import os, pathlib, signal\n"
        "from tests.integrations.flower_stack.stack import FlowerStack\n"
        f"with FlowerStack(pathlib.Path({str(tmp_path)!r}), nodes=1) as stack:\n"
        "    print(stack.mark, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=_ROOT, capture_output=True, text=True, timeout=120)
    mark = ended.stdout.strip()
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    deadline = time.monotonic() + 20
    while list(processes.marked(mark)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
