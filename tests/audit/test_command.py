"""`securefed audit protocol` as its user meets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("typer", reason="the command line needs the extra: pip install 'securefed[llm]'")

from typer.testing import CliRunner

from securefed.audit import command, tally
from securefed.audit.arena import Violation
from securefed.audit.command import app
from securefed.audit.schedule import FAULTS
from securefed.audit.simulation import Outcome, simulate
from tests.audit.broken.wrapping import Broken
from tests.audit.test_simulation import Escapes, made_by


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["protocol", *arguments], env={"COLUMNS": "160"})


def test_the_table_says_what_was_tried() -> None:
    shown = run("--seeds", "12", "--first", "100")
    assert shown.exit_code == 0, shown.output
    for kind in FAULTS:
        assert kind in shown.output
    for row in ("rounds", "12", "completed", "dropped or late messages", "refused, by rule", "violations", "none"):
        assert row in shown.output


def test_one_seed_is_told_event_by_event() -> None:
    shown = run("--seed", "7")
    assert shown.exit_code == 0, shown.output
    assert shown.output.strip() == simulate(7).told()


def test_a_violation_is_shown_with_its_seed_and_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    make = made_by(Broken(), client=Escapes)
    every: Callable[..., Any] = tally.simulate_many
    monkeypatch.setattr(command, "simulate_many", lambda seeds, first, _: every(seeds, first, make))
    shown = run("--seeds", "30")
    assert shown.exit_code == 1, shown.output
    assert "violated closed errors" in shown.output
    assert "again: securefed audit protocol --seed " in shown.output


def test_rounds_of_the_homomorphic_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("--scheme", "bfv", "--seeds", "5")
    assert shown.exit_code == 0, shown.output
    assert "keys" in run("--scheme", "bfv", "--seed", "3").output
    failing = Outcome(7, 3, (), (), "violated", 0, (), violation=Violation("one sum", "two"))
    found = tally.Tally()
    found.violations.append(failing)
    monkeypatch.setattr(command, "simulate_many", lambda *_: iter([found]))
    assert "again: securefed audit protocol --scheme bfv --seed 7" in run("--scheme", "bfv", "--seeds", "1").output


@pytest.mark.parametrize("arguments", [("--seeds", "0"), ("--seed", "-1"), ("--seeds", "many")])
def test_a_mistake_is_refused(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
