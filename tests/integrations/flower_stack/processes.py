"""Processes of a stack, found by a mark in their environment.

Flower starts grandchildren, some in sessions of their own: neither a process group nor a parent finds them all.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "SECUREFED_FLOWER_STACK"


def marked(mark: str, command: str = "") -> Iterator[int]:
    """Ids of the living processes that bear the mark, "stack/part" or "stack" for all its parts, and whose command line
    holds the text."""
    sought = f"{MARK}={mark}/".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue  # gone, or another user's
        if any((entry + b"/").startswith(sought) for entry in environment) and command.encode() in line:
            yield int(folder.name)


def kill(mark: str, command: str = "", *, within: float = 10.0) -> int:
    """SIGKILL to all of them, until there are none; gives how many there were.

    Raises:
        TimeoutError: some are still there.
    """
    deadline = time.monotonic() + within
    killed = set[int]()
    while pids := list(marked(mark, command)):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.add(pid)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} outlive SIGKILL")
        time.sleep(0.02)
    return len(killed)
