"""Every rule of the tables in protocols/*/README.md has a negative test, and no test names a rule that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import FILES, RULES

TESTS = Path(__file__).parents[1]
PROTOCOLS = TESTS.parent / "protocols"
FOLDERS = ("crypto", "differential", "dp", "encoding", "he", "secagg", "wire")
_ROW = re.compile(r"^\| ([A-Z]\d+(?:, [A-Z]\d+)*) \|", re.MULTILINE)


def rules_of_the_text() -> set[str]:
    rows = [row for readme in PROTOCOLS.glob("*/README.md") for row in _ROW.findall(readme.read_text(encoding="utf-8"))]
    return {rule for row in rows for rule in row.split(", ")}


def test_the_text_has_the_rules_that_we_know() -> None:
    """So that a table in another form does not make the next test empty."""
    known = {f"W{n}" for n in range(1, 17)} | {f"R{n}" for n in range(1, 13)} | {f"V{n}" for n in range(1, 12)}
    known |= {f"K{n}" for n in range(1, 8)} | {f"S{n}" for n in range(1, 8)} | {f"G{n}" for n in range(1, 5)}
    known |= {"C1", "C2", "O1", "O2"} | {f"H{n}" for n in range(1, 9)}
    known |= {f"D{n}" for n in range(1, 15)} | {f"U{n}" for n in range(1, 7)} | {f"M{n}" for n in range(1, 5)}
    known |= {f"N{n}" for n in range(1, 11)}
    assert known <= rules_of_the_text()


def test_every_rule_has_a_negative_test(request: pytest.FixtureRequest) -> None:
    collected = request.config.stash[FILES]
    if not {path for folder in FOLDERS for path in (TESTS / folder).rglob("test_*.py")} <= collected:
        pytest.skip("only a part of the tests was collected")
    marked = request.config.stash[RULES]
    assert not rules_of_the_text() - marked, "rules without a negative test"
    assert not marked - rules_of_the_text(), "tests of rules that are not there"
