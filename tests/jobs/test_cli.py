"""The command line as its user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import TINY


def securefed(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "securefed.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, env=_environment())


def _environment() -> dict[str, str]:
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
        (("--privacy", ":8"), "privacy.kind:"),
        (("--privacy", "client:0"), "privacy.epsilon:"),
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
    assert not list(tmp_path.glob("runs/*")), "a run that never began left a folder"


def test_own_data_file_from_the_first_line_to_the_report(tmp_path: Path) -> None:
    words = np.random.default_rng(0).permutation(
        ["pump", "valve", "checked", "works", "leaks", "report", "site", "north", "motor", "oil", "seal"]
    )
    generator = np.random.default_rng(1)
    rows = [
        {"site": f"site {n % 6}", "text": " ".join(generator.choice(words, 80).tolist()) + f". Report {n}."}
        for n in range(90)
    ]
    (tmp_path / "notes.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    sets = [part for setting in (*TINY, "data.clients=[site 0, site 2, site 4]", "data.public_share=0.9") for part in
            ("--set", setting)]  # fmt: skip
    shown = securefed(
        "run",
        "--data",
        "notes.jsonl",
        "--client-field",
        "site",
        "--name",
        "mine",
        "--rounds",
        "1",
        *sets,
        folder=tmp_path,
    )
    assert shown.returncode == 0, shown.stderr
    assert "Federated, under masks" in shown.stdout
    again = securefed("report", "runs/mine", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "runs/mine/report.html").exists()
    mixed = securefed("run", "--resume", "runs/mine", "--rounds", "2", folder=tmp_path)
    assert mixed.returncode == 2
    assert "give --resume alone" in mixed.stderr
