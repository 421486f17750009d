"""What a client demands whatever the server asks for (O1), and that its updates belong to the round (O2, V9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from securefed.aggregation import Adversary, Policy, Update, new_round
from securefed.errors import ConfigError, RoundAborted
from securefed.plain import PlainFloats, PlainIntegers
from securefed.secagg import PairwiseMasks
from securefed.secagg.stages import Stage
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER, Suite
from tests.rounds import (
    COHORT,
    LAYOUT,
    MALICIOUS,
    MODEL,
    OPEN,
    SEMI_HONEST,
    Round,
    identity_of,
    seed,
    spec_of,
    update_of,
)
from tests.rules import case, refused
from tests.secagg.lies import VICTIM
from tests.secagg.sparse import SMALL, Sparse

STRICT = Policy(
    frozenset({"masks"}), MALICIOUS, least_cohort=4, least_sum=3, greatest_clip=0.5, least_bits=16
)  # exactly what the shared round offers
NINE = tuple(range(1, 10))
NO_LOSSES = Adversary("malicious", 0.25, 0.0)
FOLLOWS = Adversary("semi-honest", 0.25, 0.0)
TWO = {"cohort": (2, 3), "adversary": FOLLOWS}


@pytest.mark.parametrize(
    ("rule", "policy", "spec"),
    [
        case("O1", "cohort one too small", {"least_sum": 1}, {"cohort": (2, 3, 5), "adversary": NO_LOSSES}),
        case("O1", "a server that is trusted to follow", {}, {"adversary": SEMI_HONEST}),
        case("O1", "fewer corrupt clients", {}, {"adversary": replace(MALICIOUS, corrupt=0.249)}),
        case("O1", "nobody corrupt", {}, {"adversary": replace(MALICIOUS, corrupt=0.0)}),
        case("O1", "a bit of security less", {}, {"adversary": replace(MALICIOUS, security=39)}),
        case("O1", "one bit of security", {}, {"adversary": replace(MALICIOUS, security=1)}),
        case("O1", "sums one too small", {"least_sum": 4}, {}),
        case(
            "O1", "a sum over two", {"least_cohort": 2, "adversary": FOLLOWS}, {"cohort": (2, 3), "adversary": FOLLOWS}
        ),
        case("O1", "clip a little over", {}, {"clip": 0.5000001}),
        case("O1", "huge clip", {}, {"clip": 2.0**512}),
        case("O1", "one bit less", {}, {"bits": 15}),
        case("O1", "a ring of little", {}, {"bits": 2}),
        case("O1", "another scheme", {"schemes": frozenset({"plain"})}, {}),
        case("O1", "no scheme", {"schemes": frozenset()}, {}),
    ],
)
def test_o1_a_round_below_the_policy(rule: str, policy: dict[str, Any], spec: dict[str, Any]) -> None:
    """Refused in the first message, before a key is made; and then nothing is answered."""
    client = PairwiseMasks().client(identity_of(VICTIM, policy=replace(STRICT, **policy)))
    offer = Offer(spec_of(**spec)).encode(Suite.PAIRWISE_MASKS)
    with refused(rule, peer=SERVER):
        client.reply(offer, lambda: update_of(VICTIM))
    with refused("R5", peer=SERVER):
        client.reply(Offer(spec_of()).encode(Suite.PAIRWISE_MASKS), lambda: update_of(VICTIM))


@pytest.mark.parametrize(
    ("policy", "spec"),
    [
        ({}, {}),
        ({"greatest_clip": None}, {"clip": 2.0**512}),
        ({"adversary": SEMI_HONEST}, {}),
        ({"adversary": SEMI_HONEST}, {"adversary": SEMI_HONEST}),
        ({}, {"adversary": replace(MALICIOUS, security=128)}),
        ({}, {"adversary": replace(MALICIOUS, correctness=1, dropouts=0.0)}),
        ({"least_sum": 6}, {"cohort": NINE, "adversary": replace(MALICIOUS, dropouts=0.1)}),
        (
            {"least_cohort": 1, "least_sum": 1, "least_bits": 2, "adversary": replace(NO_LOSSES, corrupt=0.0)},
            {"cohort": (3, 4), "bits": 2, "adversary": replace(NO_LOSSES, corrupt=0.0)},
        ),
    ],
)
def test_a_round_that_just_meets_the_policy(policy: dict[str, Any], spec: dict[str, Any]) -> None:
    identity = identity_of(VICTIM, policy=replace(STRICT, **policy), cohort=range(1, 10))
    client = PairwiseMasks().client(identity)
    assert client.reply(Offer(spec_of(**spec)).encode(Suite.PAIRWISE_MASKS), lambda: update_of(VICTIM))


@pytest.mark.rule("O1")
def test_o1_sums_that_a_sparse_graph_may_be_parted_into() -> None:
    """28 clients, 16 survivors, but under a malicious server parts of eight: whoever wants nine in a sum refuses."""
    spec = Sparse(28, SMALL).spec
    offer = Offer(spec).encode(Suite.PAIRWISE_MASKS)
    for least, taken in ((8, True), (9, False)):
        client = PairwiseMasks().client(
            identity_of(2, policy=replace(OPEN, least_sum=least), cohort=spec.cohort)
        )  # fmt: skip
        if taken:
            assert client.reply(offer, lambda: update_of(2))
        else:
            with refused("O1", peer=SERVER):
                client.reply(offer, lambda: update_of(2))


def test_dropouts_are_the_servers_affair() -> None:
    """A client asks for a server, corrupt clients and bits of security; how many losses to survive is no protection."""
    wanted = replace(MALICIOUS, dropouts=0.3, correctness=60)
    client = PairwiseMasks().client(identity_of(VICTIM, policy=replace(STRICT, adversary=wanted)))
    assert client.reply(Offer(spec_of()).encode(Suite.PAIRWISE_MASKS), lambda: update_of(VICTIM))


def test_without_a_word_a_client_wants_a_malicious_server_withstood() -> None:
    wanted = Policy().adversary
    assert (wanted.malicious, wanted.corrupt, wanted.security) == (True, 0.1, 40)


@pytest.mark.rule("O1")
def test_o1_a_round_against_a_malicious_server_needs_an_identity_key() -> None:
    """Whoever has none takes part where the server is trusted to follow the protocol, and nowhere else."""
    identity = replace(identity_of(VICTIM), credentials=None)
    with refused("O1", peer=SERVER):
        PairwiseMasks().client(identity).reply(
            Offer(spec_of()).encode(Suite.PAIRWISE_MASKS), lambda: update_of(VICTIM)
        )  # fmt: skip
    trusting = Offer(spec_of(adversary=SEMI_HONEST)).encode(Suite.PAIRWISE_MASKS)
    assert PairwiseMasks().client(identity).reply(trusting, lambda: update_of(VICTIM))


@pytest.mark.rule("O1")
@pytest.mark.parametrize("scheme", [PlainIntegers(), PlainFloats()])
def test_o1_by_default_no_client_shows_its_update(scheme: PlainIntegers) -> None:
    client = scheme.client(identity_of(VICTIM, policy=Policy()))
    with refused("O1", peer=SERVER):
        client.reply(Offer(spec_of()).encode(scheme.suite), lambda: update_of(VICTIM))


@pytest.mark.rule("O1")
@pytest.mark.parametrize("scheme", [PlainIntegers(), PlainFloats()])
def test_o1_the_rest_of_a_policy_holds_without_masks_too(scheme: PlainIntegers) -> None:
    """Whoever shows its update to the server may still not want it in a sum of few."""
    wants = Policy(frozenset({"plain", "float"}), least_cohort=1, least_sum=3)
    for least_sum, taken in ((3, True), (4, False)):
        client = scheme.client(identity_of(VICTIM, policy=replace(wants, least_sum=least_sum)))
        offer = Offer(spec_of()).encode(scheme.suite)
        if taken:
            assert client.reply(offer, lambda: update_of(VICTIM))
        else:
            with refused("O1", peer=SERVER):
                client.reply(offer, lambda: update_of(VICTIM))


@pytest.mark.rule("V9")
def test_v9_an_update_from_another_model_does_not_leave() -> None:
    """The server names another model to all: who trained from the right one refuses, and the round ends."""
    round_ = Round(spec_of(model=seed("another model"))).until(Stage.INPUT)
    for client in COHORT:
        with refused("V9"):
            round_.ask(client)
        with refused("R5", peer=SERVER):
            round_.ask(client)
    with pytest.raises(RoundAborted):
        round_.server.advance()


@pytest.mark.rule("R1")
@pytest.mark.rule("V9")
def test_v9_two_models_for_two_clients_are_two_sessions() -> None:
    """The one who was shown another model has another session: its messages fit no roster of the others."""
    right, wrong = Round(), Round(spec_of(model=seed("another model")))
    advertisement = wrong.ask(VICTIM)
    with refused("R1", peer=VICTIM):
        right.server.receive(VICTIM, advertisement)
    right.until(Stage.SHARE, {VICTIM: Stage.ADVERTISE})
    with refused("R1", peer=SERVER):
        wrong.clients[VICTIM].reply(right.requests[Stage.SHARE][2], lambda: update_of(VICTIM))


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        case("V1", "NaN", {"tensors": {n: a * float("nan") for n, a in update_of(VICTIM).tensors.items()}}),
        case("V2", "no tensors", {"tensors": {}}),
        case("V5", "weight over W", {"weight": 101}),
        case("V6", "no metrics", {"metrics": {}}),
        case("V9", "another model", {"model": bytes(32)}),
        case("V9", "no model", {"model": b""}),
    ],
)
def test_a_bad_update_ends_the_session_and_nothing_of_it_leaves(rule: str, change: dict[str, Any]) -> None:
    round_ = Round().until(Stage.INPUT)
    request = round_.requests[Stage.INPUT][VICTIM]

    def update() -> Update:
        return replace(update_of(VICTIM), **change)

    with refused(rule):
        round_.clients[VICTIM].reply(request, update)
    with refused("R5", peer=SERVER):
        round_.ask(VICTIM)


@pytest.mark.rule("V8")
def test_v8_a_round_whose_sum_cannot_fit_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With at most 2^20 clients and 32 bits there is none, so the word is made smaller here."""
    monkeypatch.setattr("securefed.encoding.lanes.Lanes.__init__.__defaults__", (17,))
    with refused("V8"):
        spec_of()


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        case("V7", "bits", {"bits": 1}),
        case("V7", "clip", {"clip": float("inf")}),
        case("V7", "greatest weight", {"greatest_weight": 0}),
    ],
)
def test_v7_rounds_that_are_not_configured(rule: str, change: dict[str, Any]) -> None:
    good = {"round_number": 1, "cohort": COHORT, "adversary": MALICIOUS, "model": MODEL, "layout": LAYOUT, "bits": 16}
    with refused(rule):
        new_round(**{**good, "clip": 0.5, **change})


@pytest.mark.parametrize(("corrupt", "dropouts"), [(0.25, 0.499), (0.499, 0.3), (0.4, 0.4)])
def test_rounds_that_cannot_end_are_not_configured(corrupt: float, dropouts: float) -> None:
    """Where the stated losses leave fewer than the stated adversary needs in a sum."""
    adversary = Adversary("malicious", corrupt, dropouts)
    good = {"round_number": 1, "cohort": range(1, 11), "model": MODEL, "layout": LAYOUT, "bits": 16, "clip": 0.5}
    with pytest.raises(ConfigError, match="state fewer dropouts, fewer corrupt clients, or a larger cohort"):
        new_round(**good, adversary=adversary)


def test_every_attempt_at_a_round_has_another_session() -> None:
    def attempt(**change: Any) -> bytes:
        good = {"round_number": 1, "cohort": COHORT, "adversary": MALICIOUS, "model": MODEL, "layout": LAYOUT}
        return new_round(**{**good, "bits": 16, "clip": 0.5, **change}).session

    assert len({attempt() for _ in range(100)}) == 100
    assert attempt(cohort=(8, 2, 5, 3))
    with pytest.raises(ConfigError, match="a digest has 32 bytes"):
        attempt(model=b"")
