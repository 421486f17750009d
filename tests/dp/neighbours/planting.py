"""Errors put into the engine on purpose, wherever in it the function is used."""

from __future__ import annotations

import sys
from typing import Any

import pytest


def plant(monkeypatch: pytest.MonkeyPatch, original: Any, replacement: Any) -> None:
    """Have the replacement stand for a function of the engine, under every name that its modules know it by."""
    places = [
        (module, name)
        for path, module in list(sys.modules.items())
        if path.startswith("securefed.dp.clipping")
        for name, value in vars(module).items()
        if value is original
    ]
    assert places, f"{original} is not used"
    for module, name in places:
        monkeypatch.setattr(module, name, replacement)
