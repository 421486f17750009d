"""A server that lies once shares are out: about who shared, who survived, and who agreed to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securefed.aggregation import Adversary, Update
from securefed.crypto.shamir import FIELD
from securefed.secagg.stages import Stage
from securefed.wire.from_server import Delivered
from securefed.wire.header import SERVER
from tests.rounds import COHORT, MALICIOUS, SEMI_HONEST, Round, plain_sum, seed, spec_of, update_of
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.lies import STRANGER, VICTIM, agreement, consent_to, delivery, entry_of, flip, sealed_for, survivors
from tests.secagg.modes import both_modes, every_stage, stages_of, told_at
from tests.secagg.test_client_refuses import Lie, deceive, from_another, no_update


def other_picks(round_: Round, sender: int, secret: bytes) -> bytes:
    """The sender's part with another pick secret."""
    return delivery(round_, {sender: Delivered(secret, sealed_for(round_)[sender])})


DELIVERIES = [
    case("R8", "a set of too few", lambda r: delivery(r, {2: None, 5: None}, shared=(3, 8))),
    case("R8", "a set of nobody", lambda r: delivery(r, dict.fromkeys((2, 5, 8)), shared=())),
    case("R8", "a set without the receiver", lambda r: delivery(r, {}, shared=(2, 5, 8))),
    case("R8", "a sender who is not in the set", lambda r: delivery(r, {}, shared=(2, 3, 5))),
    case("R8", "the shares of one kept back", lambda r: delivery(r, {8: None})),
    case("W10", "shares of a stranger", lambda r: delivery(r, {2: None, STRANGER: sealed_for(r)[2]})),
    case("W10", "the receiver's own", lambda r: delivery(r, {2: None, VICTIM: sealed_for(r)[2]})),
    case("W10", "the receiver's own beside all others", lambda r: delivery(r, {VICTIM: sealed_for(r)[2]})),
    case("W7", "more senders than clients", lambda r: delivery(r, dict.fromkeys((VICTIM, STRANGER), bytes(82)))),
    case("W14", "a set with a bit beyond the cohort", lambda r: flip(delivery(r, {}), 64, 4)),
    case("G1", "a bit of a pick secret", lambda r: other_picks(r, 2, flip(lies.secrets_of(r, 2).pick_secret, 31))),
    case("G1", "another's pick secret", lambda r: other_picks(r, 8, lies.secrets_of(r, 2).pick_secret)),
    case("R1", "of another attempt", from_another(Stage.INPUT, nonce=seed("another"))),
    case("R2", "with another round in its header", lambda r: flip(delivery(r, {}), 43)),
    case("R4", "the roster again", lambda r: r.requests[Stage.SHARE][VICTIM]),
    case("R4", "survivors before any input", from_another(None, nonce=seed("nonce"))),
]

SURVIVORS = [
    case("R9", "the receiver is left out", lambda r: survivors(r, 2, 5, 8)),
    case("R9", "fewer than L", lambda r: survivors(r, VICTIM, 8)),
    case("R9", "the receiver alone", lambda r: survivors(r, VICTIM)),
    case("R9", "nobody", lambda r: survivors(r)),
    case("W14", "a bit beyond the cohort", lambda r: flip(survivors(r, *COHORT), 64, 4)),
    case("W11", "a count that is not the cohort's", lambda r: flip(survivors(r, *COHORT), 55)),
    case("W8", "a byte more", lambda r: survivors(r, *COHORT) + b"\0"),
    case("R1", "of another attempt", from_another(None, nonce=seed("another"))),
    case("R2", "with another round in its header", lambda r: flip(survivors(r, *COHORT), 43)),
    case("R4", "the delivery again", lambda r: r.requests[Stage.INPUT][VICTIM]),
]

AGREEMENTS = [
    case("C1", "a consent to fewer survivors", lambda r: agreement(r, {2: consent_to(r, 2, (2, 3, 5))})),
    case("C1", "another's consent", lambda r: agreement(r, {2: consent_to(r, 5, COHORT)})),
    case("C1", "a bit of a consent", lambda r: agreement(r, {8: flip(consent_to(r, 8, COHORT), 63)})),
    case("C1", "a false one beside enough that hold", lambda r: agreement(r, {2: bytes(64)})),
    case("C1", "the signature of an advertisement", lambda r: agreement(r, {5: entry_of(r, 5).signature})),
    case("C1", "the receiver's own, changed", lambda r: agreement(r, {VICTIM: consent_to(r, VICTIM, (2, 3, 5))})),
    case("C2", "too few", lambda r: agreement(r, {}, keep=(VICTIM, 8))),
    case("C2", "the receiver's alone", lambda r: agreement(r, {}, keep=(VICTIM,))),
    case("C2", "nobody's", lambda r: agreement(r, {}, keep=())),
    case("W11", "a signer less than signatures", lambda r: flip(agreement(r, {}), 64, 1)),
    case("W14", "a bit beyond the cohort", lambda r: flip(agreement(r, {}), 64, 4)),
    case("W7", "more signatures than clients", lambda r: flip(agreement(r, {}), 55, 4)),
    case("R1", "of another attempt", from_another(Stage.RELEASE, nonce=seed("another"))),
    case("R4", "survivors again, without a signature", lambda r: survivors(r, *COHORT)),
    case("R4", "other survivors", lambda r: survivors(r, 2, 3, 5)),
]


@both_modes
@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), DELIVERIES)
def test_deliveries(rule: str, lie: Lie, adversary: Adversary) -> None:
    deceive(rule, lie, Stage.INPUT, adversary)


@both_modes
@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), SURVIVORS)
def test_survivors(rule: str, lie: Lie, adversary: Adversary) -> None:
    deceive(rule, lie, told_at(adversary), adversary)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), AGREEMENTS)
def test_agreements(rule: str, lie: Lie) -> None:
    deceive(rule, lie, Stage.RELEASE, MALICIOUS)


@both_modes
@pytest.mark.rule("R8")
@pytest.mark.rule("R9")
@pytest.mark.rule("W10")
def test_nobody_comes_back_who_has_dropped_out(adversary: Adversary) -> None:
    """8 has not advertised, or not shared, or not given an input: it is in no later set."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.INPUT, {8: Stage.ADVERTISE})
    with refused("W10", peer=SERVER):
        round_.ask(VICTIM, delivery(round_, {}, shared=COHORT))
    told = told_at(adversary)
    round_ = Round(spec_of(adversary=adversary)).until(told, {8: Stage.SHARE})
    with refused("R9", peer=SERVER):
        round_.ask(VICTIM, survivors(round_, *COHORT))
    if adversary.malicious:
        round_ = Round(spec_of(adversary=adversary)).until(Stage.RELEASE, {8: Stage.INPUT})
        with refused("W10", peer=SERVER):
            round_.ask(VICTIM, agreement(round_, {8: consent_to(round_, 8, (2, 3, 5))}))


def exchanged(round_: Round) -> bytes:
    sealed = sealed_for(round_)
    return delivery(round_, {2: sealed[5], 5: sealed[2]})


def another_session(round_: Round) -> bytes:
    other = Round(replace(round_.spec, nonce=seed("x"))).until(Stage.INPUT)
    return delivery(round_, {2: sealed_for(other)[2]})


UNOPENED = [
    case("S4", "a bit of a ciphertext", {5}, lambda r: delivery(r, {5: flip(sealed_for(r)[5], 0)})),
    case("S4", "a bit of a tag", {8}, lambda r: delivery(r, {8: flip(sealed_for(r)[8], 81, 7)})),
    case("S4", "two senders exchanged", {2, 5}, exchanged),
    case("S4", "one sender's twice", {2}, lambda r: delivery(r, {2: sealed_for(r)[5]})),
    case("S4", "sealed for another", {2}, lambda r: delivery(r, {2: sealed_for(r, 5)[2]})),
    case("S4", "sent back to its sender", {2}, lambda r: delivery(r, {2: lies.shares_of(r, VICTIM).sealed[2]})),
    case("S4", "sealed in another session", {2}, another_session),
    case(
        "S4",
        "sealed under another roster",
        {2},
        lambda r: delivery(r, {2: lies.sealed_pair(r, 2, *lies.good_pair(r, 2), roster=seed("roster"))}),
    ),
    case("S1", "a share that is p", {2}, lambda r: delivery(r, {2: lies.sealed_pair(r, 2, FIELD, 1)})),
    case("S1", "a share of 2^264 − 1", {2}, lambda r: delivery(r, {2: lies.sealed_pair(r, 2, 1, 2**264 - 1)})),
    case("S4", "all of them", {2, 5, 8}, lambda r: delivery(r, dict.fromkeys((2, 5, 8), bytes(82)))),
]


@both_modes
@pytest.mark.parametrize(("rule", "missing", "lie"), UNOPENED)
def test_shares_that_do_not_open_are_not_held(rule: str, missing: set[int], lie: Lie, adversary: Adversary) -> None:
    """The client stays in the round and releases nothing of those senders, of neither kind; the sum is exact."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.INPUT)
    message = lie(round_)
    for client in COHORT:
        round_.server.receive(client, round_.ask(client, message if client == VICTIM else None))
    round_.server.advance()
    round_.until(Stage.RELEASE)
    for client in COHORT:
        answer = round_.ask(client)
        if client == VICTIM:
            assert lies.released(round_, VICTIM, answer).keys() == set(COHORT) - missing
            for sender in missing:
                assert not [pair for pair in lies.good_pair(round_, sender) if pair.to_bytes(33, "big") in answer]
        round_.server.receive(client, answer)
    round_.server.advance()
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.words is not None
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)


@pytest.mark.rule("R4")
@pytest.mark.rule("R5")
@every_stage
def test_r4_a_request_is_answered_once(adversary: Adversary, stage: Stage) -> None:
    """Identical or not, no second answer: no second mask, no second kind of share. And no way back afterwards."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    request = round_.requests[stage][VICTIM]
    round_.ask(VICTIM, request)
    with refused("R4", peer=SERVER):
        round_.clients[VICTIM].reply(request, no_update)
    if stage is not Stage.RELEASE:
        with refused("R5", peer=SERVER):
            round_.clients[VICTIM].reply(request, no_update)


@pytest.mark.rule("R4")
@both_modes
def test_r4_a_second_set_of_survivors_is_not_answered(adversary: Adversary) -> None:
    """The attack on both kinds of shares: the same client once as dropped, once as surviving."""
    told = told_at(adversary)
    round_ = Round(spec_of(adversary=adversary)).until(told)
    first, second = survivors(round_, 2, 3, 5), survivors(round_, *COHORT)
    assert round_.ask(VICTIM, first)
    with refused("R4", peer=SERVER):
        round_.ask(VICTIM, second)
    with refused("R4" if adversary == SEMI_HONEST else "R5", peer=SERVER):
        round_.ask(VICTIM, first)


@pytest.mark.rule("R4")
@both_modes
def test_r4_the_update_is_asked_for_once(adversary: Adversary) -> None:
    """In a session, whatever the server repeats; each session has other masks."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.INPUT)
    asked = []

    def update() -> Update:
        asked.append(1)
        return update_of(VICTIM)

    request = round_.requests[Stage.INPUT][VICTIM]
    round_.clients[VICTIM].reply(request, update)
    for rule in ("R4", "R5", "R5"):
        with refused(rule, peer=SERVER):
            round_.clients[VICTIM].reply(request, update)
    assert asked == [1]


@pytest.mark.rule("R5")
def test_r5_an_error_in_the_training_ends_the_session() -> None:
    round_ = Round().until(Stage.INPUT)
    request = round_.requests[Stage.INPUT][VICTIM]

    def broken() -> Update:
        raise KeyError("data")

    with pytest.raises(KeyError, match="data"):
        round_.clients[VICTIM].reply(request, broken)
    with refused("R5", peer=SERVER):
        round_.ask(VICTIM, request)


@pytest.mark.rule("R4")
@every_stage
def test_r4_every_message_at_every_other_time(adversary: Adversary, stage: Stage) -> None:
    whole = Round(spec_of(adversary=adversary)).until(Stage.DONE)
    for other in stages_of(adversary):
        if other is not stage:
            round_ = Round(spec_of(adversary=adversary)).until(stage)
            with refused("R4", peer=SERVER):
                round_.clients[VICTIM].reply(whole.requests[other][VICTIM], no_update)
