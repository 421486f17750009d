"""Which engine is taken: asked for, kept from an earlier process, or measured now. None of it can fail a run."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securefed.crypto import engine as engines
from securefed.crypto.engine import Engine, fastest_engine, measured_engine, open_stream
from securefed.errors import ConfigError


class Measurements:
    """What the next measurement finds, and how many there were."""

    def __init__(self) -> None:
        self.found: Engine = "gcm"
        self.count = 0

    def __call__(self) -> Engine:
        self.count += 1
        return self.found


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Measurements:
    """No engine asked for, an empty cache folder, and a measurement that the test decides."""
    for variable in ("SECUREFED_ENGINE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SECUREFED_CACHE", str(tmp_path / "cache"))
    made = Measurements()
    monkeypatch.setattr(engines, "measured_engine", made)
    return made


def in_a_new_process() -> Engine:
    fastest_engine.cache_clear()
    try:
        return fastest_engine()
    finally:
        fastest_engine.cache_clear()


def test_it_is_measured_once_a_machine(measurements: Measurements, tmp_path: Path) -> None:
    for found in ("ctr", "gcm"):
        measurements.found = found
        assert in_a_new_process() == "ctr"
    assert measurements.count == 1
    (file,) = (tmp_path / "cache").iterdir()
    assert json.loads(file.read_text())["engine"] == "ctr"


def test_it_is_asked_once_a_process(measurements: Measurements, monkeypatch: pytest.MonkeyPatch) -> None:
    fastest_engine.cache_clear()
    assert fastest_engine() == "gcm"
    monkeypatch.setenv("SECUREFED_ENGINE", "ctr")
    assert fastest_engine() == "gcm"
    fastest_engine.cache_clear()


def test_a_measurement_gives_one_of_the_two() -> None:
    assert measured_engine() in ("gcm", "ctr")


@pytest.mark.parametrize("slow", ["gcm", "ctr"])
def test_a_measurement_gives_the_faster_one(slow: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0

    class Clocked:
        def __init__(self, cost: int) -> None:
            self.cost = cost

        def update_into(self, data: memoryview, buf: memoryview) -> int:
            nonlocal now
            now += self.cost
            return len(data)

    monkeypatch.setattr(engines, "perf_counter_ns", lambda: now)
    monkeypatch.setattr(engines, "open_stream", lambda engine, *_: Clocked(30_000 if engine == slow else 20_000))
    assert measured_engine() == ("ctr" if slow == "gcm" else "gcm")


def test_each_name_opens_its_own_mode() -> None:
    """Both give the same bits, so nothing else can tell them apart; what is measured would be of the other one."""
    opened = {engine: open_stream(engine, bytes(32), 0) for engine in ("gcm", "ctr")}
    assert hasattr(opened["gcm"], "authenticate_additional_data")
    assert not hasattr(opened["ctr"], "authenticate_additional_data")


@pytest.mark.parametrize("chosen", ["gcm", "ctr"])
def test_the_environment_decides(measurements: Measurements, monkeypatch: pytest.MonkeyPatch, chosen: Engine) -> None:
    monkeypatch.setenv("SECUREFED_ENGINE", chosen)
    assert in_a_new_process() == chosen
    assert measurements.count == 0


@pytest.mark.parametrize("chosen", ["GCM", "cbc", "gcm ", "0"])
def test_another_name_is_refused(measurements: Measurements, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    monkeypatch.setenv("SECUREFED_ENGINE", chosen)
    with pytest.raises(ConfigError, match=r"SECUREFED_ENGINE.*set gcm or ctr") as caught:
        in_a_new_process()
    assert caught.value.key == "SECUREFED_ENGINE"


def test_an_empty_variable_asks_for_nothing(measurements: Measurements, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECUREFED_ENGINE", "")
    assert in_a_new_process() == "gcm"
    assert measurements.count == 1


def _with(**changes: Any) -> Callable[[Path], object]:
    """The file with other fields; None takes one away."""

    def change(file: Path) -> None:
        content = json.loads(file.read_text()) | changes
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change


def _folder_in_its_place(file: Path) -> None:
    file.unlink()
    (file / "folder").mkdir(parents=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda file: file.unlink(), id="gone"),
        pytest.param(lambda file: file.write_bytes(b""), id="empty"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-9]), id="cut"),
        pytest.param(lambda file: file.write_bytes(bytes(range(256))), id="not text"),
        pytest.param(lambda file: file.write_text("[" * 60_000), id="nested"),
        pytest.param(lambda file: file.write_text(file.read_text() + "x"), id="more behind it"),
        pytest.param(lambda file: file.write_text('"ctr"'), id="another value"),
        pytest.param(_with(engine="cbc"), id="another engine"),
        pytest.param(_with(engine=["ctr"]), id="no name"),
        pytest.param(_with(engine=None), id="no engine"),
        pytest.param(_with(more=1), id="more than we write"),
        pytest.param(_with(processor="another"), id="another processor"),
        pytest.param(_with(openssl="OpenSSL 1.1.1"), id="another OpenSSL"),
        pytest.param(_with(cryptography="46.0.0"), id="another library"),
        pytest.param(_folder_in_its_place, id="a folder"),
    ],
)
def test_a_file_that_says_nothing_is_measured_again(
    measurements: Measurements, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    measurements.found = "ctr"
    assert in_a_new_process() == "ctr"
    (file,) = (tmp_path / "cache").iterdir()
    change(file)
    measurements.found = "gcm"
    assert in_a_new_process() == "gcm"
    assert measurements.count == 2
    # A good file is there again, where one can be, and nothing else.
    assert in_a_new_process() == "gcm"
    assert measurements.count == (3 if file.is_dir() else 2)
    assert list((tmp_path / "cache").iterdir()) == [file]


@pytest.mark.parametrize(("fact", "value"), [("processor", "another"), ("openssl", "another"), ("cryptography", "1")])
def test_another_kind_of_machine_has_another_file(
    measurements: Measurements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fact: str, value: str
) -> None:
    """Several machines may share a home: each measures once."""
    here = engines._kind_of_machine()
    assert set(here) == {"processor", "openssl", "cryptography"}
    for kind in (here, here | {fact: value}) * 2:
        monkeypatch.setattr(engines, "_kind_of_machine", lambda kind=kind: kind)
        in_a_new_process()
    assert measurements.count == 2
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_processor_is_known_by_its_name_and_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of a processor that says more, or says it of itself by another word, makes another processor of it."""
    second = "\n\nprocessor\t: 1\nmodel name\t: another\nflags\t: none\n"
    told = [
        "processor\t: 0\nmodel name\t: A\nflags\t: aes",
        "processor\t: 0\nmodel name\t: B\nflags\t: aes",
        "processor\t: 0\nmodel name\t: A\nflags\t: aes vaes",
        "processor\t: 0\nmodel name\t: A: 2\nflags\t: aes",
        "processor\t: 0\nCPU part\t: 0xd0c\nFeatures\t: aes",
        "processor\t: 0\nCPU part\t: 0xd0d\nFeatures\t: aes",
        "processor\t: 0\nCPU part\t: 0xd0c\nFeatures\t: aes sve",
        "processor\t: 0",
    ]
    known = {}
    for text in told:
        # Whatever bytes are in it: a name that is not UTF-8 is no reason to fail.
        files = {(Path("/proc/cpuinfo"), "replace"): text + second}
        monkeypatch.setattr(Path, "read_text", lambda file, errors, files=files: files[file, errors])
        name = engines._processor()
        assert re.fullmatch(r".+ [0-9a-f]{16}", name)
        known[name] = text
    assert len(known) == len(told)
    assert [name.rpartition(" ")[0] for name in known][:-1] == ["A", "B", "A", "A: 2", "0xd0c", "0xd0d", "0xd0c"]


def test_a_place_that_cannot_be_written_is_no_error(
    measurements: Measurements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("SECUREFED_CACHE", str(file / "cache"))
    assert [in_a_new_process(), in_a_new_process()] == ["gcm", "gcm"]
    assert measurements.count == 2
    assert file.read_text() == "not a folder"


def test_a_full_disk_leaves_no_part_of_a_file(
    measurements: Measurements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(content: object, stream: Any) -> None:
        stream.write("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    assert in_a_new_process() == "gcm"
    assert list((tmp_path / "cache").iterdir()) == []


def test_where_the_file_is(measurements: Measurements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folders = (tmp_path / "cache", tmp_path / "xdg" / "securefed", tmp_path / "home" / ".cache" / "securefed")
    for folder, variable in zip(folders, ("SECUREFED_CACHE", "XDG_CACHE_HOME", "HOME"), strict=True):
        in_a_new_process()
        (file,) = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert re.fullmatch(r"engine-[0-9a-f]{16}\.json", file.name)
        monkeypatch.delenv(variable)
    assert measurements.count == 3


def test_a_user_without_a_home_is_no_error(measurements: Measurements, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SECUREFED_CACHE")
    monkeypatch.setattr(Path, "home", staticmethod(homeless))
    assert in_a_new_process() == "gcm"
