"""Rows P of the threat list: damaged, foreign and half-written files, and crashes around every write."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from securefed.errors import LocalProtocolError, PersistenceError
from securefed.federated import files
from securefed.federated.checkpoint import Checkpoint
from securefed.federated.files import append_line, replace
from securefed.federated.journal import Journal

WEIGHTS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1.5, -2.0], np.float16)}


def saved(path: Path) -> bytes:
    Checkpoint("job", 3, WEIGHTS).save(path)
    return path.read_bytes()


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.bin"
    saved(path)
    loaded = Checkpoint.load(path, "job")
    assert (loaded.job, loaded.round, list(loaded.weights)) == ("job", 3, ["b", "a"])
    for name, array in WEIGHTS.items():
        assert loaded.weights[name].dtype == array.dtype
        assert (loaded.weights[name] == array).all()
    assert sorted(path.parent.iterdir()) == [path], "a temporary file was left"


def test_a_checkpoint_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.bin"
    raw = saved(path)
    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        with pytest.raises(PersistenceError, match="P1"):
            Checkpoint.load(path, "job")


def test_a_checkpoint_with_any_byte_flipped_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.bin"
    raw = saved(path)
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(PersistenceError, match="P1"):
            Checkpoint.load(path, "job")


def test_trailing_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.bin"
    path.write_bytes(saved(path) + b"\0")
    with pytest.raises(PersistenceError, match="P1"):
        Checkpoint.load(path, "job")


@pytest.mark.parametrize("version", [1, 3, "2"])
def test_another_version_is_refused(tmp_path: Path, version: object) -> None:
    path = tmp_path / "checkpoint.bin"
    raw = saved(path)
    size = int.from_bytes(raw[40:44], "big")
    head = json.loads(raw[44 : 44 + size])
    head["version"] = version
    packed = json.dumps(head).encode()
    body = len(packed).to_bytes(4, "big") + packed + raw[44 + size :]
    path.write_bytes(raw[:8] + hashlib.sha256(body).digest() + body)
    with pytest.raises(PersistenceError, match="P2"):
        Checkpoint.load(path, "job")


def test_another_job_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.bin"
    saved(path)
    with pytest.raises(PersistenceError, match=r"P3.*another configuration"):
        Checkpoint.load(path, "job2")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(touched),))

    path = tmp_path / "checkpoint.bin"
    path.write_bytes(pickle.dumps(Touch()))
    with pytest.raises(PersistenceError, match="P1"):
        Checkpoint.load(path, "job")
    assert not touched.exists()


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PersistenceError, match=r"P1.*cannot be read"):
        Checkpoint.load(tmp_path / "nothing.bin", "job")


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "checkpoint.bin"
    raw = saved(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(files.os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "open", full)
    with pytest.raises(PersistenceError, match=r"P4.*No space left"):
        Checkpoint("job", 4, WEIGHTS).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == raw
    assert Checkpoint.load(path, "job").round == 3
    assert sorted(tmp_path.iterdir()) == [path]


def test_replace_is_never_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace(path, b"old")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replace(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "one")
    with path.open("a") as file:
        file.write("tor")
    append_line(path, "two")
    assert path.read_text() == "one\ntor\ntwo\n"


def test_the_journal_refuses_a_session_twice_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "sessions.jsonl"
    first = Journal(path)
    first.begin(1, b"\1" * 32)
    with pytest.raises(LocalProtocolError, match="R10"):
        first.begin(1, b"\1" * 32)
    restarted = Journal(path)
    assert len(restarted) == 1
    with pytest.raises(LocalProtocolError, match="R10"):
        restarted.begin(2, b"\1" * 32)
    restarted.begin(2, b"\2" * 32)
    assert len(Journal(path)) == 2


def test_the_journal_survives_a_torn_line_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "sessions.jsonl"
    Journal(path).begin(1, b"\1" * 32)
    whole = path.read_text()
    for size in range(1, len(whole)):
        path.write_text(whole + whole[:size])
        torn = Journal(path)
        torn.begin(2, b"\2" * 32)
        assert len(Journal(path)) == 2
    path.write_text("rubbish\n" + whole)
    with pytest.raises(PersistenceError, match=r"P1.*line 1"):
        Journal(path)
