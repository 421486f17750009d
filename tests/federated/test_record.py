"""A client's record in a file: what it holds is given once, over restarts and processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securefed.errors import LocalProtocolError, PersistenceError
from securefed.federated.record import FileRecord

ONE, OTHER = bytes(32), bytes([1]) * 32


def test_a_step_is_claimed_once_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    FileRecord(path).claim("consent", 3, ONE)
    for record in (FileRecord(path), FileRecord(path)):
        with pytest.raises(LocalProtocolError, match=r"\[R10\]"):
            record.claim("consent", 3, ONE)
        assert record.last_round == -1


def test_an_input_ends_its_round_and_all_before(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    FileRecord(path).claim("input", 3, ONE)
    again = FileRecord(path)
    assert again.last_round == 3
    for number in (2, 3):
        with pytest.raises(LocalProtocolError, match=r"\[R10\]"):
            again.claim("input", number, OTHER)
    again.claim("input", 4, OTHER)
    assert FileRecord(path).last_round == 4


def test_two_that_were_opened_before_either_claims_share_the_file(tmp_path: Path) -> None:
    one, other = FileRecord(tmp_path / "record.jsonl"), FileRecord(tmp_path / "record.jsonl")
    one.claim("input", 1, ONE)
    with pytest.raises(LocalProtocolError, match=r"\[R10\]"):
        other.claim("input", 1, ONE)
    assert len((tmp_path / "record.jsonl").read_text().splitlines()) == 1


def test_a_torn_last_line_is_no_claim(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    FileRecord(path).claim("input", 1, ONE)
    with path.open("a") as file:
        file.write('{"step": "input", "rou')
    record = FileRecord(path)
    assert record.last_round == 1
    record.claim("input", 2, OTHER)
    assert FileRecord(path).last_round == 2


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[]", '{"step": "input", "round": 2}', json.dumps({"step": "input", "round": 1, "session": "zz"})],
)
def test_a_damaged_line_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "record.jsonl"
    FileRecord(path).claim("input", 1, ONE)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(PersistenceError, match=r"\[P1\].*must not go on"):
        FileRecord(path)


def test_a_disk_that_takes_nothing_keeps_the_step_back(tmp_path: Path) -> None:
    record = FileRecord(tmp_path / "missing" / "record.jsonl")
    with pytest.raises(PersistenceError, match=r"\[P4\]"):
        record.claim("input", 1, ONE)
