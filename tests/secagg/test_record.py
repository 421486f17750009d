"""What a client has given it gives once, over all restarts: a state from an older copy meets the record (R10, R11)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest

from securefed.aggregation import Adversary, ClientIdentity, MemoryRecord, Record, Update
from securefed.crypto.keystream import Words
from securefed.encoding.vector import VectorEncoding
from securefed.errors import LocalProtocolError, SecurefedError
from securefed.participation import INPUT
from securefed.secagg import PairwiseMasks
from securefed.secagg.client import MaskingClient
from securefed.secagg.stages import Stage
from tests.rounds import (
    LAYOUT,
    MALICIOUS,
    SEMI_HONEST,
    Round,
    identity_of,
    seed,
    spec_of,
    update_of,
)
from tests.rules import refused
from tests.secagg import lies
from tests.secagg.lies import VICTIM
from tests.secagg.modes import both_modes, stages_of, told_at

SCHEME = PairwiseMasks()
STEPS = [
    pytest.param(adversary, stage, id=f"{stage}-{'malicious' if adversary.malicious else 'semi-honest'}")
    for adversary, stages in (
        (MALICIOUS, (Stage.INPUT, Stage.CONSENT, Stage.RELEASE)),
        (SEMI_HONEST, (Stage.INPUT, Stage.RELEASE)),
    )
    for stage in stages
]


def identity(round_: Round, record: Record | None = None) -> ClientIdentity:
    known = round_.clients[VICTIM]._identity
    return known if record is None else replace(known, record=record)


def other_request(round_: Round, stage: Stage) -> bytes:
    """What a server would ask of the copy: the same once more, or the other kind of shares."""
    if stage is told_at(round_.spec.adversary):
        return lies.survivors(round_, 2, VICTIM, 5)
    return round_.requests[stage][VICTIM]


@pytest.mark.rule("R10")
@pytest.mark.parametrize(("adversary", "stage"), STEPS)
def test_r10_what_was_given_is_not_given_again(adversary: Adversary, stage: Stage) -> None:
    """From a snapshot that was stored before, with the record as it is now: no second mask, signature or share."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    stored = round_.clients[VICTIM].snapshot()
    assert round_.ask(VICTIM)
    for request in (round_.requests[stage][VICTIM], other_request(round_, stage)):
        with refused("R10") as caught:
            SCHEME.resume_client(identity(round_), stored).reply(request, lambda: update_of(VICTIM))
        assert isinstance(caught.value, LocalProtocolError)


@pytest.mark.rule("R5")
@pytest.mark.rule("R10")
@pytest.mark.parametrize(("adversary", "stage"), [one for one in STEPS if one.values[1] is not Stage.INPUT])
def test_r5_after_r10(adversary: Adversary, stage: Stage) -> None:
    """The copy that was refused is out, like any session after an error."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    copied = SCHEME.resume_client(identity(round_), round_.clients[VICTIM].snapshot())
    assert round_.ask(VICTIM)
    with refused("R10"):
        copied.reply(other_request(round_, stage), lambda: update_of(VICTIM))
    with refused("R5"):
        copied.reply(other_request(round_, stage), lambda: update_of(VICTIM))


@pytest.mark.parametrize(("adversary", "stage"), STEPS)
def test_against_a_record_that_is_rolled_back_nothing_protects(adversary: Adversary, stage: Stage) -> None:
    """A restored virtual machine: record and snapshot are both the older ones. The text says so, and why it must."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    stored, record = round_.clients[VICTIM].snapshot(), copy.deepcopy(identity(round_).record)
    first = round_.ask(VICTIM)
    rolled_back = SCHEME.resume_client(identity(round_, record), stored)
    second = rolled_back.reply(other_request(round_, stage), lambda: update_of(VICTIM))
    if stage is told_at(adversary):
        # Told of two sets it signs two, or releases both kinds of shares of one client.
        assert first != second
    else:
        assert first == second
    if stage is Stage.RELEASE and not adversary.malicious:
        of_8 = [lies.released(round_, VICTIM, message)[8] for message in (first, second)]
        assert of_8 == [share.to_bytes(33, "big") for share in lies.good_pair(round_, 8)]


def test_a_rolled_back_record_gives_another_update_under_the_same_masks() -> None:
    """The worst of it: of two uploads under one mask the difference is the difference of the updates."""
    round_ = Round().until(Stage.INPUT)
    stored, record = round_.clients[VICTIM].snapshot(), copy.deepcopy(identity(round_).record)
    first = lies.words_of(played(round_, round_.clients[VICTIM], lambda: update_of(VICTIM)), VICTIM)
    again = SCHEME.resume_client(identity(round_, record), stored)
    second = lies.words_of(played(round_, again, lambda: update_of(2)), VICTIM)
    mask = round_.spec.numbers.lanes.ring_mask
    difference = (second - first) & mask
    assert (difference != 0).any()
    plain = [words_in_clear(round_, update_of(client)) for client in (VICTIM, 2)]
    assert (difference == (plain[1] - plain[0]) & mask).all()


def played(round_: Round, client: MaskingClient, update: Callable[[], Update]) -> Round:
    round_.replies[Stage.INPUT][VICTIM] = client.reply(round_.requests[Stage.INPUT][VICTIM], update)
    return round_


def words_in_clear(round_: Round, made: Update) -> Words:
    pieces = VectorEncoding(LAYOUT, round_.spec.numbers).encode(
        made.tensors, made.weight, made.metrics, identity_of(VICTIM).rounding(round_.spec.round)
    )
    return next(iter(pieces)).copy()


@pytest.mark.rule("R10")
def test_r10_one_sample_is_drawn() -> None:
    """The record is written before the list of consents is looked at: an older copy tries no other list."""
    round_ = Round().until(Stage.RELEASE)
    stored = round_.clients[VICTIM].snapshot()
    with refused("C2"):
        round_.ask(VICTIM, lies.agreement(round_, {}, keep=(VICTIM,)))
    again = SCHEME.resume_client(identity(round_), stored)
    with refused("R10"):
        again.reply(round_.requests[Stage.RELEASE][VICTIM], lambda: update_of(VICTIM))


@pytest.mark.rule("R10")
@both_modes
def test_r10_a_crash_between_record_and_message_loses_the_message_alone(adversary: Adversary) -> None:
    """The record was written, the answer never left: the client counts as dropped, and the round goes on."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.INPUT)
    identity(round_).record.claim(INPUT, round_.spec.round, round_.spec.session)
    with refused("R10"):
        round_.ask(VICTIM)
    round_.play(absent=(VICTIM,))
    round_.until(Stage.DONE)
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.survivors == (2, 5, 8)


@pytest.mark.rule("R10")
@pytest.mark.parametrize("round_number", [3, 6, 7])
def test_r10_two_sessions_that_cross(round_number: int) -> None:
    """Both were offered before either was given an input: the first that asks gets it, an older round no more."""
    identity_ = identity_of(VICTIM)
    first, second = Round(), Round(spec_of(round=round_number, nonce=seed("another")))
    for round_ in (first, second):
        round_.clients[VICTIM] = MaskingClient(identity_, round_secret=seed(f"round secret {VICTIM}"))
        round_.until(Stage.INPUT)
    assert first.ask(VICTIM)
    with refused("R10"):
        second.ask(VICTIM)


@pytest.mark.rule("R10")
@pytest.mark.parametrize("step", [INPUT, "consent", "release"])
def test_r10_a_record(step: str) -> None:
    record = MemoryRecord()
    assert record.last_round == -1
    record.claim(step, 4, seed("one"))
    with refused("R10"):
        record.claim(step, 4, seed("one"))
    assert record.last_round == (4 if step == INPUT else -1)
    for other in {INPUT, "consent", "release"} - {step}:
        record.claim(other, 5, seed("one"))
    record.claim(step, 6, seed("another"))


@pytest.mark.rule("K7")
@pytest.mark.parametrize("stage", stages_of(MALICIOUS))
def test_a_client_that_lost_its_identity_key_does_not_go_on(stage: Stage) -> None:
    """A round against a malicious server must not become, over a restart, one that asks for no consents."""
    round_ = Round().until(stage)
    stored = round_.clients[VICTIM].snapshot()
    with pytest.raises(SecurefedError):
        SCHEME.resume_client(replace(identity(round_), credentials=None), stored).reply(
            round_.requests[stage][VICTIM], lambda: update_of(VICTIM)
        )
