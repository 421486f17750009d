"""`python -m securefed.deployment` as people call it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from securefed.deployment import ClientFile
from securefed.deployment.__main__ import main
from securefed.deployment.kept_sessions import KeptSessions
from tests.deployment.parties import LAYOUT


def command(*arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "securefed.deployment", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_identity_roster_expire(tmp_path: Path) -> None:
    for client in (1, 2):
        code, out, err = command("identity", tmp_path / f"client-{client}", "--id", str(client), "--state", "kept here")
        assert (code, err) == (0, "")
        assert [line.split()[0] for line in out.splitlines()] == [
            str(tmp_path / f"client-{client}" / name) for name in ("identity.key", "identity.pub.json", "client.toml")
        ]
    roster = tmp_path / "client-1" / "identities.json"
    publics = [tmp_path / f"client-{client}" / "identity.pub.json" for client in (1, 2)]
    code, out, err = command("roster", roster, *publics)
    assert (code, err) == (0, "")
    assert f"{roster}: 2 clients (1, 2), fingerprint " in out
    code, out, err = command("expire", tmp_path / "client-1" / "client.toml")
    assert (code, out, err) == (0, "nothing is left\n", "")
    assert (tmp_path / "client-1" / "kept here").is_dir()


def test_a_secret_is_in_no_output(tmp_path: Path) -> None:
    _, out, err = command("identity", tmp_path / "client", "--id", "1")
    assert json.loads((tmp_path / "client" / "identity.key").read_text())["seed"] not in out + err


def test_what_cannot_be_done_is_said_on_one_line_and_the_exit_code_is_1(tmp_path: Path) -> None:
    main(["identity", str(tmp_path / "client"), "--id", "1"])
    for arguments, problem in (
        (["identity", tmp_path / "client", "--id", "1"], "is there already"),
        (["identity", tmp_path / "other", "--id", "0"], "id: 0 is not in 1"),
        (["roster", tmp_path / "out.json", tmp_path / "none.json"], "none.json: cannot be read"),
        (["expire", tmp_path / "none.toml"], "none.toml: cannot be read"),
    ):
        code, out, err = command(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert problem in err
        assert err.count("\n") == 1


def test_a_wrong_command_line_has_exit_code_2() -> None:
    for arguments in ([], ["identity"], ["identity", "folder", "--id", "three"], ["roster", "out.json"], ["unknown"]):
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert "usage: python -m securefed.deployment" in err


def test_expire_destroys_what_is_left_behind_its_deadline_alone(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text("id = 3\ndeadline = 60\n")
    state = ClientFile.load(tmp_path / "client.toml").state
    for stored_at, left in ((9e9, "nothing is left"), (0.0, "nothing is left"), (None, "a round goes on")):
        kept = KeptSessions("masks", 3, time.time() if stored_at is None else stored_at, (), (LAYOUT,), b"")
        state.store(kept.pack(), b"request", b"answer")
        code, out, err = command("expire", tmp_path / "client.toml")
        assert (code, err) == (0, "")
        assert out.startswith(left)
        assert (state.sessions() is None) == (left == "nothing is left")
    with state.lock():
        code, out, _ = command("expire", tmp_path / "client.toml")
        assert (code, out) == (0, "another process answers a request at the moment: nothing is destroyed\n")
    state.store(b"no line", b"request", None)
    code, _, err = command("expire", tmp_path / "client.toml")
    assert code == 1
    assert f"[P1] {state!r}: the stored sessions do not hold together" in err
    (state.folder / "sessions.bin").write_bytes(b"damaged")
    assert command("expire", tmp_path / "client.toml")[0] == 1
    assert command("expire", tmp_path / "client.toml", "--now") == (0, "nothing is left\n", "")
