"""A client that is killed at any moment answers again, or is out of that one round where its record says so."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securefed.aggregation import Adversary, Update
from securefed.deployment import FolderState, JobTerms, folder_state
from securefed.errors import LocalProtocolError, RemoteProtocolError, SecurefedError
from securefed.participation import INPUT
from tests.deployment.parties import (
    ALL,
    COHORT,
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

VICTIM = 3
CLAIMED = {"masks": ("input", "consent", "release"), "bfv": ("input",), "ckks-compact": ("input",), "plain": ()}
"""Stages whose answer the record holds once."""


class Crash:
    """The victim's process ends in one stage of one round, once; its engine then hands the request to a new one."""

    def __init__(self, job: Job, stage: str) -> None:
        self.job, self.stage, self.armed = job, stage, False
        self.crashed = 0

    def exchange(self, stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        for client, (terms, request) in requests.items():
            self.armed = client == VICTIM and stage == self.stage and not self.crashed
            try:
                yield client, self.job.ask(client, terms, request)
            except Killed:
                yield client, self.job.ask(client, terms, request)
            self.armed = False

    def now(self) -> None:
        if self.armed:
            self.armed = False
            self.crashed += 1
            raise Killed


def crash_in_training(crash: Crash, patched: pytest.MonkeyPatch) -> None:
    train = crash.job.update

    def dying(client: int) -> Callable[[], Update]:
        def update() -> Update:
            crash.now()
            return train(client)()

        return update

    patched.setattr(crash.job, "update", dying)


def crash_before_storing(crash: Crash, patched: pytest.MonkeyPatch) -> None:
    store = FolderState.store

    def dying(*args: Any) -> None:
        crash.now()
        store(*args)

    patched.setattr(FolderState, "store", dying)


def crash_in_mid_store(crash: Crash, patched: pytest.MonkeyPatch) -> None:
    write = folder_state.write_stored

    def dying(*args: Any) -> None:
        crash.now()
        write(*args)

    patched.setattr(folder_state, "write_stored", dying)


def crash_before_sending(crash: Crash, patched: pytest.MonkeyPatch) -> None:
    store = FolderState.store

    def dying(*args: Any) -> None:
        store(*args)
        crash.now()

    patched.setattr(FolderState, "store", dying)


@pytest.mark.parametrize("prepared", [False, True], ids=["first-round", "prepared-round"])
@pytest.mark.parametrize(
    "kill", [crash_in_training, crash_before_storing, crash_in_mid_store, crash_before_sending]
)  # fmt: skip
@pytest.mark.parametrize(("scheme", "adversary"), ALL)
def test_a_client_that_is_killed_in_any_stage(
    scheme: str,
    adversary: Adversary,
    kill: Callable[[Crash, pytest.MonkeyPatch], None],
    prepared: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed = Job(tmp_path / "undisturbed", scheme, adversary)
    server = undisturbed.coordinator()
    wanted = {round_: words_of(undisturbed.run(server, round_)) for round_ in (1, 2, 3)}
    for stage in stages_of(scheme, adversary):
        job = Job(tmp_path / stage, scheme, adversary)
        server, round_ = job.coordinator(), 1
        if prepared:
            job.run(server)
            round_ = 2
        crash = Crash(job, stage)
        with monkeypatch.context() as patched:
            kill(crash, patched)
            report = job.run(server, round_, crash.exchange)
        out = crash.crashed and stage in CLAIMED[scheme] and kill in (crash_before_storing, crash_in_mid_store)
        if out:
            assert report.refused == {VICTIM: report.refused[VICTIM]}
            assert "[R10]" in report.refused[VICTIM]
            counted = stage != "input"
            clients = COHORT if counted else tuple(client for client in COHORT if client != VICTIM)
            check_mean(report, model_of(round_), clients)
        else:
            assert report.refused == {}
            assert words_of(report) == wanted[round_]
        # And nothing else: it is in the next round again.
        after = job.run(server, round_ + 1)
        assert (after.lost, after.refused) == ({}, {})
        assert after.spec.round == START + round_ + 1
        assert words_of(after) == wanted[round_ + 1]


@pytest.mark.parametrize(("scheme", "adversary"), ALL)
def test_the_same_request_gets_the_same_answer_and_nothing_is_trained_twice(
    scheme: str, adversary: Adversary, tmp_path: Path
) -> None:
    job = Job(tmp_path, scheme, adversary)

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        answers = dict(job.exchange(stage, requests))
        for client, (terms, request) in requests.items():
            for _ in range(2):
                assert job.ask(client, terms, request) == answers[client]
        yield from answers.items()

    server = job.coordinator()
    for round_ in (1, 2):
        check_mean(job.run(server, round_, exchange), model_of(round_))
    assert sorted(job.trained) == sorted(COHORT * 2)


def test_an_older_request_once_more_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    job, sent = Job(tmp_path), []

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        yield from job.exchange(stage, requests)
        for terms, request in sent:
            error = job.ask(VICTIM, terms, request)
            assert isinstance(error, RemoteProtocolError)
            assert error.rule == "R4"
        terms, request = requests[VICTIM]
        sent.append((terms, request))
        assert isinstance(job.ask(VICTIM, terms, request), bytes), "the last answer is still there"

    server = job.coordinator()
    for round_ in (1, 2):
        report = job.run(server, round_, exchange)
        assert (report.lost, report.refused) == ({}, {})


def test_messages_that_are_of_no_session_do_no_harm(tmp_path: Path) -> None:
    job, other = Job(tmp_path / "job"), Job(tmp_path / "other")
    foreign: list[tuple[JobTerms, bytes]] = []

    def listen(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        foreign.append(requests[VICTIM])
        return other.exchange(stage, requests)

    other.run(other.coordinator(), 1, listen)

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        terms, request = requests[VICTIM]
        answers = dict(job.exchange(stage, requests))
        for strange in (b"", b"nonsense", *(message for _, message in foreign[1:])):
            assert isinstance(job.ask(VICTIM, terms, strange), SecurefedError)
        assert job.ask(VICTIM, terms, request) == answers[VICTIM]
        yield from answers.items()

    report = job.run(job.coordinator(), 1, exchange)
    assert (report.lost, report.refused) == ({}, {})


def test_training_that_fails_can_be_tried_again(tmp_path: Path) -> None:
    job, failed = Job(tmp_path), []

    def failing() -> Update:
        failed.append(1)
        raise MemoryError

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        if stage == "input":
            terms, request = requests[VICTIM]
            with pytest.raises(MemoryError):
                job.participant(VICTIM).answer(terms, request, failing)
        return job.exchange(stage, requests)

    report = job.run(job.coordinator(), 1, exchange)
    assert (report.refused, failed) == ({}, [1])
    check_mean(report, model_of(1))


def test_an_update_that_cannot_be_sent_ends_the_round_for_its_client(tmp_path: Path) -> None:
    job = Job(tmp_path)
    asked: list[Answer] = []

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        for client, (terms, request) in requests.items():
            if (client, stage) == (VICTIM, "input"):
                job.model = model_of(99)
                asked.extend(job.ask(client, terms, request) for _ in range(2))
                job.model = model_of(1)
                yield client, asked[0]
            else:
                yield client, job.ask(client, terms, request)

    report = job.run(job.coordinator(), 1, exchange)
    assert report.refused[VICTIM].startswith(f"client {VICTIM} refused: [V9]")
    # The session is closed on the disk too: it is not asked for another update.
    first, again = asked
    assert isinstance(first, LocalProtocolError)
    assert isinstance(again, RemoteProtocolError)
    assert (first.rule, again.rule) == ("V9", "R5")
    assert job.trained.count(VICTIM) == 1


def test_a_folder_that_was_rolled_back_is_found_out_by_the_newer_record(tmp_path: Path) -> None:
    job, old = Job(tmp_path, "masks", MALICIOUS), {}

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        folder = job.client_folder(VICTIM)
        if stage == "input":
            old.update({path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".bin"})
        yield from job.exchange(stage, requests)
        if stage == "input":
            terms, request = requests[VICTIM]
            for name, content in old.items():
                (folder / name).write_bytes(content)
            error = job.ask(VICTIM, terms, request)
            assert isinstance(error, LocalProtocolError)
            assert error.rule == "R10"

    report = job.run(job.coordinator(), 1, exchange)
    # Its input was given, so it is in the sum; it consents to nothing any more.
    check_mean(report, model_of(1))
    assert "[R10]" in report.refused[VICTIM]
    assert FolderState(job.client_folder(VICTIM)).record.last_round == START + 1
    with pytest.raises(LocalProtocolError, match=r"\[R10\]"):
        FolderState(job.client_folder(VICTIM)).record.claim(INPUT, START + 1, bytes(32))


TRAINS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from securefed.deployment import JobTerms
from tests.deployment.parties import Job

def dies():
    os.kill(os.getpid(), signal.SIGKILL)

folder, terms, request = map(Path, sys.argv[1:])
job = Job(folder)
job.participant(3).answer(JobTerms.from_json(terms.read_text()), request.read_bytes(), dies)
"""


def test_a_process_that_is_killed_in_training_leaves_lock_and_state_as_they_were(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        if stage == "input":
            terms, request = requests[VICTIM]
            (tmp_path / "terms").write_text(terms.to_json())
            (tmp_path / "request").write_bytes(request)
            files = [str(tmp_path), str(tmp_path / "terms"), str(tmp_path / "request")]
            done = subprocess.run([sys.executable, "-c", TRAINS_AND_DIES, *files], check=False)
            assert done.returncode == -signal.SIGKILL
        return job.exchange(stage, requests)

    report = job.run(job.coordinator(), 1, exchange)
    assert report.refused == {}
    check_mean(report, model_of(1))
