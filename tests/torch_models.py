"""What tests with models have in common: one thread, and the real models and texts where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["one_thread", "shared_data"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are so small that threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real models and texts that lie beside the repository, not in it."""
    chosen = os.environ.get("SECUREFED_DATA")
    folder = Path(chosen) if chosen else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}: set SECUREFED_DATA to a folder with models/ and the JSONL files")
    return folder
