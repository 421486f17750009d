"""What these tests need."""

from __future__ import annotations

import pytest

from tests.torch_models import one_thread  # noqa: F401 - fixtures

pytest.importorskip("torch", reason="the llm extra is not installed")
pytest.importorskip("transformers", reason="the llm extra is not installed")
pytest.importorskip("peft", reason="the llm extra is not installed")
