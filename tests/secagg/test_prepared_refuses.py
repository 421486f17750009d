"""What client and server refuse in a round whose model is named after its set-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from securefed.aggregation import Adversary, Update
from securefed.errors import LocalProtocolError, RemoteProtocolError, RoundAborted
from securefed.participation import INPUT
from securefed.secagg import PairwiseMasks
from securefed.secagg.stages import Stage, expected_from
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Consent
from securefed.wire.header import SERVER
from securefed.wire.specification import NAMED_LATER
from tests.rounds import (
    COHORT,
    MODEL,
    Round,
    seed,
    signing_key,
    spec_of,
    update_of,
)
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.lies import VICTIM
from tests.secagg.modes import both_modes
from tests.secagg.prepared import encoded, named_delivery, pairs_of, prepared_spec, set_up

SCHEME = PairwiseMasks()
OTHER = seed("another model")


def none() -> Update:
    raise AssertionError("nothing is trained for a request that is refused")


# What a client refuses.


@pytest.mark.rule("R12")
@both_modes
def test_r12_a_delivery_that_names_nothing(adversary: Adversary) -> None:
    round_ = Round(prepared_spec(adversary=adversary)).until(Stage.INPUT)
    with refused("R12", peer=SERVER):
        round_.clients[VICTIM].reply(encoded(round_, named_delivery(round_, NAMED_LATER)), none)
    with refused("R5", peer=SERVER):
        round_.clients[VICTIM].reply(encoded(round_, named_delivery(round_)), none)
    assert round_.clients[VICTIM]._identity.record.last_round == -1


@pytest.mark.rule("R12")
def test_r12_comes_behind_the_wire_and_before_the_record() -> None:
    for change, rule in (({VICTIM: True}, "W10"), ({}, "R12")):
        round_ = Round(prepared_spec()).until(Stage.INPUT)
        round_.clients[VICTIM]._identity.record.claim(INPUT, round_.spec.round, seed("another session"))
        bad = named_delivery(round_, NAMED_LATER)
        if change:
            bad.delivery.senders[VICTIM] = bad.delivery.senders[5]
        with refused(rule, peer=SERVER):
            round_.clients[VICTIM].reply(encoded(round_, bad), none)


@pytest.mark.rule("R11")
@pytest.mark.parametrize("given", [7, 8])
def test_r11_the_record_holds_an_input_by_now(given: int) -> None:
    """Between the set-up and the name another session of this round, or a later round, got an input."""
    round_ = Round(prepared_spec()).until(Stage.INPUT)
    assert round_.spec.round == 7
    round_.clients[VICTIM]._identity.record.claim(INPUT, given, seed("another session"))
    bad = replace(named_delivery(round_).delivery, shared=(2,))
    with refused("R11", peer=SERVER):
        round_.clients[VICTIM].reply(encoded(round_, replace(named_delivery(round_), delivery=bad)), none)


def test_an_input_of_an_earlier_round_does_not_matter() -> None:
    """That is the usual case: the round before has its input while this one is set up."""
    round_ = Round(prepared_spec()).until(Stage.INPUT)
    round_.clients[VICTIM]._identity.record.claim(INPUT, 6, seed("the round before"))
    assert round_.ask(VICTIM)


@pytest.mark.rule("R8")
def test_r8_as_of_any_delivery() -> None:
    round_ = Round(prepared_spec()).until(Stage.INPUT)
    bad = replace(named_delivery(round_).delivery, shared=(2, 5, 8))
    with refused("R8", peer=SERVER):
        round_.clients[VICTIM].reply(encoded(round_, replace(named_delivery(round_), delivery=bad)), none)


@pytest.mark.rule("R4")
def test_r4_each_round_has_its_own_delivery() -> None:
    prepared, known = Round(prepared_spec()).until(Stage.INPUT), Round(spec_of()).until(Stage.INPUT)
    plain_delivery = named_delivery(prepared).delivery.encode(
        expected_from(prepared.spec, SERVER), prepared.spec.cohort
    )  # fmt: skip
    with refused("R4", peer=SERVER):
        prepared.clients[VICTIM].reply(plain_delivery, none)
    of_known = replace(named_delivery(Round(prepared_spec()).until(Stage.INPUT)), delivery=lies.good_delivery(known))
    with refused("R4", peer=SERVER):
        known.clients[VICTIM].reply(encoded(known, of_known), none)


@pytest.mark.rule("R4")
def test_r4_a_second_name() -> None:
    """One mask a session, whatever it is called."""
    round_ = Round(prepared_spec()).until(Stage.INPUT)
    other = encoded(round_, named_delivery(round_, OTHER))
    assert round_.ask(VICTIM)
    with refused("R4", peer=SERVER):
        round_.clients[VICTIM].reply(other, none)


@pytest.mark.rule("R10")
def test_r10_a_second_name_over_a_restart() -> None:
    """The record is by the session, not by the name; and R11 sees it before any training."""
    round_ = Round(prepared_spec()).until(Stage.INPUT)
    identity, stored = round_.clients[VICTIM]._identity, round_.clients[VICTIM].snapshot()
    copied = SCHEME.resume_client(identity, stored)
    other = encoded(round_, named_delivery(round_, OTHER))
    assert round_.ask(VICTIM)
    with refused("R10"):
        SCHEME.resume_client(identity, stored)
    with refused("R11", peer=SERVER):
        copied.reply(other, none)


@pytest.mark.rule("R10")
def test_r10_claims_are_by_the_session() -> None:
    """Steps of all names of one session are one step."""
    round_ = Round(prepared_spec())
    round_.until(Stage.DONE)
    record = round_.clients[VICTIM]._identity.record
    for step in (INPUT, "consent", "release"):
        with refused("R10"):
            record.claim(step, 99, round_.spec.session)


@pytest.mark.rule("V9")
@pytest.mark.parametrize("trained_from", [OTHER, NAMED_LATER], ids=["another", "zeros"])
def test_v9_the_named_model_counts(trained_from: bytes) -> None:
    round_ = Round(prepared_spec()).until(Stage.INPUT)
    with refused("V9"):
        round_.clients[VICTIM].reply(
            round_.server.requests()[VICTIM], lambda: replace(update_of(VICTIM), model=trained_from)
        )


@pytest.mark.rule("C1")
def test_c1_a_consent_to_another_name() -> None:
    """To the same sets of the same session: neither server nor client takes it."""
    round_ = Round(prepared_spec()).until(Stage.CONSENT)
    everyone = pack_set(COHORT, COHORT)
    wrong = {
        client: signing_key(client).sign(pairs_of(round_, OTHER).consent(everyone, everyone)) for client in COHORT
    }  # fmt: skip
    with refused("C1", peer=2):
        round_.server.receive(2, Consent(wrong[2]).encode(expected_from(round_.spec, 2)))
    round_ = Round(prepared_spec()).until(Stage.RELEASE)
    with refused("C1", peer=SERVER):
        round_.ask(VICTIM, lies.agreement(round_, {5: wrong[5]}))


# What the server refuses.


@both_modes
def test_nobody_is_asked_before_the_name(adversary: Adversary) -> None:
    round_ = set_up(adversary=adversary)
    assert round_.server.stage is Stage.INPUT
    assert round_.server.requests() == {}
    assert round_.server.awaited == COHORT
    round_.server.name_model(MODEL)
    assert tuple(round_.server.requests()) == round_.server.awaited == COHORT


@both_modes
def test_whom_a_stage_waits_for(adversary: Adversary) -> None:
    """In every stage: whoever was asked, but for those that answered, or were refused."""
    round_ = Round(prepared_spec(adversary=adversary))
    while round_.server.stage is not Stage.DONE:
        awaited = round_.server.awaited
        assert awaited == tuple(round_.server.requests())
        last = round_.server.stage is Stage.RELEASE
        round_.server.receive(2, round_.ask(2))
        assert round_.server.awaited == awaited[1:]
        if last:
            with pytest.raises(RemoteProtocolError):
                round_.server.receive(VICTIM, b"")
            assert round_.server.awaited == awaited[2:]
        round_.play((2, VICTIM) if last else (2,))
    assert round_.server.awaited == ()


def test_who_is_lost_in_the_set_up_is_not_waited_for() -> None:
    round_ = Round(prepared_spec()).until(Stage.SHARE)
    round_.answer((5,))
    with pytest.raises(RemoteProtocolError):
        round_.server.receive(5, b"")
    round_.server.advance()
    assert round_.server.awaited == (2, VICTIM, 8)
    round_.server.name_model(MODEL)
    assert round_.server.awaited == (2, VICTIM, 8)


@pytest.mark.rule("R6")
def test_r6_an_input_before_the_name() -> None:
    """Nobody was asked; who knew the name from elsewhere may still answer when it is."""
    early = Round(prepared_spec()).until(Stage.INPUT)
    message = early.ask(VICTIM)
    round_ = set_up()
    for receive in (round_.server.receive, lambda c, m: round_.server.receive_in_pieces(c, [m])):
        with refused("R6", peer=VICTIM):
            receive(VICTIM, message)
    round_.server.name_model(MODEL)
    assert round_.ask(VICTIM) == message
    round_.server.receive(VICTIM, message)
    round_.play((VICTIM,))
    assert round_.until(Stage.DONE).server.aggregate.survivors == COHORT


@pytest.mark.rule("R5")
def test_r5_comes_before_r6_here_too() -> None:
    round_ = Round(prepared_spec()).until(Stage.SHARE)
    with pytest.raises(RemoteProtocolError):
        round_.server.receive(5, b"")
    round_.play((5,))
    round_ = set_up()
    round_.server._present.refuse([5])
    with refused("R5", peer=5):
        round_.server.receive(5, b"")


def in_stage(stage: Stage) -> Round:
    return Round(prepared_spec()).until(stage)


@pytest.mark.parametrize(
    ("rule", "round_of", "model"),
    [
        case("R12", "zeros", set_up, NAMED_LATER),
        case("R12", "no digest", set_up, b""),
        case("R12", "half a digest", set_up, MODEL[:31]),
        case("R12", "twice", lambda: in_stage(Stage.INPUT), MODEL),
        case("R12", "a second name", lambda: in_stage(Stage.INPUT), OTHER),
        *(
            case("R12", f"in stage {stage}", lambda stage=stage: in_stage(stage), MODEL)
            for stage in (Stage.ADVERTISE, Stage.SHARE, Stage.CONSENT, Stage.RELEASE, Stage.DONE)
        ),
        case("R12", "a round with a model", lambda: Round(spec_of()).until(Stage.INPUT), MODEL),
    ],
)
def test_r12_a_name_that_cannot_be_given(rule: str, round_of: Callable[[], Round], model: bytes) -> None:
    round_ = round_of()
    before = round_.server.snapshot()
    with pytest.raises(LocalProtocolError) as caught:
        round_.server.name_model(model)
    assert caught.value.rule == rule
    assert round_.server.snapshot() == before


@pytest.mark.rule("R12")
def test_r12_an_end_before_the_name() -> None:
    """Nobody was asked, so nobody is lost: the round goes on."""
    round_ = set_up()
    with refused("R12") as caught:
        round_.server.advance()
    assert isinstance(caught.value, LocalProtocolError)
    round_.server.name_model(MODEL)
    assert round_.until(Stage.DONE).server.aggregate.survivors == COHORT


def test_too_few_in_the_set_up_is_the_end() -> None:
    round_ = Round(prepared_spec()).until(Stage.SHARE)
    round_.answer((2, 5))
    with pytest.raises(RoundAborted):
        round_.server.advance()
    assert round_.server.awaited == ()
    with refused("R12"):
        round_.server.name_model(MODEL)
