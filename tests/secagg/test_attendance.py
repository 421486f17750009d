"""Answers twice, late, of strangers, after the end: the rules of the server that know nothing of contents."""

from __future__ import annotations

import struct

import pytest

from securefed.aggregation import Adversary
from securefed.errors import RoundAborted
from securefed.secagg.stages import Stage
from tests.rounds import COHORT, Round, plain_sum, spec_of
from tests.rules import refused
from tests.secagg.lies import STRANGER, flip
from tests.secagg.modes import both_modes, every_stage
from tests.secagg.test_server_refuses import LIAR


@pytest.mark.rule("R3")
@every_stage
@pytest.mark.parametrize("identical", [True, False])
def test_r3_a_second_answer(adversary: Adversary, stage: Stage, identical: bool) -> None:
    """Whether it is the same or another: the first stays, and counts once."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    round_.answer()
    with refused("R3", peer=LIAR):
        round_.server.receive(LIAR, round_.replies[stage][LIAR] if identical else flip(round_.replies[stage][LIAR], -1))
    round_.server.advance()
    round_.until(Stage.DONE)
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.words is not None
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)


@pytest.mark.rule("R6")
@every_stage
def test_r6_a_stranger(adversary: Adversary, stage: Stage) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    message = round_.ask(LIAR)
    with refused("R6", peer=STRANGER):
        round_.server.receive(STRANGER, message[:44] + struct.pack(">I", STRANGER) + message[48:])


@pytest.mark.rule("R6")
@every_stage
def test_r6_late(adversary: Adversary, stage: Stage) -> None:
    """The stage has closed: a good answer is dropped, and so is every later one of that client."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    late = round_.ask(LIAR)
    round_.play(absent=(LIAR,))
    with refused("R6", peer=LIAR):
        round_.server.receive(LIAR, late)
    round_.until(Stage.DONE)
    with refused("R6", peer=LIAR):
        round_.server.receive(LIAR, late)


@pytest.mark.rule("R6")
@both_modes
def test_r6_after_the_end(adversary: Adversary) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(Stage.DONE)
    for client in COHORT:
        with refused("R6", peer=client):
            round_.server.receive(client, round_.replies[Stage.RELEASE][client])
    assert not round_.server.requests()


@pytest.mark.rule("R5")
@every_stage
def test_r5_after_too_few_answered(adversary: Adversary, stage: Stage) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    late = round_.ask(8)
    round_.answer(absent=(5, 8))
    with pytest.raises(RoundAborted, match="2 of 4 clients answered, 3 are needed") as caught:
        round_.server.advance()
    assert caught.value.stage == stage
    for client in COHORT:
        with refused("R5", peer=client):
            round_.server.receive(client, round_.replies[stage].get(client, late))
    with refused("R5"):
        round_.server.advance()
    assert round_.server.aggregate is None
    assert not round_.server.requests()


@pytest.mark.rule("R5")
@both_modes
def test_r5_a_round_that_is_over_is_not_advanced(adversary: Adversary) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(Stage.DONE)
    aggregate = round_.server.aggregate
    with refused("R5"):
        round_.server.advance()
    assert round_.server.aggregate is aggregate
