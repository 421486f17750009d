"""Shares missing or wrong when the last stage closes: located and left out, or the round ends and says whose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import pytest

import securefed.secagg.unmask
from securefed.aggregation import Adversary
from securefed.crypto.shamir import FIELD, SHARE_BYTES, Responders, locate
from securefed.errors import RoundAborted
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import Stage
from tests.rounds import COHORT, LAYOUT, MALICIOUS, SEMI_HONEST, Round, identities, plain_sum, spec_of
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.modes import both_modes

LIAR = 5
EIGHT = (1, 2, 3, 4, 5, 6, 7, 9)
"""A cohort in which five of eight shares open a seed, so one wrong share can be located."""
NOTHING = bytes(SHARE_BYTES)


def aborts(round_: Round, rule: str, owner: int) -> None:
    """The round is over without a sum, and says whose secret could not be opened."""
    with pytest.raises(RoundAborted, match=rf"client {owner}: \[{rule}\]") as caught:
        round_.server.advance()
    assert caught.value.stage == Stage.RELEASE
    assert round_.server.aggregate is None
    assert not round_.server.requests()
    with refused("R5", peer=2):
        round_.server.receive(2, b"")


@both_modes
@pytest.mark.parametrize(
    ("rule", "owner", "change"),
    [
        case("S5", "a wrong share of a survivor's seed", 2, 1),
        case("S5", "a wrong share of its own seed", LIAR, -1),
        case("S5", "a share of nothing", 3, NOTHING),
        case("S6", "a wrong share of a dropout's mask key", 8, 1),
        case("S6", "a share of nothing of a dropout's mask key", 8, NOTHING),
    ],
)
def test_a_wrong_share_among_t_aborts_the_round(
    rule: str, owner: int, change: int | bytes, adversary: Adversary
) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(Stage.RELEASE, {8: Stage.INPUT})
    round_.server.receive(LIAR, lies.release(round_, LIAR, {owner: change}))
    for client in (2, 3):
        round_.server.receive(client, round_.ask(client))
    aborts(round_, rule, owner)


@both_modes
@pytest.mark.parametrize(("rule", "owner"), [case("S5", "a seed", 2), case("S6", "a mask key", 8)])
@pytest.mark.parametrize("secret", [2**256, FIELD - 1])
def test_a_secret_over_32_bytes_is_none(rule: str, owner: int, secret: int, adversary: Adversary) -> None:
    """The field is a little larger than 2^256: one share is moved so that 2^256 or p − 1 comes out."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.RELEASE, {8: Stage.INPUT})
    ids = (2, 3, LIAR)
    pairs = lies.secrets_of(round_, owner).share_out(lies.roster_digest(round_), COHORT, 3)
    part = slice(0, SHARE_BYTES) if owner == 2 else slice(SHARE_BYTES, None)
    true = Responders(ids, 3).combine({client: pairs[client][part] for client in ids})
    weight = prod(other * pow(other - LIAR, -1, FIELD) for other in ids[:2])
    move = (secret - true) * pow(weight, -1, FIELD) % FIELD
    round_.server.receive(LIAR, lies.release(round_, LIAR, {owner: move}))
    for client in (2, 3):
        round_.server.receive(client, round_.ask(client))
    aborts(round_, rule, owner)


@both_modes
@pytest.mark.rule("S3")
def test_s3_fewer_shares_than_open_a_seed(adversary: Adversary) -> None:
    """Three answered, but one of them holds nothing of 2: two shares of three are there."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.RELEASE, {8: Stage.INPUT})
    round_.server.receive(LIAR, lies.release(round_, LIAR, {2: None}))
    for client in (2, 3):
        round_.server.receive(client, round_.ask(client))
    aborts(round_, "S3", 2)


@both_modes
@pytest.mark.rule("S3")
def test_s3_nobody_holds_a_share_of_a_client_that_sealed_rubbish(adversary: Adversary) -> None:
    """Each honest client goes on without 5's shares (S4); only 5 holds its own, and the round cannot end."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.SHARE)
    for client in COHORT:
        reply = round_.ask(client)
        if client == LIAR:
            reply = reply[: -3 * 82] + bytes(3 * 82)
        round_.server.receive(client, reply)
    round_.server.advance()
    round_.until(Stage.RELEASE)
    round_.answer()
    aborts(round_, "S3", LIAR)


def opened(adversary: Adversary, wrong: dict[int, dict[int, int | bytes]]) -> Round:
    """A round of eight, 9 lost before its input, in which some release wrong shares; played to its end."""
    stated = Adversary(adversary.server, corrupt=0.125, dropouts=0.125)
    round_ = Round(spec_of(adversary=stated, cohort=EIGHT)).until(Stage.RELEASE, {9: Stage.INPUT})
    assert (round_.spec.threshold, len(round_.server.requests())) == (5, 7)
    for client in round_.server.requests():
        message = lies.release(round_, client, wrong[client]) if client in wrong else round_.ask(client)
        round_.server.receive(client, message)
    round_.server.advance()
    return round_


@pytest.mark.rule("S7")
@both_modes
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({4: {2: 1}}, id="of a survivor's seed"),
        pytest.param({1: {9: 1}}, id="of a dropout's mask key"),
        pytest.param({5: {5: NOTHING}}, id="of its own seed"),
        pytest.param({4: {1: 1, 2: -1, 3: NOTHING, 9: 7}}, id="several of one sender"),
        pytest.param({1: {2: 1}, 3: {9: 1}, 5: {7: 5}}, id="one of each of three"),
    ],
)
def test_s7_a_wrong_share_is_located(adversary: Adversary, wrong: dict[int, dict[int, int | bytes]]) -> None:
    """With seven answers where five are needed: the sender is named, and the sum is exact."""
    round_ = opened(adversary, wrong)
    aggregate = round_.server.aggregate
    assert aggregate is not None
    assert aggregate.words is not None
    assert aggregate.words.tolist() == plain_sum(round_.spec, aggregate.survivors)
    assert aggregate.survivors == (1, 2, 3, 4, 5, 6, 7)
    named = round_.server.wrong_shares
    assert {(error.rule, error.peer) for error in named} == {("S7", sender) for sender in wrong}
    for error in named:
        assert error.peer is not None
        assert any(f"client {owner}" in error.detail for owner in wrong[error.peer])


@both_modes
@pytest.mark.parametrize(
    ("wrong", "searches"),
    [
        pytest.param({1: dict.fromkeys(EIGHT, 1)}, 1, id="of everyone"),
        pytest.param({1: {2: 1}, 3: {4: 1, 5: 1}}, 2, id="then another's as well"),
        pytest.param({1: {2: 1, 3: 1}, 7: {3: 2, 4: 1, 9: 1}}, 1, id="and one behind, which is not needed"),
        pytest.param({1: {1: 1}, 2: {2: 1}, 3: {3: 1}}, 3, id="fewer than needed are left: all are asked"),
        pytest.param({1: {1: 1}, 6: {2: 1, 3: 1}, 7: {2: 1}}, 1, id="the first of all are right after all"),
    ],
)
def test_who_was_found_out_is_left_out_of_the_next_seeds(
    adversary: Adversary, wrong: dict[int, dict[int, int | bytes]], searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To locate a wrong share costs thousands of combinations, and one liar may lie about everyone."""
    searched = []

    def counted(shares: Mapping[int, bytes], threshold: int, accepts: Callable[[int], bool]) -> object:
        searched.append(1)
        return locate(shares, threshold, accepts)

    monkeypatch.setattr(securefed.secagg.unmask, "locate", counted)
    round_ = opened(adversary, wrong)
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.words is not None
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, (1, 2, 3, 4, 5, 6, 7))
    assert len(searched) == searches


@both_modes
def test_a_wrong_share_that_is_not_needed_is_not_looked_at(adversary: Adversary) -> None:
    """Five of seven are combined, by id: what 6 and 7 send beside them changes nothing."""
    round_ = opened(adversary, {6: {1: 1, 9: 1}, 7: {2: NOTHING}})
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.words is not None
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, (1, 2, 3, 4, 5, 6, 7))
    assert round_.server.wrong_shares == ()


def test_who_sent_wrong_shares_is_known_after_a_restart() -> None:
    round_ = opened(MALICIOUS, {4: {2: 1}})
    again = MaskingServer.resume(round_.spec, LAYOUT, identities(EIGHT), round_.server.snapshot())
    assert [error.peer for error in again.wrong_shares] == [4]


@both_modes
def test_without_a_wrong_share_nobody_is_named(adversary: Adversary) -> None:
    assert opened(adversary, {}).server.wrong_shares == ()


@pytest.mark.parametrize(("rule", "owner"), [case("S5", "of a seed", 2), case("S6", "of a mask key", 9)])
def test_more_wrong_shares_than_can_be_told_apart(rule: str, owner: int) -> None:
    """Four of seven are wrong: no five are left that fit together, and no honest sender is blamed."""
    wrong: dict[int, dict[int, int | bytes]] = {client: {owner: client} for client in (1, 3, 5, 7)}
    with pytest.raises(RoundAborted, match=rf"client {owner}: \[{rule}\]"):
        opened(MALICIOUS, wrong)


@pytest.mark.rule("S5")
@pytest.mark.parametrize("adversary", [MALICIOUS, SEMI_HONEST])
def test_s5_a_false_commitment_is_nobodys_wrong_share(adversary: Adversary) -> None:
    """All shares fit together and the commitment does not fit them: the client itself lied, no holder is named."""
    stated = Adversary(adversary.server, corrupt=0.125, dropouts=0.125)
    round_ = Round(spec_of(adversary=stated, cohort=EIGHT)).until(Stage.SHARE)
    for client in EIGHT:
        reply = round_.ask(client)
        round_.server.receive(client, lies.flip(reply, 64 + 32) if client == LIAR else reply)
    round_.server.advance()
    with pytest.raises(RoundAborted, match=r"client 5: \[S5\]"):
        round_.until(Stage.DONE)
    assert round_.server.wrong_shares == ()
