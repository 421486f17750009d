"""Where targets put the files that they read: in memory where the system has that, as each execution writes one."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["SCRATCH", "folder", "memory"]

SCRATCH = "SECUREFED_FUZZ_SCRATCH"
"""Names the folder in a process that cannot clean up behind itself: libFuzzer ends its process at once."""


def memory() -> Path | None:
    """A folder in memory; None where there is none."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else None


@cache
def folder() -> Path:
    """This process's own."""
    if SCRATCH in os.environ:
        return Path(os.environ[SCRATCH])
    made = Path(tempfile.mkdtemp(prefix="fuzz", dir=memory()))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
