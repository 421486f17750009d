"""A server that lies: the client refuses by the rule, names the server, and answers nothing any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from securefed.aggregation import Update
from securefed.crypto.shamir import FIELD
from securefed.errors import RemoteProtocolError
from securefed.secagg.stages import STAGES, Stage
from securefed.wire.header import SERVER
from securefed.wire.messages import Keys
from tests.rounds import COHORT, LAYOUT, Round, seed, spec_of, update_of
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.lies import LOW_ORDER, NOT_CANONICAL, STRANGER, VICTIM, flip, keys_of, roster, some_key, with_key

Lie = Callable[[Round], bytes]


def no_update() -> Update:
    raise AssertionError("nobody trains for a request that is refused")


def from_another(stage: Stage, **changes: object) -> Lie:
    """What the same server says in another session: a replay."""
    return lambda _: Round(spec_of(**changes)).until(stage).requests[stage][VICTIM]


OFFERS = [
    case("R7", "a cohort without the receiver", lambda r: lies.offer(r, cohort=(2, 5, 8, 9))),
    case("O2", "another layout", lambda r: lies.offer(r, layout=seed("layout"))),
    case("O2", "one value more", lambda r: lies.offer(r, values=LAYOUT.size + 1)),
    case("O2", "one scalar less", lambda r: lies.offer(r, scalars=1)),
    case("R1", "a specification with another bit", lambda r: flip(lies.offer(r), 64)),
    case("R2", "a header of another round", lambda r: flip(lies.offer(r), 43)),
    case("W15", "a threshold over the cohort", lambda r: flip(lies.offer(r), 64 + 36)),
    case("W12", "from a client", lambda r: flip(lies.offer(r), 47)),
    case("W5", "of another scheme", lambda r: flip(lies.offer(r), 7)),
    case("R4", "survivors of an earlier round", from_another(Stage.RELEASE)),
]

ROSTERS = [
    case("R7", "without the receiver", lambda r: roster(r, {VICTIM: None})),
    case("R7", "smaller than the threshold", lambda r: roster(r, {2: None, 5: None})),
    case("R7", "nobody", lambda r: roster(r, dict.fromkeys(COHORT))),
    case("W10", "a stranger", lambda r: roster(r, {2: None, STRANGER: Keys(some_key("a"), some_key("b"))})),
    case("W7", "longer than the cohort", lambda r: roster(r, {STRANGER: Keys(some_key("a"), some_key("b"))})),
    case("K3", "another channel key of the receiver", lambda r: with_key(r, VICTIM, channel=some_key("a"))),
    case("K3", "another mask key of the receiver", lambda r: with_key(r, VICTIM, mask=some_key("a"))),
    case(
        "K3",
        "the receiver's keys exchanged",
        lambda r: roster(r, {VICTIM: Keys(keys_of(r, VICTIM).mask, keys_of(r, VICTIM).channel)}),
    ),
    case("K4", "the receiver's channel key reflected", lambda r: with_key(r, 5, channel=keys_of(r, VICTIM).channel)),
    case("K4", "the receiver's mask key reflected", lambda r: with_key(r, 5, mask=keys_of(r, VICTIM).mask)),
    case("K4", "one client under two ids", lambda r: roster(r, {5: keys_of(r, 8)})),
    case("K4", "one channel key twice", lambda r: with_key(r, 5, channel=keys_of(r, 2).channel)),
    case("K4", "one mask key twice", lambda r: with_key(r, 5, mask=keys_of(r, 2).mask)),
    case("K4", "a mask key in the other column", lambda r: with_key(r, 5, channel=keys_of(r, 2).mask)),
    case("K4", "one key for two purposes", lambda r: with_key(r, 5, channel=keys_of(r, 5).mask)),
    case("K1", "low order as a channel key", lambda r: with_key(r, 5, channel=LOW_ORDER)),
    case("K1", "low order as a mask key", lambda r: with_key(r, 5, mask=LOW_ORDER)),
    case("K2", "not canonical as a channel key", lambda r: with_key(r, 5, channel=NOT_CANONICAL)),
    case("K2", "not canonical as a mask key", lambda r: with_key(r, 5, mask=NOT_CANONICAL)),
    case("K2", "the same key with its top bit", lambda r: with_key(r, 5, mask=flip(keys_of(r, 2).mask, 31, 7))),
    case("R1", "of another attempt", from_another(Stage.SHARE, nonce=seed("another"))),
    case("R1", "of another model", from_another(Stage.SHARE, model=seed("another"))),
    case("R1", "of the next round", from_another(Stage.SHARE, round=8)),
    case("R2", "with another round in its header", lambda r: flip(roster(r, {}), 43)),
    case("R4", "the offer again", lambda r: r.requests[Stage.ADVERTISE][VICTIM]),
    case("W12", "from a client", lambda r: flip(roster(r, {}), 47)),
    case("W9", "descending", lambda r: roster(r, {})[:64] + roster(r, {})[64:80][::-1] + roster(r, {})[80:]),
]


def swapped(round_: Round) -> bytes:
    sealed = lies.boxes(round_)
    return lies.delivery(round_, {2: sealed[5], 5: sealed[2]})


DELIVERIES = [
    case("R8", "shares of too few", lambda r: lies.delivery(r, {2: None, 5: None})),
    case("R8", "shares of nobody", lambda r: lies.delivery(r, {2: None, 5: None, 8: None})),
    case("W10", "shares of a stranger", lambda r: lies.delivery(r, {2: None, STRANGER: lies.boxes(r)[2]})),
    case("W10", "the receiver's own", lambda r: lies.delivery(r, {VICTIM: lies.boxes(r)[2]})),
    case("S4", "a bit of a ciphertext", lambda r: lies.delivery(r, {5: flip(lies.boxes(r)[5], 0)})),
    case("S4", "a bit of a tag", lambda r: lies.delivery(r, {8: flip(lies.boxes(r)[8], 81, 7)})),
    case("S4", "two senders exchanged", swapped),
    case("S4", "one sender's twice", lambda r: lies.delivery(r, {2: lies.boxes(r)[5]})),
    case("S4", "sealed for another", lambda r: lies.delivery(r, {2: lies.boxes(r, 5)[2]})),
    case("S4", "sent back to its sender", lambda r: lies.delivery(r, {2: lies.shares_of(r, VICTIM).sealed[2]})),
    case(
        "S4",
        "sealed in another session",
        lambda r: lies.delivery(r, {2: lies.boxes(Round(spec_of(nonce=seed("x"))).until(Stage.INPUT))[2]}),
    ),
    case(
        "S4",
        "sealed under another roster",
        lambda r: lies.delivery(r, {2: lies.sealed_pair(r, 2, *lies.good_pair(r, 2), roster=seed("roster"))}),
    ),
    case("S1", "a share that is p", lambda r: lies.delivery(r, {2: lies.sealed_pair(r, 2, FIELD, 1)})),
    case("S1", "a share of 2^264 − 1", lambda r: lies.delivery(r, {2: lies.sealed_pair(r, 2, 1, 2**264 - 1)})),
    case("R1", "of another attempt", from_another(Stage.INPUT, nonce=seed("another"))),
    case("R2", "with another round in its header", lambda r: flip(lies.delivery(r, {}), 43)),
    case("R4", "the roster again", lambda r: r.requests[Stage.SHARE][VICTIM]),
    case("R4", "survivors before any input", from_another(Stage.RELEASE, nonce=seed("nonce"))),
]

SURVIVORS = [
    case("R9", "a dropout is left out", lambda r: lies.survivors(r, {8: None})),
    case("R9", "a survivor is left out", lambda r: lies.survivors(r, {2: None})),
    case("R9", "the receiver is left out", lambda r: lies.survivors(r, {VICTIM: None})),
    case("R9", "the receiver has dropped out", lambda r: lies.survivors(r, {VICTIM: False})),
    case("R9", "fewer survivors than the threshold", lambda r: lies.survivors(r, {2: False, 5: False})),
    case("R9", "nobody", lambda r: lies.survivors(r, dict.fromkeys(COHORT))),
    case("W10", "a stranger for another", lambda r: lies.survivors(r, {8: None, STRANGER: False})),
    case("W7", "a stranger more", lambda r: lies.survivors(r, {STRANGER: False})),
    case("W14", "both kinds of shares of one client", lambda r: lies.survivors(r, {})[:-4] + b"\x02\x01\x01\x01"),
    case("R1", "of another attempt", from_another(Stage.RELEASE, nonce=seed("another"))),
    case("R2", "with another round in its header", lambda r: flip(lies.survivors(r, {}), 43)),
    case("R4", "the delivery again", lambda r: r.requests[Stage.INPUT][VICTIM]),
]


def deceive(rule: str, lie: Lie, stage: Stage) -> None:
    """The client refuses the lie, nobody trains for it, and then the truth comes too late (R5)."""
    round_ = Round().until(stage)
    client, truth = round_.clients[VICTIM], round_.server.requests()[VICTIM]
    message = lie(round_)
    with refused(rule) as caught:
        client.reply(message, no_update)
    assert isinstance(caught.value, RemoteProtocolError)
    # Of a sealed share the server and its sender may be at fault: the message names the sender.
    assert caught.value.peer in ((2, 5, 8) if rule in ("S1", "S4") else (SERVER,))
    for again in (truth, message, round_.requests[Stage.ADVERTISE][VICTIM]):
        with refused("R5", peer=SERVER):
            client.reply(again, no_update)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), OFFERS)
def test_offers(rule: str, lie: Lie) -> None:
    deceive(rule, lie, Stage.ADVERTISE)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), ROSTERS)
def test_rosters(rule: str, lie: Lie) -> None:
    deceive(rule, lie, Stage.SHARE)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), DELIVERIES)
def test_deliveries(rule: str, lie: Lie) -> None:
    deceive(rule, lie, Stage.INPUT)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), SURVIVORS)
def test_survivors(rule: str, lie: Lie) -> None:
    deceive(rule, lie, Stage.RELEASE)


@pytest.mark.rule("R9")
def test_r9_survivors_that_were_not_delivered() -> None:
    """Who shared may neither grow nor shrink afterwards: 8 did not share, 5 did not send an input."""
    for changes in ({8: False}, {8: True}, {2: None, 8: True}):
        round_ = Round(spec_of(threshold=2)).until(Stage.RELEASE, {8: Stage.SHARE, 5: Stage.INPUT})
        with refused("R9", peer=SERVER):
            round_.ask(VICTIM, lies.survivors(round_, changes))


@pytest.mark.rule("R4")
@pytest.mark.rule("R5")
@pytest.mark.parametrize("stage", STAGES)
def test_r4_a_request_is_answered_once(stage: Stage) -> None:
    """Identical or not, no second answer: no second mask, no second kind of share. And no way back afterwards."""
    round_ = Round().until(stage)
    request = round_.requests[stage][VICTIM]
    round_.ask(VICTIM, request)
    with refused("R4", peer=SERVER):
        round_.clients[VICTIM].reply(request, no_update)
    if stage is not Stage.RELEASE:
        with refused("R5", peer=SERVER):
            round_.clients[VICTIM].reply(request, no_update)


@pytest.mark.rule("R4")
def test_r4_a_second_partition_is_not_answered() -> None:
    """The attack on both kinds of shares: the same clients once as dropped, once as surviving."""
    round_ = Round(spec_of(threshold=2)).until(Stage.RELEASE)
    first = lies.survivors(round_, {8: False})
    second = lies.survivors(round_, {8: True})
    assert round_.ask(VICTIM, first)
    for message in (second, first):
        with refused("R4", peer=SERVER):
            round_.ask(VICTIM, message)


@pytest.mark.rule("R10")
@pytest.mark.rule("R4")
def test_r10_a_mask_is_used_once() -> None:
    """The update is asked for once in a session, whatever the server repeats; each session has other masks."""
    round_ = Round().until(Stage.INPUT)
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
@pytest.mark.parametrize("stage", STAGES)
def test_r4_every_message_at_every_other_time(stage: Stage) -> None:
    whole = Round().until(Stage.DONE)
    for other in STAGES:
        if other is not stage:
            round_ = Round().until(stage)
            with refused("R4", peer=SERVER):
                round_.clients[VICTIM].reply(whole.requests[other][VICTIM], no_update)
