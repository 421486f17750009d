"""Whoever is lost at whatever stage: the exact sum of those whose inputs came, or an aborted round that says why."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings

from securefed.aggregation import Adversary
from securefed.errors import RoundAborted
from securefed.he import HomomorphicScheme
from securefed.he.stages import Stage
from securefed.wire.header import SERVER
from tests.he.rounds import HOLDER, MALICIOUS, STAGES, Round, both_modes, both_schemes, he_spec
from tests.rounds import COHORT, plain_sum
from tests.rules import refused
from tests.secagg.lies import flip

DEEP = settings().max_examples > 100
SIX = (1, 2, 3, 5, 8, 2**32 - 1)


def expected(cohort: tuple[int, ...], least: int, drops: dict[int, Stage]) -> tuple[tuple[int, ...], Stage | None]:
    """Who is in the sum, and the stage that the round is aborted in: what the protocol says, worked out apart."""
    at = {client: STAGES.index(drops[client]) if client in drops else len(STAGES) for client in cohort}
    left = [client for client in cohort if at[client] > 0]
    if len(left) < least:
        return (), Stage.ADVERTISE
    while at[left[0]] <= 1:
        del left[0]
        if len(left) < least:
            return (), Stage.KEYS
    holder, survivors = left[0], tuple(client for client in left if at[client] > 2)
    if len(survivors) < least:
        return (), Stage.INPUT
    return survivors, None if at[holder] > 3 else Stage.OPEN


def check(cohort: tuple[int, ...], adversary: Adversary, drops: dict[int, Stage]) -> None:
    spec = he_spec(cohort=cohort, adversary=adversary)
    round_, (survivors, ends) = Round(spec), expected(cohort, spec.threshold, drops)
    if ends is not None:
        with pytest.raises(RoundAborted) as caught:
            round_.until(Stage.DONE, drops)
        assert caught.value.stage == ends
        assert round_.server.aggregate is None
        assert not round_.server.requests()
        return
    aggregate = round_.until(Stage.DONE, drops).server.aggregate
    assert aggregate.survivors == survivors
    assert aggregate.words.tolist() == plain_sum(spec, survivors)


@both_modes
def test_one_is_lost_at_any_stage(adversary: Adversary) -> None:
    check(COHORT, adversary, {})
    for client in COHORT:
        for stage in STAGES:
            check(COHORT, adversary, {client: stage})


@pytest.mark.parametrize("who", [(2, 3), (2, 8)])
def test_two_of_four_are_lost_at_any_stages(who: tuple[int, int]) -> None:
    """One more than may be: the round is aborted in the stage where too few are left."""
    for stages in itertools.product(STAGES, repeat=2):
        check(COHORT, MALICIOUS, dict(zip(who, stages, strict=True)))


@pytest.mark.parametrize("who", [(1, 2), *([(1, 3), (3, 2**32 - 1)] if DEEP else [])])
def test_two_of_six_are_lost_at_any_stages(who: tuple[int, int]) -> None:
    """The first two of the list are asked for a key in turn, and either may be gone."""
    for stages in itertools.product(STAGES, repeat=2):
        check(SIX, he_spec().adversary, dict(zip(who, stages, strict=True)))


@both_schemes
def test_a_holder_that_makes_no_key(scheme: HomomorphicScheme) -> None:
    """The next one is asked, by id; the lost one is in nothing that comes after."""
    round_ = Round(scheme=scheme).until(Stage.KEYS)
    assert list(round_.server.requests()) == [2]
    round_.server.advance()
    assert (round_.server.stage, list(round_.server.requests()), round_.server.holder) == (Stage.KEYS, [3], 3)
    # Too late: its key is nobody's.
    with refused("R6", peer=2):
        round_.server.receive(2, round_.ask(2, round_.requests[Stage.KEYS][2]))
    assert round_.words() == plain_sum(round_.spec, (3, 5, 8))


def test_a_holder_whose_keys_are_refused() -> None:
    round_ = Round().until(Stage.KEYS)
    with refused("W8", peer=2):
        round_.server.receive(2, round_.ask(2)[:-1])
    round_.server.advance()
    assert list(round_.server.requests()) == [3]
    assert round_.words() == plain_sum(round_.spec, (3, 5, 8))


@both_modes
def test_no_holder_is_left(adversary: Adversary) -> None:
    round_ = Round(he_spec(adversary=adversary)).until(Stage.KEYS)
    round_.server.advance()
    with pytest.raises(RoundAborted, match="2 clients are left, 3 are needed") as caught:
        round_.server.advance()
    assert caught.value.stage == Stage.KEYS
    assert not round_.server.requests()
    with refused("R5", peer=5):
        round_.server.receive(5, b"")


@both_schemes
def test_a_holder_whose_input_was_lost_still_opens(scheme: HomomorphicScheme) -> None:
    """It gave its input, which did not arrive."""
    round_ = Round(scheme=scheme).until(Stage.INPUT)
    round_.ask(HOLDER)
    round_.answer(absent=(HOLDER,))
    round_.server.advance()
    assert list(round_.server.requests()) == [HOLDER]
    assert round_.words() == plain_sum(round_.spec, (3, 5, 8))


@both_schemes
def test_a_holder_that_was_never_asked_for_its_input_still_opens(scheme: HomomorphicScheme) -> None:
    """The request did not reach it. It opens the others' sum, once, and gives nothing of its own afterwards."""
    round_ = Round(scheme=scheme).until(Stage.INPUT)
    round_.answer(absent=(HOLDER,))
    asked = round_.requests[Stage.INPUT][HOLDER]
    round_.server.advance()
    round_.server.receive(HOLDER, round_.ask(HOLDER))
    with refused("R4", peer=SERVER):
        round_.ask(HOLDER, asked)
    round_.server.advance()
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, (3, 5, 8))
    assert round_.server.aggregate.survivors == (3, 5, 8)


@both_schemes
def test_a_holder_that_does_not_open(scheme: HomomorphicScheme) -> None:
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    with pytest.raises(RoundAborted) as caught:
        round_.server.advance()
    assert caught.value.stage == Stage.OPEN
    assert "client 2 holds the key and gave no sum: nobody else may open it" in str(caught.value)
    assert round_.server.aggregate is None


def test_a_holder_whose_input_was_refused_is_not_heard_again() -> None:
    """A client whose answer breaks a rule is out; where it holds the key, so is the round."""
    round_ = Round().until(Stage.INPUT)
    with refused("H1", peer=HOLDER):
        round_.server.receive(HOLDER, flip(round_.ask(HOLDER), -1))
    round_.answer(absent=(HOLDER,))
    round_.server.advance()
    assert not round_.server.requests()
    with pytest.raises(RoundAborted, match="client 2 holds the key"):
        round_.server.advance()
