"""Whole rounds through Participant and Coordinator: every scheme, losses, refusals, aborts, numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from securefed.aggregation import Adversary
from securefed.deployment import Coordinator, JobTerms
from securefed.deployment.client_state import MemoryState
from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import ConfigError, LocalProtocolError, PersistenceError, RemoteProtocolError, RoundAborted
from securefed.schemes import SCHEMES
from tests.deployment.parties import (
    ALL,
    COHORT,
    INTEGERS,
    LAYOUT,
    MALICIOUS,
    MASKS,
    SEMI_HONEST,
    START,
    Answer,
    Job,
    Requests,
    check_mean,
    model_of,
    stages_of,
    words_of,
)
from tests.rounds import identities, seed


@pytest.mark.parametrize(("scheme", "adversary"), ALL)
def test_rounds_give_the_mean_though_every_message_meets_a_new_process(
    scheme: str, adversary: Adversary, tmp_path: Path
) -> None:
    job = Job(tmp_path, scheme, adversary)
    for round_ in (1, 2, 3):
        # The server's process is a new one in each round too.
        report = job.run(job.coordinator(), round_)
        check_mean(report, model_of(round_))
        assert report.spec.round == START + round_
        assert (report.lost, report.refused) == ({}, {})
        assert set(report.bytes_up) == set(report.bytes_down) == set(COHORT)
    assert job.trained == [*COHORT] * 3


@pytest.mark.parametrize(("scheme", "adversary"), INTEGERS)
def test_all_schemes_of_integers_give_the_same_words(scheme: str, adversary: Adversary, tmp_path: Path) -> None:
    plain = Job(tmp_path / "plain", "plain", SEMI_HONEST)
    job = Job(tmp_path / scheme, scheme, adversary)
    one, other = plain.coordinator(), job.coordinator()
    for round_ in (1, 2):
        assert words_of(plain.run(one, round_)) == words_of(job.run(other, round_))


@pytest.mark.parametrize(("scheme", "adversary"), MASKS)
def test_a_masked_round_after_another_saves_the_exchanges_of_its_set_up(
    scheme: str, adversary: Adversary, tmp_path: Path
) -> None:
    job = Job(tmp_path, scheme, adversary)
    coordinator = job.coordinator()
    exchanges = [job.run(coordinator, round_).exchanges for round_ in (1, 2, 3)]
    exchanges.append(job.run(coordinator, 4, more=False).exchanges)
    first = len(stages_of(scheme, adversary))
    assert exchanges == [first, first - 2, first - 2, first - 2]
    assert job.run(coordinator, 5).exchanges == first, "nothing was expected after round 4"


@pytest.mark.parametrize(("scheme", "adversary"), ALL)
def test_a_client_that_is_lost_at_any_stage_is_reported_and_comes_back(
    scheme: str, adversary: Adversary, tmp_path: Path
) -> None:
    for stage in stages_of(scheme, adversary):
        job = Job(tmp_path / stage, scheme, adversary)
        coordinator = job.coordinator()
        job.run(coordinator, 1, more=False)
        report = job.run(coordinator, 2, job.without({8: stage}))
        stages, of = stages_of(scheme, adversary), SCHEMES[scheme]
        # Some exchanges are with the key holder alone, who is another client.
        missed = [later for later in stages[stages.index(stage) :] if later not in of.holder_stages]
        assert report.lost == ({8: missed[0]} if missed else {})
        counted = of.make().update_stage not in missed
        check_mean(report, model_of(2), COHORT if counted else COHORT[:-1])
        again = job.run(coordinator, 3)
        check_mean(again, model_of(3))
        assert not again.lost


def test_what_a_client_refuses_is_reported_with_its_rule(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        for client, answer in job.exchange(stage, requests):
            yield client, RemoteProtocolError("O1", "below the policy", 0) if client == 5 else answer

    report = job.run(job.coordinator(), 1, exchange)
    check_mean(report, model_of(1), (2, 3, 8))
    assert report.refused == {5: "client 5 refused: server: [O1] below the policy"}
    assert report.lost == {}


def test_an_answer_that_is_refused_is_reported_with_its_rule(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        for client, answer in job.exchange(stage, requests):
            yield client, b"nonsense" if (client, stage) == (3, "input") else answer
        if stage == "consent":
            yield 77, b"a stranger"

    report = job.run(job.coordinator(), 1, exchange)
    check_mean(report, model_of(1), (2, 5, 8))
    assert report.refused[3].startswith("client 3: [W1]")
    assert report.refused[77].startswith("client 77: [R6]")


def test_an_aborted_round_says_who_was_lost_and_its_next_attempt_has_a_higher_number(tmp_path: Path) -> None:
    job = Job(tmp_path)
    coordinator = job.coordinator()

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        for client, answer in job.without({2: "input", 3: "input"})(stage, requests):
            yield client, RemoteProtocolError("V1", "a NaN", client) if (client, stage) == (8, "input") else answer

    with pytest.raises(
        RoundAborted, match=r"client 2 was lost in input; client 3 was lost in input; client 8: \[V1\] a NaN"
    ):
        job.run(coordinator, 1, exchange)
    # Client 5 gave its input for the aborted attempt, and gives one for the next.
    report = job.run(coordinator)
    check_mean(report, model_of(1))
    assert report.spec.round == START + 2
    assert report.exchanges == 5


def test_a_server_that_restarts_after_an_abort_begins_a_new_attempt(tmp_path: Path) -> None:
    job = Job(tmp_path)
    with pytest.raises(RoundAborted):
        job.run(job.coordinator(), 1, job.without({2: "share", 3: "share"}))
    report = job.run(job.coordinator())
    assert report.spec.round == START + 2
    check_mean(report, model_of(1))


def test_a_round_of_another_model_cohort_or_layout_is_not_taken_up(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def stop(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        raise ConnectionError
        yield

    with pytest.raises(ConnectionError):
        job.run(job.coordinator(), 1, stop)
    assert job.run(job.coordinator(), 2).spec.round == START + 2
    with pytest.raises(ConnectionError):
        job.run(job.coordinator(), 3, stop)
    report = job.coordinator().run(COHORT[:3], LAYOUT, model_of(3), job.exchange)
    assert (report.spec.round, report.aggregate.survivors) == (START + 4, COHORT[:3])
    with pytest.raises(ConnectionError):
        job.run(job.coordinator(), 4, stop)
    other = Layout((TensorSpec("lora_A", (2, 3)),), ("loss",))
    with pytest.raises(RoundAborted, match=r"\[V2\] the update's tensors are not the layout's: unknown"):
        job.coordinator().run(COHORT, other, job.model, job.exchange)
    assert job.run(job.coordinator(), 5).spec.round == START + 7


def test_without_a_folder_numbers_begin_at_the_clock_and_a_stopped_round_goes_on_in_its_process(tmp_path: Path) -> None:
    job = Job(tmp_path, "masks", SEMI_HONEST)
    coordinator = Coordinator(
        "masks", SEMI_HONEST, bits=16, clip=1.0, greatest_weight=8, clock=lambda: 5_000_000.7
    )  # fmt: skip

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        yield from job.exchange(stage, requests)
        if stage == "input" and job.stages.count("input") == 1:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        job.run(coordinator, 1, exchange)
    report = job.run(coordinator)
    assert (report.spec.round, job.trained) == (5_000_001, [*COHORT])
    check_mean(report, model_of(1))
    assert not (tmp_path / "server").exists()


def test_clients_in_memory_take_part_where_the_server_is_trusted_to_follow(tmp_path: Path) -> None:
    job = Job(tmp_path, "masks", SEMI_HONEST)
    states = {client: MemoryState() for client in COHORT}

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        for client, (terms, request) in requests.items():
            yield client, job.participant(client, states[client]).answer(terms, request, job.update(client))

    coordinator = job.coordinator()
    for round_ in (1, 2):
        check_mean(job.run(coordinator, round_, exchange), model_of(round_))


def test_answers_that_come_in_any_order_give_the_same_words(tmp_path: Path) -> None:
    words = []
    for order in (1, -1):
        job = Job(tmp_path / str(order))

        def exchange(stage: str, requests: Requests, job: Job = job, order: int = order) -> list[tuple[int, Answer]]:
            return list(job.exchange(stage, requests))[::order]

        words.append(words_of(job.run(job.coordinator(), 1, exchange)))
    assert words[0] == words[1]


def test_a_round_that_cannot_be_takes_no_number(tmp_path: Path) -> None:
    job = Job(tmp_path)
    with pytest.raises(ConfigError, match="a cohort of 0 clients"):
        job.coordinator().run((), LAYOUT, model_of(1), job.exchange)
    assert job.run(job.coordinator()).spec.round == START + 1


def test_a_coordinator_names_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"scheme: 'mask' is none of masks, "):
        Coordinator("mask", MALICIOUS, bits=16, clip=1.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"folder: .*cannot be made"):
        Coordinator("masks", MALICIOUS, bits=16, clip=1.0, folder=tmp_path / "file")
    coordinator = Coordinator("masks", MALICIOUS, bits=16, clip=1.0, identities=identities(COHORT[:2]))
    with pytest.raises(ConfigError, match="identity key of client 5"):
        coordinator.run(COHORT, LAYOUT, model_of(1), Job(tmp_path).exchange)


def test_two_servers_on_one_folder_do_not_run_at_once(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        with pytest.raises(PersistenceError, match=r"\[P5\].*another server's"):
            job.run(job.coordinator())
        return job.exchange(stage, requests)

    check_mean(job.run(job.coordinator(), 1, exchange), model_of(1))


def test_a_server_sees_that_another_one_went_on_in_its_folder(tmp_path: Path) -> None:
    job = Job(tmp_path)
    first, second = job.coordinator(), job.coordinator()
    numbers = [job.run(which, round_).spec.round for round_, which in enumerate((first, second, first, second), 1)]
    assert numbers == [START + 1, START + 2, START + 3, START + 4]


def test_terms_and_requests_name_their_client(tmp_path: Path) -> None:
    job, seen = Job(tmp_path), []

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        seen.extend((client, terms) for client, (terms, _) in requests.items())
        return job.exchange(stage, requests)

    job.run(job.coordinator(), 1, exchange)
    assert all(terms == JobTerms("masks", LAYOUT, client) for client, terms in seen)


def test_a_restarted_server_reports_what_was_lost_before(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def stop(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        if stage == "consent":
            raise ConnectionError
        for client, answer in job.without({})(stage, requests):
            if client != 8:
                yield client, answer

    with pytest.raises(ConnectionError):
        job.run(job.coordinator(), 1, stop)
    report = job.run(job.coordinator())
    assert report.lost == {8: "advertise"}
    assert report.exchanges == 5
    check_mean(report, model_of(1), COHORT[:-1])
    assert report.spec.nonce != seed("nonce")


def test_answers_are_not_kept(tmp_path: Path) -> None:
    job, counts = Job(tmp_path, "masks", SEMI_HONEST), []

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        answers: list[Answer] = []
        for client, (terms, request) in requests.items():
            answers.append(job.ask(client, terms, request))
            yield client, answers[-1]
            if stage == "input" and len(answers) > 1:
                counts.append(sys.getrefcount(answers[-2]))

    check_mean(job.run(job.coordinator(), 1, exchange), model_of(1))
    # This list, and the call.
    assert counts == [2, 2, 2]


@pytest.mark.parametrize(
    "error",
    [ConnectionError(), LocalProtocolError("V1", "a NaN"), KeyboardInterrupt()],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("in_folder", [True, False])
def test_whatever_an_exchange_raises_the_round_can_be_taken_up(
    error: BaseException, in_folder: bool, tmp_path: Path
) -> None:
    job = Job(tmp_path)
    server = (
        job.coordinator()
        if in_folder
        else Coordinator(
            "masks", MALICIOUS, bits=16, clip=1.0, greatest_weight=8, identities=identities(COHORT), clock=lambda: START
        )
    )

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        yield from job.exchange(stage, requests)
        if stage == "consent":
            raise error

    with pytest.raises(type(error)):
        job.run(server, 1, exchange)
    report = job.run(server)
    assert (report.spec.round, sorted(job.trained)) == (START + 1, [*COHORT])
    check_mean(report, model_of(1))
