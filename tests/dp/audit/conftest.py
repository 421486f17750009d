"""What the audit of the engine needs."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the llm extra is not installed")
pytest.importorskip("dp_accounting", reason="the dp extra is not installed")
