"""Who is lost while the next round is set up: the next round begins anew, and holds it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from securefed.aggregation import Adversary
from securefed.errors import RoundAborted
from securefed.secagg.stages import Stage
from securefed.wire.bundle import is_bundle, pack_bundle, parse_bundle
from securefed.wire.header import MessageType
from tests.chains.jobs import ANY, Job, kinds_in
from tests.rounds import COHORT, MALICIOUS, SEMI_HONEST
from tests.rules import refused
from tests.secagg.modes import both_modes, every_stage, stages_of

LOST = 5
LEFT = (2, 3, 8)


@every_stage
def test_a_client_that_is_lost(adversary: Adversary, stage: Stage) -> None:
    """In the first round, which has all stages. Whoever comes back is in the next one."""
    job = Job(adversary)
    first = job.round(1, {LOST: stage})
    job.check_sum(LEFT if stage in (Stage.ADVERTISE, Stage.SHARE, Stage.INPUT) else COHORT)
    assert job.round(2) == first
    job.check_sum()
    assert job.round(3) == first - 2
    job.check_sum()


@pytest.mark.parametrize(
    ("adversary", "stage"),
    [
        pytest.param(adversary, stage, id=f"{stage}-{'malicious' if adversary.malicious else 'semi-honest'}")
        for adversary in (MALICIOUS, SEMI_HONEST)
        for stage in stages_of(adversary)[2:]
    ],
)
def test_a_client_that_is_lost_in_a_prepared_round(adversary: Adversary, stage: Stage) -> None:
    job = Job(adversary)
    first = job.round(1)
    assert job.round(2, {LOST: stage}) == first - 2
    job.check_sum(LEFT if stage is Stage.INPUT else COHORT)
    assert job.round(3) == first
    job.check_sum()


@both_modes
@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.INPUT])
def test_no_message_is_spent_on_what_is_of_no_use(adversary: Adversary, stage: Stage) -> None:
    """Once somebody is missing in the next round's set-up, nothing of it is asked any more."""
    job = Job(adversary)
    job.round(1, {LOST: stage})
    assert job.seen[Stage.RELEASE] <= {(MessageType.AGREEMENT,), (MessageType.SURVIVORS,)}


@both_modes
def test_a_client_that_is_lost_for_long(adversary: Adversary) -> None:
    """Rounds go on without it, whole ones each time it is hoped for, prepared ones when it is not."""
    job = Job(adversary)
    first = job.round(1, {LOST: Stage.ADVERTISE})
    assert job.round(2, {LOST: Stage.ADVERTISE}) == first
    for number in (3, 4):
        job.begin(number, following=job.plan(number + 1, cohort=LEFT), cohort=LEFT)
        assert job.finish() == (first if number == 3 else first - 2)
        job.check_sum(LEFT)


@both_modes
@pytest.mark.parametrize("stage", [Stage.INPUT, Stage.RELEASE])
def test_an_abort_takes_the_next_set_up_with_it(adversary: Adversary, stage: Stage) -> None:
    job = Job(adversary)
    first = job.round(1)
    job.begin(2)
    gone = dict.fromkeys(LEFT, stage)
    with pytest.raises(RoundAborted):
        job.finish(gone)
    assert job.server._next is None
    assert job.round(3) == first
    job.check_sum()
    assert not job.refused
    assert job.round(4) == first - 2
    job.check_sum()


@both_modes
def test_a_round_again_under_its_number(adversary: Adversary) -> None:
    """Broken off before anybody gave an input: nothing stands against another attempt."""
    job = Job(adversary)
    job.begin(1)
    job.until(Stage.INPUT)
    job.begin(1)
    job.finish()
    job.check_sum()
    assert not job.refused


# Riders that do not come back.


def without_rider(job: Job, client: int, request: bytes) -> bytes:
    answer = job.ask(client, request)
    return bytes(parse_bundle(answer)[1]) if is_bundle(answer) else answer


def empty_rider(job: Job, client: int, request: bytes) -> bytes:
    answer = job.ask(client, request)
    return pack_bundle(b"", bytes(parse_bundle(answer)[1])) if is_bundle(answer) else answer


def garbage_rider(job: Job, client: int, request: bytes) -> bytes:
    return pack_bundle(b"SFED and no message", without_rider(job, client, request))


def of_client(broken: Callable[[Job, int, bytes], bytes]) -> Callable[[Job, int, bytes], bytes]:
    """One client answers so, the others as they should."""
    return lambda job, client, request: broken(job, client, request) if client == LOST else job.ask(client, request)


@both_modes
@pytest.mark.parametrize("broken", [without_rider, empty_rider, garbage_rider])
def test_a_rider_that_does_not_come_back(adversary: Adversary, broken: Callable[[Job, int, bytes], bytes]) -> None:
    """Of no account in the present round, the client's end in the next one, which begins anew for its sake."""
    job = Job(adversary)
    job.begin(1)
    first = job.finish(exchange=of_client(broken))
    job.check_sum()
    assert not job.refused
    assert job.round(2) == first
    job.check_sum()


@both_modes
def test_a_rider_of_another_client(adversary: Adversary) -> None:
    job = Job(adversary)
    job.begin(1)
    riders: list[bytes] = []

    def stolen(job: Job, client: int, request: bytes) -> bytes:
        answer = job.ask(client, request)
        if is_bundle(answer):
            rider, main = parse_bundle(answer)
            riders.append(rider)
            return pack_bundle(riders[0], bytes(main))
        return answer

    first = job.finish(exchange=stolen)
    job.check_sum()
    assert job.round(2) == first


@both_modes
def test_a_main_message_that_is_refused(adversary: Adversary) -> None:
    """Its rider is good, and not looked at: who is out of the present round is not in the set-up of the next."""
    job = Job(adversary)
    job.begin(1)

    def broken(job: Job, client: int, request: bytes) -> bytes:
        answer = job.ask(client, request)
        if client != LOST or not is_bundle(answer):
            return answer
        rider, main = parse_bundle(answer)
        return pack_bundle(rider, bytes(main)[:-1])

    first = job.finish(exchange=broken)
    assert job.refused == {LOST: "W8"}
    job.check_sum(LEFT)
    assert job.round(2) == first
    job.check_sum()


def test_a_rider_that_nobody_asked_for() -> None:
    """In an exchange that carries nothing: the main message counts."""
    job = Job()
    job.begin(1)
    assert job.finish(exchange=lambda job, c, r: r and pack_bundle(b"?", without_rider(job, c, r))) == 5
    job.check_sum()


@pytest.mark.rule("O1")
@both_modes
def test_a_rider_that_the_policy_refuses(adversary: Adversary) -> None:
    """The present round is not touched; the next one is refused when it is asked for aloud."""
    job, empty = Job(adversary, policies={LOST: replace(ANY, least_bits=9)}), []
    job.begin(1, following=job.plan(2, bits=8))

    def watched(job: Job, client: int, request: bytes) -> bytes:
        answer = job.ask(client, request)
        if None in kinds_in(answer):
            empty.append((client, kinds_in(request)[0]))
        return answer

    job.finish(exchange=watched)
    job.check_sum()
    assert empty == [(LOST, MessageType.OFFER)]
    job.begin(2, following=False, bits=8)
    request = job.server.requests()[LOST]
    with refused("O1"):
        job.ask(LOST, request)
