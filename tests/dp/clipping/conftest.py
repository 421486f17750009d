"""Fixtures of the engine's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the llm extra is not installed")
pytest.importorskip("transformers", reason="the llm extra is not installed")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real models and texts that lie beside the repository, not in it."""
    chosen = os.environ.get("SECUREFED_DATA")
    folder = Path(chosen) if chosen else Path(__file__).parents[4] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}: set SECUREFED_DATA to a folder with models/ and the JSONL files")
    return folder
