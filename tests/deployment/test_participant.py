"""What a client refuses before anything is made, its deadline, and whose policy holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.aggregation import Adversary, Credentials, Policy, RoundSpec, SigningKey, Update
from securefed.deployment import FolderState, JobTerms, MemoryState, Participant, both
from securefed.errors import ConfigError, PersistenceError, RemoteProtocolError
from tests.deployment.parties import COHORT, SEMI_HONEST, Answer, Job, Requests, check_mean, model_of
from tests.rounds import identities, signing_key, spec_of

MANY = 60.0


def no_update() -> Update:
    raise AssertionError("nobody trains here")


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def first_requests(job: Job) -> Requests:
    """The offers of a round."""
    seen: dict[int, tuple[JobTerms, bytes]] = {}

    def listen(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        seen.update(requests)
        raise ConnectionError
        yield

    with pytest.raises(ConnectionError):
        job.run(job.coordinator(), 1, listen)
    return seen


def refusal(participant: Participant, terms: JobTerms, request: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        participant.answer(terms, request, no_update)
    assert caught.value.peer == 0
    return caught.value


def test_a_request_for_another_client_is_refused(tmp_path: Path) -> None:
    job = Job(tmp_path)
    terms, request = first_requests(job)[5]
    error = refusal(job.participant(3), terms, request)
    assert str(error) == "server: [R7] a request for client 5, this is 3"
    assert FolderState(job.client_folder(3)).sessions() is None


def test_a_client_whose_id_the_terms_say_keeps_it(tmp_path: Path) -> None:
    job = Job(tmp_path, "masks", SEMI_HONEST)
    requests, state = first_requests(job), MemoryState()
    participant = Participant(state, job.policy)
    participant.answer(*requests[3], no_update)
    assert refusal(participant, *requests[5]).rule == "R7"


def test_a_client_with_credentials_has_the_id_of_its_key(tmp_path: Path) -> None:
    job = Job(tmp_path)
    requests = first_requests(job)
    credentials = Credentials(signing_key(3), identities(COHORT))
    participant = Participant(FolderState(job.client_folder(3)), job.policy, credentials=credentials)
    assert refusal(participant, *requests[5]).rule == "R7"
    assert participant.answer(*requests[3], no_update)
    with pytest.raises(ConfigError, match="does not hold this client's own key"):
        Participant(MemoryState(), job.policy, credentials=Credentials(SigningKey(), identities(COHORT)))


def test_a_scheme_outside_the_policy_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    job = Job(tmp_path, "plain", SEMI_HONEST)
    terms, request = first_requests(job)[3]
    state = MemoryState()
    for policy in (Policy(), Policy(frozenset({"masks", "bfv"}), SEMI_HONEST)):
        error = refusal(Participant(state, policy, client=3), terms, request)
        assert error.rule == "O1"
        assert "scheme 'plain', this client takes part in" in error.detail
    assert state.sessions() is None


def test_terms_cannot_pass_one_scheme_off_as_another(tmp_path: Path) -> None:
    job = Job(tmp_path, "plain", SEMI_HONEST)
    terms, request = first_requests(job)[3]
    participant = Participant(MemoryState(), Policy(frozenset({"masks"}), SEMI_HONEST), client=3)
    assert refusal(participant, JobTerms("masks", terms.layout, 3), request).rule.startswith("W")


def test_a_malicious_server_is_refused_by_a_state_that_does_not_last(tmp_path: Path) -> None:
    job = Job(tmp_path)
    terms, request = first_requests(job)[3]
    credentials = Credentials(signing_key(3), identities(COHORT))
    error = refusal(Participant(MemoryState(), job.policy, credentials=credentials), terms, request)
    assert error.rule == "O1"
    assert "a state that outlives a restart" in error.detail


def test_a_malicious_server_is_refused_without_credentials(tmp_path: Path) -> None:
    job = Job(tmp_path)
    terms, request = first_requests(job)[3]
    error = refusal(Participant(FolderState(tmp_path / "new"), job.policy, client=3), terms, request)
    assert (error.rule, error.detail) == ("O1", "a round against a malicious server needs credentials")


def test_a_client_that_never_hears_again_destroys_its_secrets_at_its_deadline(tmp_path: Path) -> None:
    job, clock = Job(tmp_path), Clock()
    requests = first_requests(job)
    participant = job.participant(3, clock=clock, deadline=MANY)
    answer = participant.answer(*requests[3], no_update)
    folder = job.client_folder(3)
    kept = {path.name for path in folder.iterdir()}
    clock.now += MANY
    assert not participant.expire()
    assert participant.answer(*requests[3], no_update) == answer
    assert {path.name for path in folder.iterdir()} == kept
    clock.now += 1
    assert participant.expire()
    assert {path.name for path in folder.iterdir()} == {"record.jsonl", "record.jsonl.lock", "lock", "rounding.key"}
    assert participant.expire()


@pytest.mark.parametrize("moved", [MANY + 1, -MANY - 1], ids=["late", "clock-set-back"])
def test_a_request_behind_the_deadline_meets_no_session(moved: float, tmp_path: Path) -> None:
    job, clock = Job(tmp_path), Clock()

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        clock.now += moved if stage == "share" else 0
        for client, (terms, request) in requests.items():
            if client != 3:
                yield client, job.ask(client, terms, request)
                continue
            try:
                yield 3, job.participant(3, clock=clock, deadline=MANY).answer(terms, request, job.update(3))
            except RemoteProtocolError as error:
                yield 3, error

    report = job.run(job.coordinator(), 1, exchange)
    assert "[R1]" in report.refused[3]
    check_mean(report, model_of(1), (2, 5, 8))


def test_each_message_begins_the_deadline_anew(tmp_path: Path) -> None:
    job, clock = Job(tmp_path), Clock()

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        clock.now += MANY - 1
        for client, (terms, request) in requests.items():
            participant = job.participant(client, clock=clock, deadline=MANY)
            yield client, participant.answer(terms, request, job.update(client))

    check_mean(job.run(job.coordinator(), 1, exchange), model_of(1))


def test_a_second_process_waits_for_the_first_and_gets_its_answer(tmp_path: Path) -> None:
    job = Job(tmp_path)
    training, both_asked = threading.Event(), threading.Event()
    answers: list[Answer] = []

    def slow() -> Update:
        training.set()
        assert both_asked.wait(60)
        return job.update(3)()

    def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        if stage == "input":
            terms, request = requests[3]

            def first() -> None:
                answers.append(job.participant(3).answer(terms, request, slow))

            thread = threading.Thread(target=first)
            thread.start()
            assert training.wait(60)
            with pytest.raises(PersistenceError, match=r"\[P5\]"):
                job.participant(3).expire()
            both_asked.set()
            answers.append(job.participant(3).answer(terms, request, no_update))
            thread.join()
        yield from job.exchange(stage, requests)

    check_mean(job.run(job.coordinator(), 1, exchange), model_of(1))
    assert answers[0] == answers[1]
    assert job.trained.count(3) == 1


def test_what_makes_no_client_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="deadline: 0 seconds"):
        Participant(MemoryState(), Policy(), deadline=0)
    with pytest.raises(ConfigError, match=r"policy.schemes: no scheme is allowed"):
        Participant(MemoryState(), both(Policy(frozenset({"masks"})), Policy(frozenset({"bfv"}))))


@pytest.mark.parametrize("owner_first", [True, False])
def test_the_owner_and_the_job_must_both_agree(owner_first: bool, tmp_path: Path) -> None:
    job = Job(tmp_path)
    terms, request = first_requests(job)[3]
    strict = Policy(job.policy.schemes, job.policy.adversary, least_cohort=5, least_sum=1)
    policy = both(strict, job.policy) if owner_first else both(job.policy, strict)
    credentials = Credentials(signing_key(3), identities(COHORT))
    error = refusal(Participant(FolderState(tmp_path / "new"), policy, credentials=credentials), terms, request)
    assert (error.rule, "a cohort of 4, this client wants at least 5" in error.detail) == ("O1", True)


POLICIES = st.builds(
    Policy,
    st.frozensets(st.sampled_from(["masks", "bfv", "plain"])),
    st.builds(
        Adversary,
        st.sampled_from(["malicious", "semi-honest"]),
        st.sampled_from([0.0, 0.1, 0.25, 0.4]),
        st.sampled_from([0.0, 0.1]),
        st.integers(30, 50),
    ),
    st.integers(1, 6),
    st.integers(1, 6),
    st.none() | st.sampled_from([0.25, 0.5, 1.0]),
    st.integers(2, 20),
)


def takes_part(policy: Policy, scheme: str, spec: RoundSpec) -> bool:
    try:
        policy.check(scheme, spec)
    except RemoteProtocolError:
        return False
    return True


def sums(policy: Policy, least: int) -> bool:
    try:
        policy.check_sums(least)
    except RemoteProtocolError:
        return False
    return True


@given(POLICIES, POLICIES, st.sampled_from(["masks", "bfv", "plain"]), st.integers(2, 20), st.integers(1, 6))
def test_both_policies_take_part_in_what_each_takes_part_in(
    one: Policy, other: Policy, scheme: str, bits: int, least: int
) -> None:
    spec, policy = spec_of(bits=bits, greatest_weight=1), both(one, other)
    assert takes_part(policy, scheme, spec) is (takes_part(one, scheme, spec) and takes_part(other, scheme, spec))
    assert sums(policy, least) is (sums(one, least) and sums(other, least))
    # And its attributes say the same.
    plain = Policy(
        policy.schemes, policy.adversary, policy.least_cohort, policy.least_sum, policy.greatest_clip, policy.least_bits
    )
    assert takes_part(plain, scheme, spec) is takes_part(policy, scheme, spec)
    assert sums(plain, least) is sums(policy, least)


def test_nothing_secret_is_in_a_repr(tmp_path: Path) -> None:
    job = Job(tmp_path)
    participant = job.participant(3)
    participant.answer(*first_requests(job)[3], no_update)
    state = FolderState(job.client_folder(3))
    assert repr(participant) == f"Participant(client=3, state={state!r})"
    assert repr(state) == f"FolderState({str(job.client_folder(3))!r})"
    assert repr(MemoryState()) == "MemoryState(sessions=False)"


def test_sessions_that_cannot_be_taken_up_are_named_with_the_way_out(tmp_path: Path) -> None:
    job = Job(tmp_path)
    terms, request = first_requests(job)[3]
    job.participant(3).answer(terms, request, no_update)
    state = FolderState(job.client_folder(3))
    sessions = state.sessions()
    assert sessions is not None
    state.store(sessions[:-1], b"another", None)
    with pytest.raises(PersistenceError, match=r"\[P1\] FolderState\(.*client 3'\): .*expire CLIENT.toml --now"):
        job.participant(3).answer(terms, request, no_update)
    job.participant(3).leave()
    assert job.participant(3).answer(terms, request, no_update)
