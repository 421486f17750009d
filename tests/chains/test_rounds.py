"""Rounds that follow each other: in the steady state their set-up costs no exchange; the sums are what they were."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from securefed.aggregation import Adversary
from securefed.errors import ConfigError
from securefed.secagg import PairwiseMasks
from securefed.secagg.stages import Stage
from securefed.wire import from_server
from securefed.wire.bundle import is_bundle, parse_bundle
from securefed.wire.from_client import Entry
from securefed.wire.header import HEADER_BYTES, Header, MessageType
from securefed.wire.specification import NAMED_LATER
from tests.chains.jobs import Job, model_of
from tests.rounds import COHORT, MALICIOUS, SEMI_HONEST
from tests.secagg.modes import both_modes
from tests.secagg.sparse import FORTY, FORTY_TRUSTING, cohort_of

EXCHANGES = {MALICIOUS: [5, 3, 3, 3], SEMI_HONEST: [4, 2, 2, 2]}
Kind = MessageType


@both_modes
def test_the_exchanges_of_a_round(adversary: Adversary) -> None:
    job, exchanges = Job(adversary), []
    for number in range(1, 5):
        exchanges.append(job.round(number))
        job.check_sum()
        assert not job.refused
    assert exchanges == EXCHANGES[adversary]
    assert job.trained == [(client, number) for number in range(1, 5) for client in COHORT]


@both_modes
def test_without_a_guess_every_round_is_a_whole_one(adversary: Adversary) -> None:
    job = Job(adversary)
    for number in (1, 2):
        job.begin(number, following=False)
        assert job.finish() == EXCHANGES[adversary][0]
        job.check_sum()
        assert all(len(kinds) == 1 for kinds in set().union(*job.seen.values()))


@both_modes
def test_the_last_round_carries_nothing(adversary: Adversary) -> None:
    job = Job(adversary)
    job.round(1)
    job.begin(2, following=False)
    assert job.finish() == EXCHANGES[adversary][1]
    job.check_sum()
    assert job.seen[Stage.INPUT] == {(Kind.NAMED_DELIVERY,)}


def test_what_rides_on_what() -> None:
    job = Job()
    job.round(1)
    assert job.seen == {
        Stage.ADVERTISE: {(Kind.OFFER,)},
        Stage.SHARE: {(Kind.ROSTER,)},
        Stage.INPUT: {(Kind.OFFER, Kind.DELIVERY)},
        Stage.CONSENT: {(Kind.SURVIVORS,)},
        Stage.RELEASE: {(Kind.ROSTER, Kind.AGREEMENT)},
    }
    job.round(2)
    assert job.seen == {
        Stage.INPUT: {(Kind.OFFER, Kind.NAMED_DELIVERY)},
        Stage.CONSENT: {(Kind.SURVIVORS,)},
        Stage.RELEASE: {(Kind.ROSTER, Kind.AGREEMENT)},
    }


@pytest.mark.parametrize("adversary", [FORTY, FORTY_TRUSTING], ids=["malicious", "semi-honest"])
def test_in_a_sparse_graph(adversary: Adversary) -> None:
    job = Job(adversary, cohort_of(40))
    assert [job.round(number) for number in (1, 2, 3)] == ([5, 3, 3] if adversary.malicious else [4, 2, 2])
    job.check_sum()


def test_every_round_has_secrets_of_its_own() -> None:
    """Sessions, public keys and promises are fresh, whether they ride or not."""
    job, sent = Job(), []

    def keep(job: Job, client: int, request: bytes) -> bytes:
        answer = job.ask(client, request)
        for message in map(bytes, parse_bundle(answer) if is_bundle(answer) else (answer,)):
            if Header.parse(message).type is Kind.ADVERTISEMENT:
                entry = Entry.parse(message[HEADER_BYTES:])
                sent.extend([entry.channel, entry.mask, entry.promise])
        return answer

    for number in (1, 2, 3):
        job.begin(number)
        sent.append(job.server.spec.session)
        job.finish(exchange=keep)
    assert len(set(sent)) == len(sent) == 3 + 3 * 4 * len(COHORT)


@both_modes
def test_all_go_away_and_come_back_at_every_step(adversary: Adversary) -> None:
    """Between all messages, the steps from one round to the next among them."""
    job, exchanges = Job(adversary), []
    for number in (1, 2, 3):
        job.begin(number)
        exchanges.append(job.finish(between=Job.restart))
        job.check_sum()
    assert exchanges == EXCHANGES[adversary][:3]


@both_modes
def test_one_restarts_in_mid_stage(adversary: Adversary) -> None:
    """The server forgets nobody who answered, and asks nobody twice; riders of those that answered are kept."""
    job = Job(adversary)

    def restart_first(job: Job, client: int, request: bytes) -> bytes:
        job.restart((client,))
        assert job.server.requests()[client] == request
        answer = job.ask(client, request)
        job.restart((client,))
        return answer

    assert [job.round(number, exchange=restart_first) for number in (1, 2, 3)] == EXCHANGES[adversary][:3]
    job.check_sum()
    assert not job.refused


@both_modes
def test_the_model_of_a_round(adversary: Adversary) -> None:
    """Named in time, whether the specification has it or the delivery."""
    job = Job(adversary)
    for number in (1, 2):
        spec = job.begin(number)
        assert spec is job.server.spec
        assert spec.model == (model_of(1) if number == 1 else NAMED_LATER)
        assert job.server.model == model_of(number)
        job.restart(())
        assert job.server.model == model_of(number)
        job.finish()


# Guesses.

WRONG: dict[str, dict[str, Any]] = {
    "another number": {"round_number": 9},
    "one client less": {"cohort": COHORT[:3]},
    "another adversary": {"adversary": Adversary("malicious", corrupt=0.25, dropouts=0.0)},
    "more bits": {"bits": 17},
    "another clip": {"clip": 0.25},
    "another weight": {"greatest_weight": 99},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_guess_costs_its_messages(wrong: str) -> None:
    job = Job()
    job.begin(1, following=job.plan(2, **WRONG[wrong]))
    job.finish()
    job.check_sum()
    assert job.round(2) == 5
    job.check_sum()
    assert not job.refused
    assert job.round(3) == 3
    job.check_sum()


def test_the_cohort_of_a_plan_has_no_order() -> None:
    job = Job()
    job.begin(1, following=job.plan(2, cohort=COHORT[::-1]))
    job.finish()
    assert job.round(2) == 3


def test_rounds_between_which_clients_come_and_go() -> None:
    """A guess that knows it saves the exchanges all the same, with other riders than main messages."""
    job = Job()
    job.begin(1, following=job.plan(2, cohort=(2, 3, 5)), cohort=(2, 3, 5, 8))
    job.finish()
    job.begin(2, following=job.plan(3), cohort=(2, 3, 5))
    assert job.finish() == 3
    job.check_sum((2, 3, 5))
    # 8 is not in the present round: nothing can ride to it, and the round with it begins anew.
    assert job.round(3) == 5
    job.check_sum()


@pytest.mark.parametrize("model", [NAMED_LATER, b"", model_of(2)[:31]], ids=["zeros", "nothing", "too short"])
@pytest.mark.parametrize("prepared", [False, True])
def test_a_model_that_is_none(model: bytes, prepared: bool) -> None:
    """Nothing has begun then, and nothing is lost."""
    job = Job()
    job.begin(1, following=prepared)
    job.finish()
    before = job.server.snapshot()
    with pytest.raises(ConfigError) as caught:
        job.server.begin(job.plan(2), model, job.plan(3))
    assert caught.value.key == "model"
    assert job.server.snapshot() == before
    assert job.round(2) == (3 if prepared else 5)
    job.check_sum()


@pytest.mark.parametrize(
    ("plan", "following"),
    [({"clip": -1.0}, {}), ({}, {"clip": -1.0}), ({"cohort": (2, 3, 5, 9)}, {}), ({}, {"cohort": (2, 3, 5, 9)})],
)
def test_a_plan_that_cannot_be(plan: dict[str, Any], following: dict[str, Any]) -> None:
    """Out of bounds, or with a client that the identity roster does not hold: nothing has begun."""
    job = Job()
    job.round(1)
    before = job.server.snapshot()
    with pytest.raises(ConfigError):
        job.server.begin(job.plan(2, **plan), model_of(2), job.plan(3, **following))
    assert job.server.snapshot() == before
    assert job.round(2) == 3
    job.check_sum()


def test_no_round_has_begun() -> None:
    with pytest.raises(ValueError, match="no round has begun"):
        Job().server.requests()


# Work.


def test_a_server_encodes_nothing_when_an_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer costs no more in a large cohort than in a small one: requests are made where they are asked for."""
    job, calls = Job(), []
    job.begin(1)
    for kind in ("Offer", "Roster", "Delivery", "NamedDelivery", "Agreement", "Survivors"):
        encode = getattr(from_server, kind).encode

        def counted(*args: Any, of: Any = encode, **rest: Any) -> bytes:
            calls.append(of)
            return of(*args, **rest)

        monkeypatch.setattr(getattr(from_server, kind), "encode", counted)
    while job.server.aggregate is None:
        answers = {client: job.ask(client, request) for client, request in job.server.requests().items()}
        calls.clear()
        for client, answer in answers.items():
            job.server.receive(client, answer)
        assert not calls
        job.server.advance()


def test_carriers_leave_the_present_round_as_it_is() -> None:
    """The riders taken off, the messages of a round are those of a round without them."""
    scheme = PairwiseMasks()
    assert set(scheme.carriers) < set(scheme.stages)
    job = Job()
    job.begin(1)
    alone = copy.deepcopy(job.server)
    alone._next = None
    job.until(Stage.INPUT)
    for client, request in job.server.requests().items():
        assert request.endswith(job.server._present[1].requests()[client])
