"""Known answers that others wrote, where this machine has them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).parents[3] / "shared" / "kat"


def load(name: str) -> dict[str, Any]:
    """One file of vectors; skips the test that asks where there is none."""
    folder = Path(os.environ.get("SECUREFED_VECTORS") or _BESIDE_THE_REPOSITORY)
    path = folder / name
    if not path.is_file():
        pytest.skip(f"no {name} in $SECUREFED_VECTORS or ../shared/kat: Wycheproof and NIST vectors are not part of us")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def wycheproof(algorithm: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """All (group, test) of one file."""
    file = load(f"wycheproof/{algorithm}_test.json")
    return [(group, test) for group in file["testGroups"] for test in group["tests"]]
