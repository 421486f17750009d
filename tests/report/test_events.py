"""What counts where a run was killed, resumed, damaged, or written by a newer version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securefed.errors import PersistenceError
from securefed.report.events import read_events

Lines = list[dict[str, Any]]


def refused(path: Path) -> PersistenceError:
    with pytest.raises(PersistenceError) as caught:
        read_events(path)
    assert caught.value.rule == "P1"
    return caught.value


@pytest.fixture
def path(events: Lines, write: Callable[..., Path]) -> Path:
    return write(events) / "metrics.jsonl"


def test_everything_is_read(path: Path) -> None:
    found = read_events(path)
    assert [client.name for client in found.start.clients][:2] == ["asyncio", "email"]
    assert found.start.parameters.trained == 61_440
    assert [(one.arm, one.round) for one in found.rounds][:2] == [("masks", 1), ("masks", 2)]
    assert len(found.rounds) == 16
    assert found.rounds[2].lost[0].stage == "input"
    assert found.finish is not None


def test_a_torn_last_line_is_passed_over(path: Path) -> None:
    whole = read_events(path)
    for cut in (1, 20, 45):
        path.write_bytes(path.read_bytes().rstrip(b"\n")[:-cut])
        found = read_events(path)
        assert found.finish is None
        assert found.rounds == whole.rounds
        path.write_bytes(path.read_bytes() + b"\n")
        assert read_events(path) == found


def test_a_whole_last_line_without_its_newline_counts(path: Path) -> None:
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert read_events(path).finish is not None


@pytest.mark.parametrize("damage", [b'{"event": "rou', b"[1, 2]", b"\xff\xfe", b"\x00" * 40])
def test_a_damaged_middle_line_is_one_clear_error(path: Path, damage: bytes) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[10] = damage
    path.write_bytes(b"\n".join(lines))
    assert refused(path).detail == "metrics.jsonl, line 11 is damaged: it is no JSON object"


@pytest.mark.parametrize("between", [[], [b'{"event": "phase", "phase": "pretraining", "seconds": 0.5}']])
def test_a_torn_line_where_a_process_ended_is_passed_over(path: Path, between: list[bytes]) -> None:
    whole = read_events(path)
    lines = path.read_bytes().split(b"\n")
    lines[10:10] = [lines[10][:30], *between, b'{"event": "resume", "round": 1, "arm": "masks"}']
    path.write_bytes(b"\n".join(lines))
    found = read_events(path)
    assert found.rounds == whole.rounds
    assert [one.round for one in found.resumes] == [1]


def test_of_an_interrupted_round_the_later_events_count(events: Lines, write: Callable[..., Path]) -> None:
    at = next(at for at, one in enumerate(events) if one["event"] == "round" and one["arm"] == "masks")
    again = events[at] | {"seconds": 99.0, "session": "ffffffff"}
    evaluation = events[at - 1] | {"loss": 1.25}
    events[at + 1 : at + 1] = [{"event": "resume", "round": 1, "time": "later"}, evaluation, again]
    found = read_events(write(events) / "metrics.jsonl")
    rounds = [one for one in found.rounds if one.arm == "masks"]
    assert [one.round for one in rounds] == list(range(1, 9))
    assert (rounds[0].seconds, rounds[0].session) == (99.0, "ffffffff")
    same = [one for one in found.evaluations if (one.arm, one.round, one.client) == ("masks", 1, evaluation["client"])]
    assert [one.loss for one in same] == [1.25]


def test_seconds_of_a_phase_add_up_over_processes(events: Lines, write: Callable[..., Path]) -> None:
    again = [events[0], {"event": "phase", "phase": "pretraining", "seconds": 0.6, "cached": True}]
    found = read_events(write([*events, *again]) / "metrics.jsonl")
    assert found.processes == 2
    phases = {one.phase: one for one in found.phases}
    assert phases["pretraining"].seconds == pytest.approx(72.0)
    assert not phases["pretraining"].cached
    assert phases["tokenizer"].cached


def test_unknown_events_and_fields_are_passed_over(events: Lines, write: Callable[..., Path]) -> None:
    before = read_events(write(events) / "metrics.jsonl")
    newer = [{"event": "weather", "sun": True}, {}, *({**one, "colour": "blue"} for one in events)]
    assert read_events(write(newer) / "metrics.jsonl") == before


def test_a_field_of_the_wrong_kind_is_named(events: Lines, write: Callable[..., Path]) -> None:
    del events[3]["loss"]
    assert "line 4 is damaged: evaluation.loss" in refused(write(events) / "metrics.jsonl").detail


def test_no_file_and_no_start(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "metrics.jsonl").detail
    path = tmp_path / "metrics.jsonl"
    for content in ("", "\n", json.dumps({"event": "finish", "seconds": 1}) + "\n"):
        path.write_text(content, encoding="utf-8")
        assert "no start" in refused(path).detail
