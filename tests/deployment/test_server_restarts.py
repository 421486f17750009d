"""A server that is killed at any moment takes the round up where it was, and ends it with the same sum."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securefed.aggregation import Adversary
from securefed.deployment import RoundReport, coordinator, round_store
from securefed.errors import PersistenceError
from securefed.federated import files
from tests.deployment.parties import (
    ALL,
    COHORT,
    INTEGERS,
    MALICIOUS,
    START,
    Answer,
    Job,
    Killed,
    Requests,
    check_mean,
    model_of,
    stages_of,
    words_of,
)

ROUNDS = (1, 2)


def undisturbed(folder: Path, scheme: str, adversary: Adversary) -> list[list[int]]:
    job = Job(folder, scheme, adversary)
    server = job.coordinator()
    return [words_of(job.run(server, round_)) for round_ in ROUNDS]


def killed_at(job: Job, round_: int, exchange_number: int, answers: int) -> RoundReport | None:
    """Run a round whose server is killed in one of its exchanges, behind so many answers; a report if it has fewer."""
    begun = 0

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        nonlocal begun
        begun += 1
        for number, (client, answer) in enumerate(job.exchange(stage, requests)):
            # The client has answered: what it sent is lost with the server.
            if begun == exchange_number and number == answers:
                raise Killed
            yield client, answer
        if begun == exchange_number:
            raise Killed

    try:
        return job.run(job.coordinator(), round_, exchange)
    except Killed:
        return None


@pytest.mark.parametrize(
    ("answers", "every_answer"), [(0, False), (2, False), (2, True), (len(COHORT), False)],
    ids=["none", "two-lost", "two-stored", "all-lost"],
)  # fmt: skip
@pytest.mark.parametrize(("scheme", "adversary"), INTEGERS)
def test_a_server_that_is_killed_in_any_exchange_ends_with_the_same_words(
    scheme: str, adversary: Adversary, answers: int, every_answer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_STORING", 0.0 if every_answer else 1e9)
    wanted = undisturbed(tmp_path / "undisturbed", scheme, adversary)
    for exchange_number in range(1, len(stages_of(scheme, adversary)) + 1):
        job = Job(tmp_path / str(exchange_number), scheme, adversary)
        words = []
        for round_ in ROUNDS:
            report = killed_at(job, round_, exchange_number, answers) or job.run(job.coordinator(), round_)
            assert report.spec.round == START + round_
            assert (report.lost, report.refused) == ({}, {})
            words.append(words_of(report))
        assert words == wanted
        assert sorted(job.trained) == sorted(COHORT * len(ROUNDS)), "a client trained twice"


@pytest.mark.parametrize(("scheme", "adversary"), ALL)
def test_a_server_that_is_killed_before_or_behind_any_of_its_writes_ends_the_round(
    scheme: str, adversary: Adversary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for behind in (False, True):
        for number in range(1, 40):
            job = Job(tmp_path / f"{behind} {number}", scheme, adversary)
            job.run(job.coordinator(), 1)
            with monkeypatch.context() as patched:
                written = kill_at_write(patched, number, behind)
                try:
                    job.run(job.coordinator(), 2)
                except Killed:
                    pass
                else:
                    assert number > written[0]
                    break
            report = job.run(job.coordinator(), 2)
            check_mean(report, model_of(2))
            assert sorted(job.trained) == sorted(COHORT * 2), "a client trained twice"
        assert number > len(stages_of(scheme, adversary)) - 2


def kill_at_write(patched: pytest.MonkeyPatch, number: int, behind: bool) -> list[int]:
    written, write = [0], round_store.write_stored

    def dying(*args: Any) -> None:
        written[0] += 1
        if written[0] < number:
            write(*args)
            return
        if behind:
            write(*args)
        raise Killed

    patched.setattr(round_store, "write_stored", dying)
    return written


def test_a_server_that_restarts_behind_a_finished_round_gives_its_aggregate_again(tmp_path: Path) -> None:
    job = Job(tmp_path)
    first = job.run(job.coordinator())
    again = job.run(job.coordinator())
    assert words_of(again) == words_of(first)
    assert (again.spec, again.exchanges, again.bytes_up) == (first.spec, first.exchanges, first.bytes_up)
    assert len(job.stages) == first.exchanges, "something was sent"


def test_a_server_that_lives_on_begins_anew_with_the_same_model(tmp_path: Path) -> None:
    job = Job(tmp_path)
    server = job.coordinator()
    assert [job.run(server).spec.round for _ in ROUNDS] == [START + 1, START + 2]


def test_a_round_whose_successor_has_a_number_is_not_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path)
    server = job.coordinator()
    job.run(server)
    with monkeypatch.context() as patched:
        kill_at_write(patched, 1, behind=True)  # the number is written, the new round's state is not
        with pytest.raises(Killed):
            job.run(server)
    assert job.run(job.coordinator()).spec.round == START + 3


def test_the_number_is_on_disk_before_a_request_leaves_and_never_goes_back(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def look(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        assert round_store.RoundStore(tmp_path / "server").number == START + 1
        raise ConnectionError
        yield

    with pytest.raises(ConnectionError):
        job.run(job.coordinator(), 1, look)
    (tmp_path / "server" / "round.bin").unlink()
    assert job.run(job.coordinator()).spec.round == START + 2


@pytest.mark.parametrize("name", ["number.bin", "round.bin"])
def test_a_damaged_file_of_the_server_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    job = Job(tmp_path, "plain", MALICIOUS)
    job.run(job.coordinator())
    path = tmp_path / "server" / name
    raw = path.read_bytes()
    for at in range(0, len(raw), 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(PersistenceError, match=rf"\[P1\] .*{name} is damaged: (delete it, and|restore)"):
            job.run(job.coordinator())
    path.write_bytes(raw)
    job.run(job.coordinator())


def test_a_whole_file_of_a_round_that_does_not_hold_together_is_refused(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.run(job.coordinator())
    store = round_store.RoundStore(tmp_path / "server")
    stored = store.load()
    assert stored is not None
    for head, snapshot in (({**stored[0], "tally": {}}, stored[1]), (stored[0], stored[1][:-1]), (stored[0], b"")):
        store.store(head, snapshot)
        with pytest.raises(PersistenceError, match=r"round.bin does not hold together: delete it"):
            job.run(job.coordinator())


def test_a_full_disk_stops_the_round_before_anything_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path)
    server = job.coordinator()
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(PersistenceError, match=r"\[P4\] .*No space left"):
            job.run(server)
    assert job.stages == []
    check_mean(job.run(server), model_of(1))


def full(handle: int) -> None:
    raise OSError(28, "No space left on device")


def test_files_of_the_server_are_its_own(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.run(job.coordinator())
    assert (tmp_path / "server").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "server").iterdir()} == {0o600}
