"""What can be lied about in a sparse graph alone: picks, neighbours that are gone, sampled consents, attestations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from securefed.aggregation import Adversary, Update
from securefed.secagg.client import MaskingClient
from securefed.secagg.graph import Neighbourhood
from securefed.secagg.keys import ClientSecrets
from securefed.secagg.stages import Stage
from securefed.wire.from_server import Agreement, Delivered
from securefed.wire.header import HEADER_BYTES, SERVER
from tests.rounds import context_of, plain_sum, seed, update_of
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.sparse import FORTY_TRUSTING, LOSSY_TRUSTING, SMALL, TIGHT, Sparse, consents_drawn

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
@pytest.mark.parametrize(("n", "adversary"), [(28, SMALL), (40, LOSSY_TRUSTING)], ids=["malicious", "semi-honest"])
def test_r7_too_few_holders_in_the_roster(n: int, adversary: Adversary) -> None:
    """Enough clients, but the server says that those who would hold the victim's shares did not advertise."""
    for gone, rule in ((-1, None), (0, "R7")):
        round_ = Sparse(n, adversary).until(Stage.SHARE)
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


def left_out(round_: Sparse, number: int) -> set[int]:
    """So many, of whom none holds a share of the victim's or picked it: their loss is no loss to the victim."""
    away = set(strangers(round_)) - round_.neighbourhood(VICTIM).holders
    assert len(away) >= number
    return set(sorted(away)[:number])


@pytest.mark.parametrize(
    ("rule", "stage"), [case("R7", "of the roster", Stage.SHARE), case("R8", "of the delivery", Stage.INPUT),
                        case("R9", "of the survivors", Stage.RELEASE)],
)  # fmt: skip
def test_more_losses_than_stated_under_a_semi_honest_server(rule: str, stage: Stage) -> None:
    """More than L are left, and the victim has all its holders. But masks are drawn for at most D losses."""
    for more in (0, 1):
        round_ = Sparse(40, FORTY_TRUSTING).until(stage)
        gone = left_out(round_, 4 + more)
        assert len(round_.spec.cohort) - len(gone) > round_.spec.threshold
        if stage is Stage.SHARE:
            message = lies.roster(round_, dict.fromkeys(gone))
        elif stage is Stage.INPUT:
            message = without(round_, gone)
        else:
            message = lies.survivors(round_, *(client for client in round_.spec.cohort if client not in gone))
        if more:
            over(round_, rule, message)
        else:
            assert round_.clients[VICTIM].reply(message, lambda: update_of(VICTIM))


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
    tries = (seed(f"try {at}") for at in range(1000))
    return next(one for one in tries if VICTIM in Neighbourhood.of(round_.spec, round_.found, client, one).holders)


def test_all_others_may_have_picked_one_client() -> None:
    """Clients that choose round secrets by which they fall on one client cost it work, and do not put it out."""
    round_ = Sparse(28, SMALL)
    for client in set(round_.spec.cohort) - {VICTIM}:
        tries = (seed(f"secret {client} {at}") for at in range(1000))
        falls = next(one for one in tries if VICTIM in falling_on(round_, client, one))
        round_.clients[client] = MaskingClient(round_.clients[client]._identity, round_secret=falls)
    round_.until(Stage.INPUT)
    assert len(picked(round_)) == 27
    round_.until(Stage.DONE)
    assert not round_.refused
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.words is not None
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, round_.spec.cohort)


def falling_on(round_: Sparse, client: int, round_secret: bytes) -> frozenset[int]:
    """Whom the client picks with this round secret."""
    secret = ClientSecrets(round_secret, round_.spec.session).pick_secret
    return Neighbourhood.of(round_.spec, round_.found, client, secret).holders


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
