"""Fixtures of the leakage tests."""

from __future__ import annotations

import pytest

from tests.torch_models import one_thread  # noqa: F401 - a fixture

pytest.importorskip("scipy", reason="the dp extra is not installed")
