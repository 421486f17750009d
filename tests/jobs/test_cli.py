"""The command line as its user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import TINY


def securefed(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "securefed.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, env=_environment())


def _environment() -> dict[str, str]:
    import os

    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "120"}


def test_help_lists_few_commands(tmp_path: Path) -> None:
    shown = securefed("--help", folder=tmp_path)
    assert shown.returncode == 0
    for name in ("run", "report", "keys", "version"):
        assert name in shown.stdout


def test_keys_are_listed_with_default_range_and_meaning(tmp_path: Path) -> None:
    shown = securefed("keys", "aggregation", folder=tmp_path)
    assert "aggregation.bits" in shown.stdout
    assert "training.rounds" not in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("--set", "training.round=3"), "training.round:"),
        (("--set", "training.rounds=many"), "training.rounds:"),
        (("--set", "aggregation.bits=64"), "aggregation.bits:"),
        (("--data", "missing.jsonl"), "data.file:"),
        (("--model", "no/such/folder/here", "--set", "data.source=standard-library"), "model"),
        (("missing.toml",), "missing.toml"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_key(arguments: tuple[str, ...], key: str, tmp_path: Path) -> None:
    shown = securefed("run", *arguments, folder=tmp_path)
    assert shown.returncode == 2, shown.stderr
    assert shown.stderr.startswith("error: ")
    assert key in shown.stderr
    assert "Traceback" not in shown.stderr


def test_own_data_file(tmp_path: Path) -> None:
    rows = [
        {"site": f"site {n % 3}", "text": f"Report {n} of site {n % 3}. " + "The pump was checked and works. " * 20}
        for n in range(60)
    ]
    (tmp_path / "notes.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    sets = [part for setting in TINY for part in ("--set", setting)]
    shown = securefed(
        "run", "--data", "notes.jsonl", "--client-field", "site", "--name", "mine", "--rounds", "1", *sets,
        "--set", "data.clients=[site 0, site 1, site 2]", "--set", "model.base=base", folder=tmp_path,
    )  # fmt: skip
    assert shown.returncode == 2
    assert "base" in shown.stderr
