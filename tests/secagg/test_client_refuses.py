"""A server that lies: the client refuses by the rule, names the server, and answers nothing any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from securefed.aggregation import Adversary, Credentials, Update
from securefed.errors import ConfigError, RemoteProtocolError
from securefed.participation import INPUT
from securefed.secagg.client import MaskingClient
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import Stage
from securefed.wire.header import SERVER
from tests.rounds import COHORT, LAYOUT, MALICIOUS, Round, identities, identity_of, seed, signing_key, spec_of
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.lies import LOW_ORDER, NOT_CANONICAL, STRANGER, VICTIM, entry_of, flip, roster, some_key, with_key
from tests.secagg.modes import both_modes, told_at

Lie = Callable[[Round], bytes]


def no_update() -> Update:
    raise AssertionError("nobody trains for a request that is refused")


def from_another(stage: Stage | None, **changes: object) -> Lie:
    """What the same server says in another session: a replay. No stage: the one that tells who survived."""

    def replayed(round_: Round) -> bytes:
        at = stage or told_at(round_.spec.adversary)
        return Round(spec_of(adversary=round_.spec.adversary, **changes)).until(at).requests[at][VICTIM]

    return replayed


OFFERS = [
    case("R7", "a cohort without the receiver", lambda r: lies.offer(r, cohort=(2, 5, 8, 9))),
    case("O2", "another layout", lambda r: lies.offer(r, layout=seed("layout"))),
    case("O2", "one value more", lambda r: lies.offer(r, values=LAYOUT.size + 1)),
    case("O2", "one scalar less", lambda r: lies.offer(r, scalars=1)),
    case("R1", "a specification with another bit", lambda r: flip(lies.offer(r), 64)),
    case("R2", "a header of another round", lambda r: flip(lies.offer(r), 43)),
    case("W15", "a server of no kind", lambda r: flip(lies.offer(r), 64 + 36, 7)),
    case("W15", "no bits of security", lambda r: lies.offer(r)[: 64 + 37] + b"\0" + lies.offer(r)[64 + 38 :]),
    case("W15", "so many losses that too few are left", lambda r: flip(lies.offer(r), 64 + 42)),
    case("W12", "from a client", lambda r: flip(lies.offer(r), 47)),
    case("W5", "of another scheme", lambda r: flip(lies.offer(r), 7)),
    case("R4", "survivors of an earlier round", from_another(None)),
]

SIGNED_OFFERS = [
    case("K6", "a cohort with a stranger", lambda r: lies.offer(r, cohort=(2, 3, 5, STRANGER))),
    case("K6", "a cohort with a stranger more", lambda r: lies.offer(r, cohort=(*COHORT, STRANGER))),
]

ROSTERS = [
    case("R7", "without the receiver", lambda r: roster(r, {VICTIM: None})),
    case("R7", "smaller than L", lambda r: roster(r, {2: None, 5: None})),
    case("R7", "nobody", lambda r: roster(r, dict.fromkeys(COHORT))),
    case("W10", "a stranger", lambda r: roster(r, {2: None, STRANGER: lies.somebody(r)})),
    case("W7", "longer than the cohort", lambda r: roster(r, {STRANGER: lies.somebody(r)})),
    case("K3", "another channel key of the receiver", lambda r: with_key(r, VICTIM, channel=some_key("a"))),
    case("K3", "another mask key of the receiver", lambda r: with_key(r, VICTIM, mask=some_key("a"))),
    case("K3", "another promise of the receiver", lambda r: with_key(r, VICTIM, promise=seed("another"))),
    case(
        "K3",
        "the receiver's keys exchanged",
        lambda r: with_key(r, VICTIM, channel=entry_of(r, VICTIM).mask, mask=entry_of(r, VICTIM).channel),
    ),
    case("K4", "the receiver's channel key reflected", lambda r: with_key(r, 5, channel=entry_of(r, VICTIM).channel)),
    case("K4", "the receiver's mask key reflected", lambda r: with_key(r, 5, mask=entry_of(r, VICTIM).mask)),
    case("K4", "one client under two ids", lambda r: roster(r, {5: lies.signed(r, 5, entry_of(r, 8))})),
    case("K4", "one channel key twice", lambda r: with_key(r, 5, channel=entry_of(r, 2).channel)),
    case("K4", "one mask key twice", lambda r: with_key(r, 5, mask=entry_of(r, 2).mask)),
    case("K4", "a mask key in the other column", lambda r: with_key(r, 5, channel=entry_of(r, 2).mask)),
    case("K4", "one key for two purposes", lambda r: with_key(r, 5, channel=entry_of(r, 5).mask)),
    case("K1", "low order as a channel key", lambda r: with_key(r, 5, channel=LOW_ORDER)),
    case("K1", "low order as a mask key", lambda r: with_key(r, 5, mask=LOW_ORDER)),
    case("K2", "not canonical as a channel key", lambda r: with_key(r, 5, channel=NOT_CANONICAL)),
    case("K2", "not canonical as a mask key", lambda r: with_key(r, 5, mask=NOT_CANONICAL)),
    case("K2", "the same key with its top bit", lambda r: with_key(r, 5, mask=flip(entry_of(r, 2).mask, 31, 7))),
    case("R1", "of another attempt", from_another(Stage.SHARE, nonce=seed("another"))),
    case("R1", "of another model", from_another(Stage.SHARE, model=seed("another"))),
    case("R1", "of the next round", from_another(Stage.SHARE, round=8)),
    case("R2", "with another round in its header", lambda r: flip(roster(r, {}), 43)),
    case("R4", "the offer again", lambda r: r.requests[Stage.ADVERTISE][VICTIM]),
    case("W12", "from a client", lambda r: flip(roster(r, {}), 47)),
    case("W9", "descending", lambda r: roster(r, {})[:64] + roster(r, {})[64:80][::-1] + roster(r, {})[80:]),
]


def unsigned(round_: Round, client: int, **changes: bytes) -> bytes:
    """One client's entry changed by the server alone: the signature stays the old one."""
    return roster(round_, {client: replace(entry_of(round_, client), **changes)})


def another_attempt(round_: Round, client: int) -> bytes:
    """The client's entry of another attempt at the round, signed by it there."""
    other = Round(spec_of(adversary=round_.spec.adversary, nonce=seed("another"))).until(Stage.SHARE)
    return roster(round_, {client: entry_of(other, client)})


SIGNED_ROSTERS = [
    case("K5", "the server's channel key", lambda r: unsigned(r, 5, channel=some_key("a"))),
    case("K5", "the server's mask key", lambda r: unsigned(r, 5, mask=some_key("a"))),
    case("K5", "other picks", lambda r: unsigned(r, 5, promise=seed("another"))),
    case("K5", "a bit of a signature", lambda r: unsigned(r, 2, signature=flip(entry_of(r, 2).signature, 40))),
    case("K5", "no signature", lambda r: unsigned(r, 2, signature=bytes(64))),
    case("K5", "another's signature", lambda r: unsigned(r, 2, signature=entry_of(r, 8).signature)),
    case("K5", "signed by another client", lambda r: roster(r, {2: lies.signed(r, 2, entry_of(r, 2), by=8)})),
    case("K5", "keys that another signed for itself", lambda r: roster(r, {5: lies.somebody(r, 8)})),
    case("K5", "of another attempt", lambda r: another_attempt(r, 8)),
    case("K3", "another signature of the receiver", lambda r: unsigned(r, VICTIM, signature=bytes(64))),
]


def deceive(rule: str, lie: Lie, stage: Stage, adversary: Adversary) -> None:
    """The client refuses the lie, nobody trains for it, and then the truth comes too late (R5)."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    client, truth = round_.clients[VICTIM], round_.server.requests()[VICTIM]
    message = lie(round_)
    with refused(rule) as caught:
        client.reply(message, no_update)
    assert isinstance(caught.value, RemoteProtocolError)
    assert caught.value.peer == SERVER
    for again in (truth, message, round_.requests[Stage.ADVERTISE][VICTIM]):
        with refused("R5", peer=SERVER):
            client.reply(again, no_update)


@both_modes
@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), OFFERS)
def test_offers(rule: str, lie: Lie, adversary: Adversary) -> None:
    deceive(rule, lie, Stage.ADVERTISE, adversary)


@pytest.mark.parametrize(("rule", "lie"), SIGNED_OFFERS)
def test_signed_offers(rule: str, lie: Lie) -> None:
    deceive(rule, lie, Stage.ADVERTISE, MALICIOUS)


@both_modes
@pytest.mark.rule("R5")
@pytest.mark.parametrize(("rule", "lie"), ROSTERS)
def test_rosters(rule: str, lie: Lie, adversary: Adversary) -> None:
    deceive(rule, lie, Stage.SHARE, adversary)


@pytest.mark.parametrize(("rule", "lie"), SIGNED_ROSTERS)
def test_signed_rosters(rule: str, lie: Lie) -> None:
    deceive(rule, lie, Stage.SHARE, MALICIOUS)


def test_a_roster_that_a_client_signed_itself_is_taken() -> None:
    """What K5 refuses is what it says: new keys of a corrupt client under its own signature are good."""
    round_ = Round().until(Stage.SHARE)
    assert round_.ask(VICTIM, with_key(round_, 5, channel=some_key("a"), mask=some_key("b")))


@pytest.mark.rule("R11")
@both_modes
@pytest.mark.parametrize("round_number", [0, 6, 7])
def test_r11_a_round_that_is_over_is_not_offered_again(adversary: Adversary, round_number: int) -> None:
    """Round 7 was given an input: neither another attempt at it nor an older round is taken part in."""
    identity = identity_of(VICTIM)
    identity.record.claim(INPUT, 7, seed("an earlier session"))
    again = Round(spec_of(adversary=adversary, round=round_number, nonce=seed("another")))
    client = MaskingClient(identity)
    with refused("R11", peer=SERVER):
        client.reply(again.server.requests()[VICTIM], no_update)
    later = Round(spec_of(adversary=adversary, round=8))
    assert MaskingClient(identity).reply(later.server.requests()[VICTIM], no_update)


@pytest.mark.rule("K7")
@pytest.mark.parametrize(
    "known",
    [
        pytest.param({**identities(COHORT), 8: signing_key(5).public}, id="one key for two clients"),
        pytest.param({**identities(COHORT), 8: signing_key(VICTIM).public}, id="its own key for another too"),
        pytest.param(identities((2, 5, 8)), id="without its own"),
        pytest.param({**identities(COHORT), VICTIM: signing_key(9).public}, id="with another key of its own"),
        pytest.param({**identities(COHORT), 8: signing_key(8).public[:31]}, id="with a key that is too short"),
    ],
)
def test_k7_an_identity_roster_that_protects_nobody(known: dict[int, bytes]) -> None:
    with refused("K7"):
        replace(identity_of(VICTIM), credentials=Credentials(signing_key(VICTIM), known))


@pytest.mark.rule("K7")
@both_modes
def test_k7_at_the_server(adversary: Adversary) -> None:
    with refused("K7"):
        MaskingServer(spec_of(adversary=adversary), LAYOUT, {**identities(COHORT), 8: signing_key(5).public})


@pytest.mark.parametrize("known", [None, {}, identities((2, 3, 5))], ids=["none", "empty", "without 8"])
def test_k6_at_the_server_is_a_mistake_in_the_configuration(known: dict[int, bytes] | None) -> None:
    with pytest.raises(ConfigError, match="needs the identity key of client") as caught:
        MaskingServer(spec_of(), LAYOUT, known)
    assert caught.value.key == "identities"
    assert MaskingServer(spec_of(), LAYOUT, identities(range(1, 20)))
