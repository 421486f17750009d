"""The ledger's file: every kind of damage, a full disk, two writers, and resumes that forget."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from securefed.dp.accounting import (
    Gaussian,
    Head,
    Ledger,
    Unit,
    ledger_file,
)
from securefed.errors import PersistenceError
from tests.dp.accounting.books import DELTA, STEP, UNIT, written
from tests.rules import case, refused


@pytest.mark.rule("D12")
@pytest.mark.parametrize("at", [0, 1, 3])
def test_any_flipped_byte_is_refused(path: Path, at: int) -> None:
    lines = written(path)
    for byte in range(len(lines[at])):
        flipped = bytearray(lines[at])
        flipped[byte] ^= 1
        path.write_bytes(b"".join([*lines[:at], bytes(flipped), *lines[at + 1 :]]))
        with refused("D12"):
            Ledger.load(path)


@pytest.mark.rule("D12")
def test_lines_moved_left_out_or_repeated_are_refused(path: Path) -> None:
    lines = written(path)
    for bad in (
        [lines[0], lines[2], lines[1], *lines[3:]],
        [lines[0], *lines[2:]],
        [*lines[:2], lines[1], *lines[2:]],
        lines[1:],
        [lines[0], *lines],
        [*lines[:2], b"\n", *lines[2:]],
        [*lines[:2], b"{}\n", *lines[2:]],
        [*lines[:2], b"[" * 100_000 + b"\n", *lines[2:]],
    ):
        path.write_bytes(b"".join(bad))
        with refused("D12"):
            Ledger.load(path)


@pytest.mark.rule("D12")
def test_a_chained_line_must_be_canonical(path: Path) -> None:
    """Whoever writes a right digest beside other spelling, or an event that is none, is refused as well."""
    lines = written(path)
    record = json.loads(lines[1])
    previous = bytes.fromhex(json.loads(lines[0])["digest"])
    for times in (0, -1, 1.0, True, "1"):
        changed = {"event": record["event"], "number": 1, "times": times}
        changed["digest"] = ledger_file.digest_of(previous, changed)
        path.write_bytes(lines[0] + json.dumps(changed, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        with refused("D12"):
            Ledger.load(path)
    path.write_bytes(lines[0] + json.dumps(record, sort_keys=True).encode() + b"\n")
    with refused("D12"):
        Ledger.load(path)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        case("D12", "another unit", {"unit": Unit("example")}),
        case("D12", "more records", {"unit": Unit("sequence", 2)}),
        case("D12", "another delta", {"delta": 1e-6}),
        case("D12", "another budget", {"budget": 6.0}),
        case("D12", "no budget", {"budget": None}),
    ],
)
def test_a_ledger_for_something_else_is_refused(rule: str, changes: dict[str, object], path: Path) -> None:
    written(path, budget=5.0)
    wanted = {"unit": UNIT, "delta": DELTA, "budget": 5.0} | changes
    with refused(rule):
        Ledger(file=path, **wanted)  # type: ignore[arg-type]


@pytest.mark.rule("D12")
def test_another_version_is_refused(path: Path) -> None:
    path.write_bytes(written(path)[0].replace(b'"version":1', b'"version":2'))
    with pytest.raises(PersistenceError, match=r"D12.*version 2"):
        Ledger.load(path)


@pytest.mark.rule("D12")
def test_another_file_is_refused(path: Path) -> None:
    for content in (b"PK\x03\x04\n", b"not a ledger", b"\x80\x04\x95"):
        path.write_bytes(content)
        for opened in (lambda: Ledger.load(path), lambda: Ledger(UNIT, DELTA, None, path)):
            with refused("D12"):
                opened()
    path.write_bytes(b"")
    with refused("D12"):
        Ledger.load(path)
    with pytest.raises(PersistenceError, match="P4"):
        Ledger.load(path.parent / "absent")


def test_a_file_cut_at_any_byte_forgets_nothing_in_silence(path: Path) -> None:
    """A torn line is completed and counted where an earlier event begins like that, and refused elsewhere."""
    whole = b"".join(written(path))
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        entries = sum(end <= size for end in ends) - 1
        torn = size not in ends and size > ends[0]
        try:
            with Ledger(UNIT, DELTA, None, path) as ledger:
                assert ledger.head.count == max(entries + torn, 0)
                if torn:
                    assert path.read_bytes()[:size] == whole[:size]
        except PersistenceError as error:
            assert error.rule == "D12"  # noqa: PT017
            assert torn
            assert entries in (0, 3), "the first of its kind"


@pytest.mark.rule("D12")
def test_a_torn_line_of_a_new_event_needs_its_name(path: Path) -> None:
    whole = b"".join(written(path))
    path.write_bytes(whole[:-20])
    for wrong in (None, Gaussian(11.0), STEP):
        with pytest.raises(PersistenceError, match=r"D12.*torn="):
            Ledger.load(path, torn=wrong)
    with Ledger.load(path, torn=Gaussian(10.0)) as ledger:
        assert ledger.events == ((STEP, 3), (Gaussian(10.0), 1))
    assert path.read_bytes() == whole


@pytest.mark.rule("D11")
def test_a_resume_that_forgets_is_refused(path: Path) -> None:
    lines = written(path)
    with Ledger.load(path) as ledger:
        head = ledger.head
        ledger.require(head)
        ledger.require(Head(0, json.loads(lines[0])["digest"]))
    for kept in range(1, len(lines)):
        path.write_bytes(b"".join(lines[:kept]))
        with Ledger.load(path) as older, refused("D11"):
            older.require(head.to_json())
    other = Ledger(UNIT, DELTA)
    for _ in range(9):
        other.spend(STEP)
    with refused("D11"):
        other.require(head)


@pytest.mark.rule("D12")
@pytest.mark.parametrize(
    "head", [{}, {"count": 1}, {"count": -1, "digest": "0" * 64}, {"count": 0, "digest": ""}, None]
)
def test_a_damaged_head_is_refused(head: object) -> None:
    with refused("D12"):
        Ledger(UNIT, DELTA).require(head)  # type: ignore[arg-type]


def test_one_writer(path: Path) -> None:
    with Ledger(UNIT, DELTA, None, path) as first:
        with pytest.raises(PersistenceError, match=r"P4.*one writer"):
            Ledger(UNIT, DELTA, None, path)
        first.spend(STEP)
    with Ledger.load(path) as second:
        assert second.head.count == 1
    with pytest.raises(PersistenceError, match="P4"):
        first.spend(STEP)


@pytest.mark.parametrize("arrived", [0, 10])
@pytest.mark.parametrize("where", ["write", "fsync"])
def test_a_full_disk(path: Path, where: str, arrived: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever arrived: the step is refused, the ledger spends no more, and a new one counts it or has none of it."""
    ledger = Ledger(UNIT, DELTA, None, path)
    ledger.spend(STEP)
    write = os.write

    def full(handle: int, *data: bytes) -> int:
        if data and arrived and len(data[0]) > 20:
            return write(handle, data[0][:arrived])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(f"securefed.dp.accounting.ledger_file.os.{where}", full)
        with pytest.raises(PersistenceError, match="P4"):
            ledger.spend(STEP)
    with pytest.raises(PersistenceError, match="P4"):
        ledger.spend(STEP)
    assert ledger.head.count == 1
    ledger.close()
    with Ledger.load(path) as again:
        assert again.head.count == 1 + (where == "fsync" or arrived > 0)


def test_a_spent_event_is_on_disk_before_spend_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(
        "securefed.dp.accounting.ledger_file.os.fsync",
        lambda handle: (fsync(handle), synced.append(path.read_bytes().count(b"\n")))[0],
    )
    with Ledger(UNIT, DELTA, None, path) as ledger:
        for number in range(1, 4):
            ledger.spend(STEP)
            assert synced[-1] == number + 1
