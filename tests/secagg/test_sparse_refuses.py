"""What can be lied about in a sparse graph alone: picks, neighbours that are gone, sampled consents, attestations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from securefed.aggregation import Update
from securefed.crypto.hashing import digest
from securefed.errors import RoundAborted
from securefed.secagg.keys import PairContext
from securefed.secagg.stages import Stage
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Input
from securefed.wire.from_server import Agreement, Delivered
from securefed.wire.header import HEADER_BYTES, SERVER
from tests.rounds import context_of, plain_sum, seed, signing_key
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.lies import flip
from tests.secagg.sparse import FEW, SMALL, SMALL_TRUSTING, TIGHT, Sparse, consents_drawn, foretell

VICTIM = 2
"""Of every cohort here the first."""


def no_update() -> Update:
    raise AssertionError("nobody trains for a request that is refused")


def over(round_: Sparse, rule: str, message: bytes) -> None:
    """The victim refuses by this rule, and is out."""
    with refused(rule, peer=SERVER):
        round_.clients[VICTIM].reply(message, no_update)
    with refused("R5", peer=SERVER):
        round_.clients[VICTIM].reply(round_.server.requests()[VICTIM], no_update)


def strangers(round_: Sparse) -> list[int]:
    """Those that did not pick the victim."""
    edges = round_.neighbourhoods()
    return [client for client in round_.spec.cohort if client != VICTIM and VICTIM not in edges[client].holders]


@pytest.mark.rule("R7")
@pytest.mark.parametrize("adversary", [SMALL, SMALL_TRUSTING], ids=["malicious", "semi-honest"])
def test_r7_too_few_holders_in_the_roster(adversary: object) -> None:
    """Enough clients, but the server says that those who would hold the victim's shares did not advertise."""
    for gone, rule in ((-1, None), (0, "R7")):
        round_ = Sparse(28, adversary).until(Stage.SHARE)  # type: ignore[arg-type]
        own, found = round_.neighbourhood(VICTIM), round_.found
        kept_back = sorted(own.holders)[: found.neighbours - found.threshold + 1 + gone]
        message = lies.roster(round_, dict.fromkeys(kept_back))
        if rule:
            over(round_, rule, message)
        else:
            assert round_.clients[VICTIM].reply(message, no_update)


def without(round_: Sparse, gone: set[int]) -> bytes:
    """The victim's delivery as if these had not shared."""
    good = lies.good_delivery(round_, VICTIM)
    left = dict.fromkeys(gone & good.senders.keys())
    return lies.delivery(round_, left, shared=[c for c in good.shared if c not in gone], victim=VICTIM)


@pytest.mark.rule("R8")
def test_r8_too_few_holders_shared() -> None:
    round_ = Sparse(28, SMALL).until(Stage.INPUT)
    own, found = round_.neighbourhood(VICTIM), round_.found
    over(round_, "R8", without(round_, set(sorted(own.holders)[: found.neighbours - found.threshold + 1])))


@pytest.mark.rule("G3")
def test_g3_too_few_of_its_own_mask_peers_shared() -> None:
    """Enough holders, one mask peer too few: the rest could all be the server's."""
    round_ = Sparse(24, TIGHT).until(Stage.INPUT)
    own, found = round_.neighbourhood(VICTIM), round_.found
    gone = set(sorted(own.picked_masks)[: found.masks - found.least_masks + 1])
    assert len(own.holders - gone) >= found.threshold
    over(round_, "G3", without(round_, gone))


def stranger_as_sender(round_: Sparse, secret: Callable[[int], bytes]) -> bytes:
    stranger = strangers(round_)[0]
    return lies.delivery(round_, {stranger: Delivered(secret(stranger), bytes(82))}, victim=VICTIM)


@pytest.mark.parametrize(
    ("rule", "secret"),
    [
        case("G2", "its own", lambda r, client: lies.secrets_of(r, client).pick_secret),
        case("G1", "that of one who did pick the victim", lambda r, _: next(iter(picked(r))).pick_secret),
        case("G1", "one that picks the victim", lambda r, client: wishful(r, client)),
    ],
)
def test_a_sender_that_did_not_pick_the_receiver(rule: str, secret: Callable[[Sparse, int], bytes]) -> None:
    """A pick secret is promised with the keys: afterwards neither the server nor the client can choose another."""
    round_ = Sparse(28, SMALL).until(Stage.INPUT)
    over(round_, rule, stranger_as_sender(round_, lambda client: secret(round_, client)))


def picked(round_: Sparse) -> list[Delivered]:
    return list(lies.good_delivery(round_, VICTIM).senders.values())


def wishful(round_: Sparse, client: int) -> bytes:
    """Found by trial: a secret by which this client would have picked the victim."""
    for at in range(1000):
        edges = replace_secret(round_, client, seed(f"try {at}"))
        if VICTIM in edges:
            return seed(f"try {at}")
    raise AssertionError


def replace_secret(round_: Sparse, client: int, secret: bytes) -> frozenset[int]:
    return round_.neighbourhood(client).of(round_.spec, round_.found, client, secret).holders


@pytest.mark.rule("W7")
def test_w7_more_senders_than_pick_one_client() -> None:
    round_ = Sparse(40, FEW).until(Stage.INPUT)
    most = round_.found.most_senders(40)
    assert most < 39
    anyone = {client: Delivered(bytes(32), bytes(82)) for client in round_.spec.cohort if client != VICTIM}
    few = dict.fromkeys(lies.good_delivery(round_, VICTIM).senders) | dict(list(anyone.items())[: most + 1])
    message = lies.delivery(round_, {**few}, victim=VICTIM)
    over(round_, "W7", message)


@pytest.mark.rule("W10")
@pytest.mark.rule("W11")
def test_a_client_that_shares_with_others_than_it_picked() -> None:
    """Its recipients follow from its promised picks: one less, one more or another is refused by the server."""
    for rule, change in (("W11", (1, 0)), ("W11", (0, 1)), ("W10", (1, 1))):
        round_ = Sparse(28, SMALL).until(Stage.SHARE)
        own, message = round_.neighbourhood(VICTIM), round_.ask(VICTIM)
        fixed = message[: HEADER_BYTES + 64]
        ids = sorted(own.holders)[change[0] :]
        ids = sorted(ids + [c for c in round_.spec.cohort if c != VICTIM and c not in own.holders][: change[1]])
        body = b"".join(client.to_bytes(4, "big") for client in ids) + bytes(82 * len(ids))
        count = len(ids).to_bytes(8, "big")
        with refused(rule, peer=VICTIM):
            round_.server.receive(VICTIM, fixed[:48] + count + fixed[56:] + body)


@pytest.mark.rule("G3")
@pytest.mark.parametrize("whose", ["its own", "of one whose share it holds"])
def test_g3_survivors_that_leave_one_of_them_alone(whose: str) -> None:
    """A set of L survivors is not enough: one of them, hidden by nobody but the server's own, would be opened."""
    round_ = Sparse(28, SMALL).until(Stage.CONSENT)
    edges, found, cohort = round_.neighbourhoods(), round_.found, round_.spec.cohort
    holds = [client for client in cohort if VICTIM in edges[client].holders]
    lonely = VICTIM if whose == "its own" else holds[0]
    peers = sorted(edges[lonely].picked_masks - {VICTIM, lonely})
    gone = set(peers[: found.masks - found.least_masks + 1])
    survived = [client for client in cohort if client not in gone]
    assert len(survived) >= round_.spec.threshold
    over(round_, "G3", lies.survivors(round_, *survived))


def test_g3_does_not_ask_for_those_whose_share_is_not_held() -> None:
    """Of a stranger in trouble the client knows no picks: the stranger's holders see to it."""
    round_ = Sparse(28, SMALL).until(Stage.CONSENT)
    edges, found, cohort = round_.neighbourhoods(), round_.found, round_.spec.cohort
    known = [client for client in cohort if client == VICTIM or VICTIM in edges[client].holders]
    for stranger in strangers(round_):
        gone = set(sorted(edges[stranger].picked_masks - {VICTIM})[: found.masks - found.least_masks + 1])
        survived = set(cohort) - gone
        if all(len(edges[c].picked_masks & survived) >= found.least_masks for c in known if c in survived):
            assert round_.clients[VICTIM].reply(lies.survivors(round_, *survived), no_update)
            return
    pytest.fail("no stranger can be left alone without one of those known")


def agreed(round_: Sparse) -> Agreement:
    """The victim's good agreement."""
    cohort = round_.spec.cohort
    attesting = [client for client in cohort if VICTIM in round_.neighbourhood(client).holders]
    message = round_.server.requests()[VICTIM]
    return Agreement.decode(message, context_of(round_.spec), cohort, cohort, attesting)


def packed(round_: Sparse, agreement: Agreement) -> bytes:
    return agreement.encode(context_of(round_.spec), round_.spec.cohort)


@pytest.mark.rule("C1")
def test_c1_a_false_consent_is_seen_by_those_who_draw_it() -> None:
    """And by no other: what is drawn depends on the list itself, so it cannot be arranged for the sample."""
    seen = set()
    for liar in Sparse(28, SMALL).spec.cohort:
        round_ = Sparse(28, SMALL).until(Stage.RELEASE)
        good = agreed(round_)
        message = packed(round_, replace(good, signatures=good.signatures | {liar: bytes(64)}))
        drawn = liar in consents_drawn(round_, VICTIM, message)
        seen.add(drawn)
        if drawn:
            over(round_, "C1", message)
        else:
            assert round_.clients[VICTIM].reply(message, no_update)
        if len(seen) == 2:
            return
    pytest.fail("all or nothing is drawn")


@pytest.mark.rule("C2")
def test_c2_too_few_of_those_drawn_have_consented() -> None:
    round_ = Sparse(28, SMALL).until(Stage.RELEASE)
    good, found = agreed(round_), round_.found
    signers = dict(good.signatures)
    while len(set(signers).intersection(drawn(round_, good, signers))) >= found.least_signatures:
        signers.popitem()
    over(round_, "C2", packed(round_, replace(good, signatures=signers)))


def drawn(round_: Sparse, good: Agreement, signers: dict[int, bytes]) -> list[int]:
    return consents_drawn(round_, VICTIM, packed(round_, replace(good, signatures=signers)))


def fewer(round_: Sparse) -> tuple[int, ...]:
    return round_.spec.cohort[:-1]


def attestation(round_: Sparse, client: int, shared: tuple[int, ...]) -> bytes:
    """Signed by that client: it masked within this set."""
    pairs = PairContext(round_.spec.session, digest(round_.requests[Stage.SHARE][client]))
    return signing_key(client).sign(pairs.attested(pack_set(shared, round_.spec.cohort)))


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        case("G4", "a bit of one", lambda r, who, good: flip(good, 3)),
        case("G4", "none", lambda r, who, good: bytes(64)),
        case("G4", "for a smaller set", lambda r, who, good: attestation(r, who, fewer(r))),
        case("G4", "another's", lambda r, who, good: attestation(r, VICTIM, r.spec.cohort)),
    ],
)
def test_g4_at_a_client(rule: str, changed: Callable[[Sparse, int, bytes], bytes]) -> None:
    """Who was told of fewer clients masked with fewer: its shares are not released beside those of the others."""
    round_ = Sparse(28, SMALL).until(Stage.RELEASE)
    good = agreed(round_)
    whose = next(iter(good.attestations))
    assert good.attestations[whose] == attestation(round_, whose, round_.spec.cohort)
    false = replace(good, attestations=good.attestations | {whose: changed(round_, whose, good.attestations[whose])})
    over(round_, rule, packed(round_, false))


@pytest.mark.rule("W8")
def test_w8_an_attestation_less() -> None:
    round_ = Sparse(28, SMALL).until(Stage.RELEASE)
    good = agreed(round_)
    over(round_, "W8", packed(round_, replace(good, attestations=dict(list(good.attestations.items())[1:]))))


def input_of(round_: Sparse, client: int) -> Input:
    message = round_.ask(client)
    words = (len(message) - HEADER_BYTES - 64) // 8
    return Input.decode(message, context_of(round_.spec, client), words, attested=True)


@pytest.mark.parametrize(
    ("rule", "lie"),
    [
        case(
            "G4", "for a smaller set", lambda r, good: replace(good, attestation=attestation(r, 5, r.spec.cohort[1:]))
        ),
        case("G4", "another's", lambda r, good: replace(good, attestation=attestation(r, 8, r.spec.cohort))),
        case("G4", "none", lambda r, good: replace(good, attestation=bytes(64))),
        case("W8", "left out", lambda r, good: replace(good, attestation=b"")),
        case("W13", "good, before words outside the ring", lambda r, good: replace(good, words=outside(good))),
    ],
)
def test_g4_at_the_server(rule: str, lie: Callable[[Sparse, Input], Input]) -> None:
    """The liar counts as dropped, and the others end the round without it."""
    for attempt in range(20):
        round_ = Sparse(28, SMALL, f"nonce {attempt}").until(Stage.INPUT)
        for client in round_.spec.cohort:
            message = round_.ask(client) if client != 5 else b""
            if client == 5:
                false = lie(round_, input_of(round_, 5)).encode(context_of(round_.spec, 5))
                with refused(rule, peer=5):
                    round_.server.receive(5, false)
                continue
            round_.server.receive(client, message)
        round_.server.advance()
        try:
            round_.until(Stage.DONE)
        except RoundAborted:
            assert foretell(round_, {5: Stage.INPUT}).aborted
            continue
        told = foretell(round_, {5: Stage.INPUT})
        assert round_.refused == told.refused
        assert round_.server.aggregate is not None
        assert round_.server.aggregate.words is not None
        assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, told.survivors)
        return
    pytest.fail("no round ended")


def outside(good: Input) -> object:
    words = good.words.copy()
    words[-1] |= 1 << 63
    return words
