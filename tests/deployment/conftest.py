"""Every message is stored durably: on a slow disk that would be all that these tests do."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _unhurried_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
