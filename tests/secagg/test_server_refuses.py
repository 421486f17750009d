"""Clients that lie, come late or twice: the server refuses the one message, names the client, and goes on."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from securefed.crypto.shamir import FIELD, SHARE_BYTES
from securefed.errors import RoundAborted
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import STAGES, Stage
from securefed.wire.messages import Advertisement, Input, Keys, Shares
from tests.rounds import COHORT, LAYOUT, Round, context_of, plain_sum, seed, spec_of
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.lies import LOW_ORDER, NOT_CANONICAL, STRANGER, flip, some_key

LIAR = 5
"""Answers after 2 and 3, before 8."""

Lie = Callable[[Round], bytes]


def advertised(keys: Callable[[Round], Keys]) -> Lie:
    return lambda round_: Advertisement(keys(round_)).encode(context_of(round_.spec, LIAR))


def own(round_: Round) -> Keys:
    secrets = lies.secrets_of(round_, LIAR)
    return Keys(secrets.channel.public, secrets.mask.public)


def shares(round_: Round, changes: dict[int, bytes | None]) -> bytes:
    message = round_.ask(LIAR)
    others = [client for client in COHORT if client != LIAR]
    good = Shares.decode(message, context_of(round_.spec, LIAR), others)
    sealed = {client: box for client, box in (good.sealed | changes).items() if box is not None}
    return replace(good, sealed=sealed).encode(context_of(round_.spec, LIAR))


def words(round_: Round, more: int) -> bytes:
    message = round_.ask(LIAR)
    count = (len(message) - 64) // 8
    packed = Input.decode(message, context_of(round_.spec, LIAR), count).words
    return Input(np.resize(packed, count + more)).encode(context_of(round_.spec, LIAR))


ADVERTISEMENTS = [
    case("K1", "low order as a channel key", advertised(lambda r: replace(own(r), channel=LOW_ORDER))),
    case("K1", "low order as a mask key", advertised(lambda r: replace(own(r), mask=LOW_ORDER))),
    case("K2", "not canonical as a channel key", advertised(lambda r: replace(own(r), channel=NOT_CANONICAL))),
    case("K2", "not canonical as a mask key", advertised(lambda r: replace(own(r), mask=NOT_CANONICAL))),
    case("K2", "2's mask key with its top bit", advertised(lambda r: Keys(own(r).mask, flip(two(r).mask, 31, 7)))),
    case("K4", "another's keys", advertised(lambda r: two(r))),
    case("K4", "another's channel key", advertised(lambda r: replace(own(r), channel=two(r).channel))),
    case("K4", "another's mask key", advertised(lambda r: replace(own(r), mask=two(r).mask))),
    case("K4", "another's channel key as a mask key", advertised(lambda r: replace(own(r), mask=two(r).channel))),
    case("K4", "another's mask key as a channel key", advertised(lambda r: replace(own(r), channel=two(r).mask))),
    case("K4", "one key for two purposes", advertised(lambda r: Keys(own(r).mask, own(r).mask))),
    case("W12", "another's advertisement", lambda r: r.replies[Stage.ADVERTISE][2]),
    case("R4", "the offer back", lambda r: flip(r.requests[Stage.ADVERTISE][LIAR], 47)[:47] + b"\x05" + b"\x00" * 16),
]


def two(round_: Round) -> Keys:
    return lies.keys_of(round_, 2)


SHARES = [
    case("W11", "one recipient less", lambda r: shares(r, {8: None})),
    case("W11", "one recipient more", lambda r: shares(r, {STRANGER: bytes(82)})),
    case("W10", "a stranger for another", lambda r: shares(r, {8: None, STRANGER: bytes(82)})),
    case("W10", "itself for another", lambda r: shares(r, {8: None, LIAR: bytes(82)})),
    case("W8", "a tag cut off", lambda r: shares(r, {})[:-16]),
    case("W12", "another's shares", lambda r: r.replies[Stage.SHARE][2]),
    case("R4", "the advertisement again", lambda r: r.replies[Stage.ADVERTISE][LIAR]),
]

INPUTS = [
    case("W11", "a word less", lambda r: words(r, -1)),
    case("W11", "a word more", lambda r: words(r, +1)),
    case("W13", "a word outside the ring", lambda r: r.ask(LIAR)[:-1] + b"\xff"),
    case("W12", "another's input", lambda r: r.replies[Stage.INPUT][2]),
    case("R4", "the shares again", lambda r: r.replies[Stage.SHARE][LIAR]),
]

OUTSIDE = FIELD.to_bytes(SHARE_BYTES, "big")
RELEASES = [
    case("S1", "a share that is p", lambda r: lies.release(r, LIAR, {2: OUTSIDE})),
    case("S1", "the last share 2^264 − 1", lambda r: lies.release(r, LIAR, {8: b"\xff" * SHARE_BYTES})),
    case("W11", "one share less", lambda r: lies.release(r, LIAR, {8: None})),
    case("W11", "one share more", lambda r: lies.release(r, LIAR, {STRANGER: bytes(SHARE_BYTES)})),
    case("W10", "a share of a stranger", lambda r: lies.release(r, LIAR, {8: None, STRANGER: bytes(SHARE_BYTES)})),
    case("W12", "another's shares", lambda r: r.replies[Stage.RELEASE][2]),
    case("R4", "the input again", lambda r: r.replies[Stage.INPUT][LIAR]),
]

EVERYWHERE = [
    case("R1", "of another session", lambda m: m[:8] + seed("another") + m[40:]),
    case("R2", "of the next round", lambda m: flip(m, 43)),
    case("W12", "in another's name", lambda m: m[:44] + struct.pack(">I", 2) + m[48:]),
    case("W12", "in the server's name", lambda m: m[:44] + bytes(4) + m[48:]),
    case("W5", "of another scheme", lambda m: flip(m, 7)),
    case("W1", "nothing", lambda m: b""),
    case("W8", "cut", lambda m: m[:-1]),
    case("W8", "a byte more", lambda m: m + b"\x00"),
]


def lie_to_server(rule: str, lie: Lie, stage: Stage) -> None:
    """The liar is refused and out (R5); the others' sum is what it would be had the liar dropped out there."""
    round_ = Round().until(stage)
    for client in (2, 3):
        round_.replies[stage][client] = round_.ask(client)
        round_.server.receive(client, round_.replies[stage][client])
    with refused(rule, peer=LIAR):
        round_.server.receive(LIAR, lie(round_))
    with refused("R5", peer=LIAR):
        round_.server.receive(LIAR, b"")
    round_.replies[stage][8] = round_.ask(8)
    round_.server.receive(8, round_.replies[stage][8])
    round_.server.advance()
    assert LIAR not in round_.server.requests()
    round_.until(Stage.DONE)
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.words is not None
    survivors = COHORT if stage is Stage.RELEASE else (2, 3, 8)
    assert round_.server.aggregate.survivors == survivors
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, survivors)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), ADVERTISEMENTS)
def test_advertisements(rule: str, lie: Lie) -> None:
    lie_to_server(rule, lie, Stage.ADVERTISE)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), SHARES)
def test_shares(rule: str, lie: Lie) -> None:
    lie_to_server(rule, lie, Stage.SHARE)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), INPUTS)
def test_inputs(rule: str, lie: Lie) -> None:
    lie_to_server(rule, lie, Stage.INPUT)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), RELEASES)
def test_releases(rule: str, lie: Lie) -> None:
    lie_to_server(rule, lie, Stage.RELEASE)


@pytest.mark.rule("R5")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("rule", "change"), EVERYWHERE)
def test_every_answer(rule: str, change: Callable[[bytes], bytes], stage: Stage) -> None:
    lie_to_server(rule, lambda round_: change(round_.ask(LIAR)), stage)


@pytest.mark.rule("R3")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("identical", [True, False])
def test_r3_a_second_answer(stage: Stage, identical: bool) -> None:
    """Whether it is the same or another: the first stays, and counts once."""
    round_ = Round().until(stage)
    round_.answer()
    with refused("R3", peer=LIAR):
        round_.server.receive(LIAR, round_.replies[stage][LIAR] if identical else flip(round_.replies[stage][LIAR], -1))
    round_.server.advance()
    round_.until(Stage.DONE)
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.words is not None
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)


@pytest.mark.rule("R6")
@pytest.mark.parametrize("stage", STAGES)
def test_r6_a_stranger(stage: Stage) -> None:
    round_ = Round().until(stage)
    message = round_.ask(LIAR)
    with refused("R6", peer=STRANGER):
        round_.server.receive(STRANGER, message[:44] + struct.pack(">I", STRANGER) + message[48:])


@pytest.mark.rule("R6")
@pytest.mark.parametrize("stage", STAGES)
def test_r6_late(stage: Stage) -> None:
    """The stage has closed: a good answer is dropped, and so is every later one of that client."""
    round_ = Round().until(stage)
    late = round_.ask(LIAR)
    round_.play(absent=(LIAR,))
    with refused("R6", peer=LIAR):
        round_.server.receive(LIAR, late)
    round_.until(Stage.DONE)
    with refused("R6", peer=LIAR):
        round_.server.receive(LIAR, late)


@pytest.mark.rule("R6")
def test_r6_after_the_end() -> None:
    round_ = Round().until(Stage.DONE)
    for client in COHORT:
        with refused("R6", peer=client):
            round_.server.receive(client, round_.replies[Stage.RELEASE][client])
    assert not round_.server.requests()


@pytest.mark.rule("R5")
@pytest.mark.parametrize("stage", STAGES)
def test_r5_after_too_few_answered(stage: Stage) -> None:
    round_ = Round().until(stage)
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
def test_r5_a_round_that_is_over_is_not_advanced() -> None:
    round_ = Round().until(Stage.DONE)
    aggregate = round_.server.aggregate
    with refused("R5"):
        round_.server.advance()
    assert round_.server.aggregate is aggregate


@pytest.mark.rule("O2")
def test_o2_a_server_with_another_layout_than_its_specification() -> None:
    with refused("O2"):
        MaskingServer(spec_of(layout=seed("another")), LAYOUT)


@pytest.mark.parametrize(
    ("rule", "owner", "change"),
    [
        case("S5", "a wrong share of a survivor's seed", 2, 1),
        case("S5", "a wrong share of its own seed", LIAR, -1),
        case("S5", "a share of nothing", 3, bytes(SHARE_BYTES)),
        case("S6", "a wrong share of a dropout's mask key", 8, 1),
        case("S6", "a share of nothing of a dropout's mask key", 8, bytes(SHARE_BYTES)),
    ],
)
def test_wrong_shares_abort_the_round_and_name_whose_secret_it_is(rule: str, owner: int, change: int | bytes) -> None:
    round_ = Round().until(Stage.RELEASE, {8: Stage.INPUT})
    round_.server.receive(LIAR, lies.release(round_, LIAR, {owner: change}))
    for client in (2, 3):
        round_.server.receive(client, round_.ask(client))
    with pytest.raises(RoundAborted, match=rf"client {owner}: \[{rule}\]") as caught:
        round_.server.advance()
    assert caught.value.stage == Stage.RELEASE
    assert round_.server.aggregate is None
    assert not round_.server.requests()
    with refused("R5", peer=2):
        round_.server.receive(2, b"")


@pytest.mark.parametrize(("rule", "owner"), [case("S5", "a seed", 2), case("S6", "a mask key", 8)])
def test_a_secret_over_32_bytes_is_none(rule: str, owner: int) -> None:
    """The field is a little larger than 2^256: one share is moved so that p − 1 comes out."""
    round_ = Round().until(Stage.RELEASE, {8: Stage.INPUT})
    ids = (2, 3, LIAR)
    weight = 1
    for other in ids[:2]:
        weight = weight * other * pow(other - LIAR, -1, FIELD) % FIELD
    secrets = lies.secrets_of(round_, owner)
    pairs = secrets.share_out(lies.roster_digest(round_), COHORT, 3)
    part = slice(0, SHARE_BYTES) if owner == 2 else slice(SHARE_BYTES, None)
    true = sum(
        int.from_bytes(pairs[i][part], "big")
        * np.prod([other * pow(other - i, -1, FIELD) for other in ids if other != i], dtype=object)
        for i in ids
    )
    move = (FIELD - 1 - true) * pow(weight, -1, FIELD)
    round_.server.receive(LIAR, lies.release(round_, LIAR, {owner: int(move % FIELD)}))
    for client in (2, 3):
        round_.server.receive(client, round_.ask(client))
    with pytest.raises(RoundAborted, match=rf"client {owner}: \[{rule}\]"):
        round_.server.advance()


def test_a_key_of_nobody_is_good() -> None:
    """What the K rules refuse is what they say, not every other key."""
    round_ = Round()
    message = Advertisement(Keys(some_key("a"), some_key("b"))).encode(context_of(round_.spec, LIAR))
    round_.server.receive(LIAR, message)
