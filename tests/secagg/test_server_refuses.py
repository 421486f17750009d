"""Clients that lie, come late or twice: the server refuses the one message, names the client, and goes on."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from securefed.aggregation import Adversary
from securefed.crypto.shamir import FIELD, SHARE_BYTES
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import Stage
from securefed.wire.from_client import Advertisement, Consent, Entry, Input
from tests.rounds import COHORT, LAYOUT, MALICIOUS, Round, context_of, plain_sum, seed, spec_of
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.lies import LOW_ORDER, NOT_CANONICAL, STRANGER, flip, some_key
from tests.secagg.modes import both_modes, every_stage

LIAR = 5
"""Answers after 2 and 3, before 8."""

Lie = Callable[[Round], bytes]


def own(round_: Round) -> Entry:
    """What the liar would advertise."""
    message = round_.ask(LIAR)
    return Advertisement.decode(
        message, context_of(round_.spec, LIAR), signed=round_.spec.adversary.malicious
    ).entry  # fmt: skip


def changed(change: Callable[[Round], dict[str, bytes]]) -> Lie:
    """The liar's advertisement with fields changed, and signed again by itself."""

    def lie(round_: Round) -> bytes:
        entry = lies.signed(round_, LIAR, replace(own(round_), **change(round_)))
        return Advertisement(entry).encode(context_of(round_.spec, LIAR))

    return lie


def two(round_: Round) -> Entry:
    return lies.entry_of(round_, 2)


ADVERTISEMENTS = [
    case("K1", "low order as a channel key", changed(lambda r: {"channel": LOW_ORDER})),
    case("K1", "low order as a mask key", changed(lambda r: {"mask": LOW_ORDER})),
    case("K2", "not canonical as a channel key", changed(lambda r: {"channel": NOT_CANONICAL})),
    case("K2", "not canonical as a mask key", changed(lambda r: {"mask": NOT_CANONICAL})),
    case("K2", "2's mask key with its top bit", changed(lambda r: {"mask": flip(two(r).mask, 31, 7)})),
    case("K4", "another's keys", changed(lambda r: {"channel": two(r).channel, "mask": two(r).mask})),
    case("K4", "another's channel key", changed(lambda r: {"channel": two(r).channel})),
    case("K4", "another's mask key", changed(lambda r: {"mask": two(r).mask})),
    case("K4", "another's channel key as a mask key", changed(lambda r: {"mask": two(r).channel})),
    case("K4", "another's mask key as a channel key", changed(lambda r: {"channel": two(r).mask})),
    case("K4", "one key for two purposes", changed(lambda r: {"channel": some_key("a"), "mask": some_key("a")})),
    case("W12", "another's advertisement", lambda r: r.replies[Stage.ADVERTISE][2]),
    case("R4", "the offer back", lambda r: flip(r.requests[Stage.ADVERTISE][LIAR], 47)[:47] + b"\x05" + b"\x00" * 16),
]


def unsigned(change: Callable[[Round], dict[str, bytes]]) -> Lie:
    """The liar's advertisement with fields changed, under the old signature or one that is given."""
    return lambda round_: Advertisement(replace(own(round_), **change(round_))).encode(context_of(round_.spec, LIAR))


SIGNED_ADVERTISEMENTS = [
    case("K5", "another channel key", unsigned(lambda r: {"channel": some_key("a")})),
    case("K5", "another mask key", unsigned(lambda r: {"mask": some_key("a")})),
    case("K5", "other picks", unsigned(lambda r: {"promise": seed("another")})),
    case("K5", "no signature", unsigned(lambda r: {"signature": bytes(64)})),
    case("K5", "another's signature", unsigned(lambda r: {"signature": two(r).signature})),
    case("W8", "without its signature", unsigned(lambda r: {"signature": b""})),
]


def shares(round_: Round, changes: dict[int, bytes | None], pick_secret: bytes | None = None) -> bytes:
    good = lies.shares_of(round_, LIAR, round_.ask(LIAR))
    sealed = {client: box for client, box in (good.sealed | changes).items() if box is not None}
    made = replace(good, sealed=sealed, pick_secret=pick_secret or good.pick_secret)
    return made.encode(context_of(round_.spec, LIAR))


SHARES = [
    case("W11", "one recipient less", lambda r: shares(r, {8: None})),
    case("W11", "one recipient more", lambda r: shares(r, {STRANGER: bytes(82)})),
    case("W10", "a stranger for another", lambda r: shares(r, {8: None, STRANGER: bytes(82)})),
    case("W10", "itself for another", lambda r: shares(r, {8: None, LIAR: bytes(82)})),
    case("W8", "a tag cut off", lambda r: shares(r, {})[:-16]),
    case("G1", "a pick secret that was not promised", lambda r: shares(r, {}, seed("another"))),
    case("G1", "another's pick secret", lambda r: shares(r, {}, lies.secrets_of(r, 2).pick_secret)),
    case("W12", "another's shares", lambda r: r.replies[Stage.SHARE][2]),
    case("R4", "the advertisement again", lambda r: r.replies[Stage.ADVERTISE][LIAR]),
]


def words(round_: Round, more: int) -> bytes:
    message = round_.ask(LIAR)
    count = (len(message) - 64) // 8
    packed = Input.decode(message, context_of(round_.spec, LIAR), count).words
    return Input(np.resize(packed, count + more)).encode(context_of(round_.spec, LIAR))


INPUTS = [
    case("W11", "a word less", lambda r: words(r, -1)),
    case("W11", "a word more", lambda r: words(r, +1)),
    case("W13", "a word outside the ring", lambda r: r.ask(LIAR)[:-1] + b"\xff"),
    case("W12", "another's input", lambda r: r.replies[Stage.INPUT][2]),
    case("R4", "the shares again", lambda r: r.replies[Stage.SHARE][LIAR]),
]


def consent(signature: Callable[[Round], bytes]) -> Lie:
    return lambda round_: Consent(signature(round_)).encode(context_of(round_.spec, LIAR))


CONSENTS = [
    case("C1", "a bit of it", lambda r: flip(r.ask(LIAR), -1)),
    case("C1", "to other survivors", consent(lambda r: lies.consent_to(r, LIAR, (2, 3, 5)))),
    case("C1", "another's", consent(lambda r: lies.consent_to(r, 2, COHORT))),
    case("C1", "the signature of its advertisement", consent(lambda r: lies.entry_of(r, LIAR).signature)),
    case("C1", "none", consent(lambda _: bytes(64))),
    case("W12", "another's message", lambda r: r.replies[Stage.CONSENT][2]),
    case("R4", "the input again", lambda r: r.replies[Stage.INPUT][LIAR]),
]

OUTSIDE = FIELD.to_bytes(SHARE_BYTES, "big")
RELEASES = [
    case("S1", "a share that is p", lambda r: lies.release(r, LIAR, {2: OUTSIDE})),
    case("S1", "the last share 2^264 − 1", lambda r: lies.release(r, LIAR, {8: b"\xff" * SHARE_BYTES})),
    case("W7", "one share more than clients", lambda r: lies.release(r, LIAR, {STRANGER: bytes(SHARE_BYTES)})),
    case("W10", "a share of a stranger", lambda r: lies.release(r, LIAR, {8: None, STRANGER: bytes(SHARE_BYTES)})),
    case("W8", "half a share", lambda r: lies.release(r, LIAR, {})[:-16]),
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


def lie_to_server(rule: str, lie: Lie, stage: Stage, adversary: Adversary) -> None:
    """The liar is refused and out (R5); the others' sum is what it would be had the liar dropped out there."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
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
    survivors = COHORT if stage in (Stage.CONSENT, Stage.RELEASE) else (2, 3, 8)
    assert round_.server.aggregate.survivors == survivors
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, survivors)


@both_modes
@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), ADVERTISEMENTS)
def test_advertisements(rule: str, lie: Lie, adversary: Adversary) -> None:
    lie_to_server(rule, lie, Stage.ADVERTISE, adversary)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), SIGNED_ADVERTISEMENTS)
def test_signed_advertisements(rule: str, lie: Lie) -> None:
    lie_to_server(rule, lie, Stage.ADVERTISE, MALICIOUS)


@both_modes
@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), SHARES)
def test_shares(rule: str, lie: Lie, adversary: Adversary) -> None:
    lie_to_server(rule, lie, Stage.SHARE, adversary)


@both_modes
@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), INPUTS)
def test_inputs(rule: str, lie: Lie, adversary: Adversary) -> None:
    lie_to_server(rule, lie, Stage.INPUT, adversary)


@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), CONSENTS)
def test_consents(rule: str, lie: Lie) -> None:
    lie_to_server(rule, lie, Stage.CONSENT, MALICIOUS)


@both_modes
@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), RELEASES)
def test_releases(rule: str, lie: Lie, adversary: Adversary) -> None:
    lie_to_server(rule, lie, Stage.RELEASE, adversary)


@pytest.mark.rule("R5")
@every_stage
@pytest.mark.parametrize(("rule", "change"), EVERYWHERE)
def test_every_answer(rule: str, change: Callable[[bytes], bytes], adversary: Adversary, stage: Stage) -> None:
    lie_to_server(rule, lambda round_: change(round_.ask(LIAR)), stage, adversary)


@pytest.mark.rule("O2")
@both_modes
def test_o2_a_server_with_another_layout_than_its_specification(adversary: Adversary) -> None:
    with refused("O2"):
        MaskingServer(spec_of(adversary=adversary, layout=seed("another")), LAYOUT)


@both_modes
def test_a_key_of_nobody_is_good(adversary: Adversary) -> None:
    """What the K rules refuse is what they say, not every other key."""
    round_ = Round(spec_of(adversary=adversary))
    entry = lies.signed(round_, LIAR, Entry(some_key("a"), some_key("b"), seed("promise")))
    round_.server.receive(LIAR, Advertisement(entry).encode(context_of(round_.spec, LIAR)))


def test_a_refused_advertisement_takes_nobodys_keys() -> None:
    """8's keys under 5's name without 5's signature: refused, and 8 may advertise them."""
    round_ = Round()
    theirs = Advertisement.decode(round_.ask(8), context_of(round_.spec, 8), signed=True).entry
    with refused("K5", peer=LIAR):
        round_.server.receive(LIAR, Advertisement(theirs).encode(context_of(round_.spec, LIAR)))
    round_.server.receive(8, Advertisement(theirs).encode(context_of(round_.spec, 8)))
