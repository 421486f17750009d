"""A client's folder: whose it is, what is in it, damage, crashes in the middle of a write, two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from securefed.deployment import FolderState, folder_state
from securefed.deployment.stored_file import read_stored, write_stored
from securefed.errors import ConfigError, PersistenceError
from securefed.federated.record import FileRecord

SESSIONS, REQUEST, ANSWER = b"sessions", b"a request", b"an answer"


def stored(folder: Path) -> FolderState:
    state = FolderState(folder)
    with state.lock():
        state.store(SESSIONS, REQUEST, ANSWER)
    return state


def test_what_is_stored_comes_back_in_another_process(tmp_path: Path) -> None:
    first = stored(tmp_path / "state")
    again = FolderState(tmp_path / "state")
    assert (again.sessions(), again.answered(REQUEST), again.answered(b"another")) == (SESSIONS, ANSWER, None)
    assert again.rounding_key == first.rounding_key
    assert len(again.rounding_key) == 32
    assert isinstance(again.record, FileRecord)


def test_only_the_last_answer_is_kept(tmp_path: Path) -> None:
    state = stored(tmp_path / "state")
    state.store(b"later", b"another", b"its answer")
    assert (state.sessions(), state.answered(REQUEST), state.answered(b"another")) == (b"later", None, b"its answer")
    assert len(list(state.folder.glob("answer-*"))) == 1
    state.store(b"refused", REQUEST, None)
    assert (state.sessions(), state.answered(REQUEST), state.answered(b"another")) == (b"refused", None, None)
    assert not list(state.folder.glob("answer-*"))


def test_the_folder_and_its_files_are_the_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        state = stored(tmp_path / "above" / "state")
        assert state.rounding_key
        state.record.claim("input", 3, bytes(32))
    finally:
        os.umask(old)
    assert state.folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in state.folder.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert len(modes) == 6


def test_a_folder_that_others_may_read_is_refused_unless_it_is_empty(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(0o755)
    stored(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    with pytest.raises(ConfigError, match=f"chmod 700 {folder}"):
        FolderState(folder)


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError, match=r"state: no state can be kept in .*state \(File exists\)"):
        FolderState(tmp_path / "state")


@pytest.mark.parametrize("name", ["sessions.bin", "answer"])
def test_damage_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    state = stored(tmp_path / "state")
    (path,) = (path for path in state.folder.iterdir() if path.name.startswith(name))
    raw = path.read_bytes()
    for bad in (
        *(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(len(raw))),
        b"",
        raw[:-1],
        raw + b"\0",
    ):
        path.write_bytes(bad)
        with pytest.raises(PersistenceError, match=rf"\[P1\] .*{path.name} is damaged: .*delete"):
            state.answered(REQUEST)
    path.unlink()
    if name == "answer":
        with pytest.raises(PersistenceError, match=rf"\[P1\] .*{path.name} cannot be read"):
            state.answered(REQUEST)
    else:
        assert (state.sessions(), state.answered(REQUEST)) == (None, None)


def test_damaged_records_and_keys_are_not_made_anew(tmp_path: Path) -> None:
    state = stored(tmp_path / "state")
    key = state.folder / "rounding.key"
    key.write_bytes(bytes(31))
    with pytest.raises(PersistenceError, match=r"rounding.key is damaged"):
        _ = state.rounding_key
    (state.folder / "record.jsonl").write_text('{"step": "input", "round": "x", "session": ""}\n')
    with pytest.raises(PersistenceError, match=r"\[P1\] .*record.jsonl"):
        FolderState(state.folder)


@pytest.mark.parametrize("write", ["replace", "write_stored"], ids=["answer", "sessions"])
def test_a_crash_in_front_of_either_file_leaves_the_older_state(
    write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = stored(tmp_path / "state")

    def crash(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(folder_state, write, crash)
        with pytest.raises(KeyboardInterrupt):
            state.store(b"later", b"another", b"its answer")
    again = FolderState(state.folder)
    assert (again.sessions(), again.answered(REQUEST), again.answered(b"another")) == (SESSIONS, ANSWER, None)
    again.destroy()
    assert not list(state.folder.glob("answer-*"))


def test_what_a_crash_in_the_middle_of_a_write_left_is_removed(tmp_path: Path) -> None:
    state = stored(tmp_path / "state")
    torn = state.folder / ".sessions.bin.123.new"
    torn.write_bytes(b"half a secret")
    with state.lock():
        assert not torn.exists()


def test_everything_but_record_and_rounding_key_is_destroyed(tmp_path: Path) -> None:
    state = stored(tmp_path / "state")
    state.record.claim("input", 3, bytes(32))
    key = state.rounding_key
    state.destroy()
    assert (state.sessions(), state.answered(REQUEST)) == (None, None)
    assert (state.record.last_round, state.rounding_key) == (3, key)
    state.destroy()


def test_a_full_disk_leaves_the_older_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = stored(tmp_path / "state")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(PersistenceError, match=r"\[P4\] .*No space left on device"):
            state.store(b"later", b"another", b"its answer")
    assert (state.sessions(), state.answered(REQUEST)) == (SESSIONS, ANSWER)
    assert not list(state.folder.glob(".*.new"))


def test_another_process_that_has_the_lock_is_waited_for_or_named(tmp_path: Path) -> None:
    state = stored(tmp_path / "state")
    holds = (
        "import sys\nfrom pathlib import Path\nfrom securefed.deployment import FolderState\n"
        "with FolderState(Path(sys.argv[1])).lock():\n    print('locked', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holds, str(state.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(PersistenceError, match=r"\[P5\].*another process's"), state.lock(wait=False):
            pass
        other.communicate("")
    with state.lock(wait=False):
        pass


def test_a_file_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_stored(path, "one kind", {"a": 1}, b"body")
    assert read_stored(path, "one kind", "") == ({"kind": "one kind", "version": 1, "a": 1}, b"body")
    with pytest.raises(PersistenceError, match=r"\[P3\] .*holds 'one kind', not 'another'"):
        read_stored(path, "another", "delete it")
    write_stored(path, "one kind", {"version": 2}, b"body")
    with pytest.raises(PersistenceError, match=r"\[P2\]"):
        read_stored(path, "one kind", "")
    with pytest.raises(PersistenceError, match=r"\[P4\]"):
        read_stored(tmp_path, "one kind", "")
