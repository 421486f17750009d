"""Fixtures of the language model tests."""

from __future__ import annotations

import pytest

import securefed.llm  # noqa: F401 - before torch: it says how torch's threads wait
from tests.torch_models import one_thread, shared_data  # noqa: F401 - fixtures

pytest.importorskip("torch", reason="the llm extra is not installed")
pytest.importorskip("peft", reason="the llm extra is not installed")
