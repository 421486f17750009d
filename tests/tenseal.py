"""Tests of approximate ciphertexts are skipped where TenSEAL is not installed, and say why."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

HERE = all(find_spec(name) is not None for name in ("tenseal", "zstandard"))
REASON = "approximate ciphertexts need TenSEAL: pip install 'securefed[he]'"

needs_tenseal = pytest.mark.skipif(not HERE, reason=REASON)
"""Of a test in a module that can be imported without it."""
