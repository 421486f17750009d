"""Processes of one test: what they print, how they end, and that none is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run(*arguments: str, folder: Path) -> str:
    """What a Python program that ends well prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Processes:
    """Python programs that run beside each other in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def start(self, *arguments: str) -> int:
        """Start one; its number."""
        number = len(self._started)
        log = self.folder / f"process-{number}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=self.folder, env=ENVIRONMENT, stdout=file, stderr=subprocess.STDOUT
            )
        self._started.append((process, log))
        return number

    def output(self, number: int) -> str:
        return self._started[number][1].read_text()

    def ended(self, number: int, deadline: float) -> int:
        """Wait for its end; how it ended."""
        try:
            return self._started[number][0].wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError("\n".join(f"--- {log}\n{log.read_text()}" for _, log in self._started)) from None

    def kill(self) -> None:
        """End what still runs, by process id."""
        for process, _ in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
