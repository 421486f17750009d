"""The harness finds what is broken on purpose, shows it, and can be run as the README of a finding says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.errors import RemoteProtocolError
from securefed.secagg.client import MaskingClient
from securefed.secagg.server_setup import SetUp
from securefed.wire.from_client import Release
from securefed.wire.from_server import Survivors
from securefed.wire.header import HEADER_BYTES, MessageType
from tests.fuzz import registry
from tests.fuzz.__main__ import main
from tests.fuzz.decoders import agreed, decoder_target
from tests.fuzz.engines import Watch, fuzz_plainly
from tests.fuzz.events import Script
from tests.fuzz.honest import played
from tests.fuzz.parties import client_target, server_target
from tests.fuzz.target import Finding, Target, check_text

ROUND = "malicious"
RUNS = 400


def broken(kind: MessageType, decode: Callable[[bytes], Any]) -> Target:
    """The target of a decoder that is not securefed's."""
    good = agreed(played(ROUND), kind)
    assert good is not None
    right = good.decode

    def decode_both(message: bytes) -> Any:
        try:
            return right(message)
        except RemoteProtocolError:
            # What the right one refuses is left to the broken one.
            value = decode(message)
            if value is None:
                raise
            return value

    return decoder_target(kind, [replace(good, decode=decode_both)], "broken")


def trusts_its_count(message: bytes) -> None:
    struct.unpack_from(f">{int.from_bytes(message[48:52], 'big')}I", message, HEADER_BYTES)


def overlooks_bits(message: bytes) -> Survivors | None:
    """Of a set of four clients it reads four bits and never looks at the others."""
    if len(message) != HEADER_BYTES + 1:
        return None
    bits = np.unpackbits(np.frombuffer(message[HEADER_BYTES:], np.uint8), bitorder="little")
    return Survivors(tuple(client for client, bit in zip(played(ROUND).spec.cohort, bits, strict=False) if bit))


def repeats_a_share(message: bytes) -> Release:
    raise RemoteProtocolError("S1", f"a share is outside the field: {message[-33:].hex()}")


@pytest.mark.parametrize(
    ("kind", "decode", "says"),
    [
        (MessageType.RELEASE, trusts_its_count, "struct.error"),
        (MessageType.SURVIVORS, overlooks_bits, "encoded to other bytes"),
        (MessageType.RELEASE, repeats_a_share, "looks like bytes"),
    ],
)
def test_a_broken_decoder_is_caught(
    kind: MessageType, decode: Callable[[bytes], Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch(broken(kind, decode), tmp_path)
    fuzz_plainly(watch, RUNS)
    assert len(watch.findings) == 1
    (path,) = watch.findings.values()
    shown = capsys.readouterr().out
    assert says in shown
    assert path.read_bytes().hex() in shown
    assert f"python -m tests.fuzz broken --replay {path}" in shown


def test_a_client_that_stays_open_after_an_error_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MaskingClient, "_leave", lambda self: self._stage)
    watch = Watch(client_target(ROUND), tmp_path)
    fuzz_plainly(watch, RUNS)
    assert watch.findings


def test_a_server_that_keeps_half_of_a_refused_answer_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SetUp.take_entry

    def hasty(self: SetUp, client: int, message: bytes) -> None:
        right(self, client, message)
        raise RemoteProtocolError("K5", "too late")

    monkeypatch.setattr(SetUp, "take_entry", hasty)
    watch = Watch(server_target(ROUND), tmp_path)
    fuzz_plainly(watch, RUNS)
    assert any("changed the server's state" in what for what in watch.findings)


@pytest.mark.parametrize("leak", [lambda b: b.hex(), lambda b: b.hex().upper(), repr, lambda b: str(list(b)), str])
def test_bytes_in_a_text_are_seen(leak: Callable[[bytes], str]) -> None:
    secret = bytes(range(140, 156))
    with pytest.raises(Finding):
        check_text(RemoteProtocolError("W1", f"refused {leak(secret)}"), secret)


def test_raw_text_of_the_input_is_seen_wherever_it_begins() -> None:
    line = b'{"round": 7, "session": "not to be repeated"}'
    for start in range(12):
        with pytest.raises(Finding):
            check_text(RemoteProtocolError("P1", "x" * start + line[start : start + 16].decode()), line)
        check_text(RemoteProtocolError("P1", "x" * start + line[start : start + 15].decode()), line)


def test_what_a_traceback_shows_with_an_error_is_seen() -> None:
    secret = bytes(range(140, 156))
    try:
        try:
            raise ValueError(secret.hex())
        except ValueError:
            raise RemoteProtocolError("W1", "refused")  # noqa: B904
    except RemoteProtocolError as error:
        caught = error
    with pytest.raises(Finding):
        check_text(caught)


@given(st.binary(max_size=200))
def test_every_byte_string_is_a_script(raw: bytes) -> None:
    script = Script.parse(raw)
    assert Script.parse(script.pack()) == script


def test_the_same_seed_is_the_same_run(tmp_path: Path) -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        inputs: list[bytes] = []
        target = decoder_target(MessageType.RELEASE)
        watched = replace(target, run=lambda raw, at=inputs, run=target.run: (at.append(raw), run(raw))[1])
        fuzz_plainly(Watch(watched, tmp_path), RUNS)
        seen.append(inputs)
    assert seen[0] == seen[1]
    assert len(seen[0]) == RUNS


def test_the_command_lists_its_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(registry.TARGETS)
    assert {f"wire-{kind.name.lower()}" for kind in MessageType} <= registry.TARGETS.keys()


def test_the_command_stops_at_a_finding_and_replays_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = broken(MessageType.RELEASE, trusts_its_count)
    monkeypatch.setitem(registry.TARGETS, "broken", lambda: target)
    assert main(["broken", "--here", "--engine=plain", f"--runs={RUNS}", f"--folder={tmp_path}"]) == 1
    (path,) = (tmp_path / "findings").iterdir()
    assert main(["broken", "--replay", str(path)]) == 1
    assert "struct.error" in capsys.readouterr().out
    path.write_bytes(target.seeds[0])
    assert main(["broken", "--replay", str(path)]) == 0


@pytest.mark.parametrize("engine", ["plain", "atheris"])
def test_the_command_runs_a_target_in_a_process(engine: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if engine == "atheris":
        pytest.importorskip("atheris")
    assert main(["wire-consent", f"--engine={engine}", "--runs=200", f"--folder={tmp_path}"]) == 0
    assert "200 executions" in capfd.readouterr().out
