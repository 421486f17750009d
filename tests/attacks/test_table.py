"""The table in README.md: every attack with both of its halves, every test and every switch in a row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
THREATS = (
    "server tells clients different survivor sets",
    "server asks for both shares of one client",
    "server gives clients different models",
    "keys or masks used twice",
    "tiny cohort, threshold of 1, ring of 2, huge clip",
    "same client under several ids; a client's own key reflected; one key for two purposes",
    "cohorts that differ by one client over rounds",
    "overflow of the ring",
    "replay, reorder, wrong round, wrong session, wrong recipient",
    "weak or biased generator, short seeds",
    "floats under masks; NaN and Inf",
    "metadata in clear (examples, loss)",
    "forged or corrupted shares",
    "poisoned update under a mask",
    "resume that re-uses a mask, a noise draw or forgets spent budget",
    "homomorphic: another sum than it says, a key of the server's, a second opening",
)
"""All rows of the threat model that concern masks, and one for those that concern ciphertexts."""
NONE = "–"
LIMIT = "a documented limit"


@dataclass(frozen=True)
class Row:
    """One attack.

    Attributes:
        rule: number of the rule that it ends in; `NONE` where it ends in noise.
        switches: what is switched off for it to succeed.
    """

    threat: str
    attack: str
    defended: list[str]
    rule: str
    switches: list[str]
    succeeds: list[str]


def rows() -> Iterator[Row]:
    threat = ""
    for line in (HERE / "README.md").read_text().splitlines():
        if line.startswith("## "):
            threat = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| attack"):
            attack, defended, rule, switches, succeeds = (cell.strip() for cell in line.strip("|").split("|"))
            names = [re.findall(r"`(\w+)`", cell) for cell in (defended, switches, succeeds)]
            yield Row(threat, attack, names[0], rule, names[1], names[2])


def functions(pattern: str) -> dict[str, str]:
    """Source of all functions of the modules, decorators included, by name."""
    found = {}
    for path in sorted(HERE.glob(pattern)):
        source = path.read_text()
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[node.name] = "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    return found


ROWS = list(rows())
TESTS = {name: source for name, source in functions("test_*.py").items() if name.startswith("test_")}
SWITCHES = functions("*switches.py") | functions("weaker.py")
ABOUT_ROWS = [pytest.param(row, id=row.attack[:50]) for row in ROWS]


def test_every_threat_has_attacks() -> None:
    assert list(dict.fromkeys(row.threat for row in ROWS)) == list(THREATS)


@pytest.mark.parametrize("row", ABOUT_ROWS)
def test_an_attack_has_both_halves(row: Row) -> None:
    """It is defended against by tests and rule, and succeeds with a switch that the succeeding test really uses."""
    assert row.succeeds
    assert all(name.startswith("test_succeeds_") for name in row.succeeds)
    if LIMIT in row.attack and not row.defended:
        assert row.rule == NONE
        return
    assert row.defended
    assert row.switches
    assert not [name for name in row.defended if name.startswith("test_succeeds_")]
    for switch in row.switches:
        assert switch in SWITCHES
        assert [name for name in row.succeeds if re.search(rf"\b{switch}\(", TESTS[name])], switch


@pytest.mark.parametrize("row", [row for row in ROWS if row.rule != NONE], ids=lambda row: row.attack[:50])
def test_an_attack_ends_in_its_rule(row: Row) -> None:
    """The rule is named by the first of its tests, or by a table of cases in the same file."""
    first = row.defended[0]
    where = next(path for path in HERE.glob("test_*.py") if f"def {first}(" in path.read_text())
    marked = re.search(rf'(rule|case)\(\s*"{row.rule}"', TESTS[first])
    assert marked or re.search(rf'case\("{row.rule}"', where.read_text())


def test_everything_is_in_the_table() -> None:
    named = {name for row in ROWS for name in row.defended + row.succeeds}
    own = set(functions(Path(__file__).name))
    assert named == TESTS.keys() - own
    weak = {"sparse"}  # no weakness: the shape of a large cohort
    public = {name for name in SWITCHES if not name.startswith("_")}
    assert {switch for row in ROWS for switch in row.switches} == public - weak
