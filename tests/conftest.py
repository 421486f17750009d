"""Settings of the whole test tree: how deep the random tests go, and the marker that ties a test to a rule."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

RULES = pytest.StashKey[set[str]]()
FILES = pytest.StashKey[set[Path]]()

_DEEP = 20
settings.register_profile(
    "quick",
    deadline=None,
    max_examples=40,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep", settings.get_profile("quick"), max_examples=40 * _DEEP, derandomize=False, print_blob=True
)
settings.load_profile("deep" if os.environ.get("SECUREFED_TEST_DEPTH") == "deep" else "quick")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rule(number): a negative test of this numbered rule of protocols/*/README.md")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what was collected for the test that asks whether every rule has one."""
    config.stash[RULES] = {mark.args[0] for item in items for mark in item.iter_markers("rule")}
    config.stash[FILES] = {item.path for item in items}
