"""Messages, specifications and parameters are values: what was checked once stays as it was checked."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import is_dataclass

import pytest


@pytest.mark.parametrize("room", ["crypto", "encoding", "wire", "secagg"])
def test_no_dataclass_of_the_core_can_be_changed(room: str) -> None:
    package, found = importlib.import_module(f"securefed.{room}"), 0
    for module in pkgutil.iter_modules(package.__path__, f"securefed.{room}."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and is_dataclass(thing):
                found += 1
                assert thing.__dataclass_params__.frozen, thing
    assert found
