"""Fixtures of the adapters' tests."""

from __future__ import annotations

import pytest

from tests.torch_models import one_thread, shared_data  # noqa: F401 - fixtures

pytest.importorskip("torch", reason="the llm extra is not installed")
pytest.importorskip("transformers", reason="the llm extra is not installed")
pytest.importorskip("peft", reason="the llm extra is not installed")
