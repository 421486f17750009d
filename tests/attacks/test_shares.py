"""Wrong shares, from who holds them and from who deals them."""

from __future__ import annotations

import pytest

from securefed.crypto.aead import open_sealed, seal
from securefed.crypto.hashing import digest
from securefed.crypto.shamir import FIELD, SHARE_BYTES
from securefed.errors import RoundAborted
from securefed.secagg.keys import ClientSecrets, PairContext
from securefed.secagg.stages import Stage, expected_from
from securefed.wire.from_client import Release, Shares
from tests.attacks.switches import combined_seeds_unchecked, rubbish_is_held
from tests.rounds import COHORT, Round, plain_sum, seed, spec_of
from tests.rules import case, refused

FORGER = 2
"""A corrupt holder; the lowest id, so that its shares are among the first t."""
DEALER = 8
"""A corrupt client that deals wrong shares of its own seeds."""


def added(share: bytes, value: int) -> bytes:
    return ((int.from_bytes(share, "big") + value) % FIELD).to_bytes(SHARE_BYTES, "big")


def forged_release(owners: tuple[int, ...], lost: tuple[int, ...] = (), silent: tuple[int, ...] = ()) -> Round:
    """A round up to its end in which the forger changes its shares of these clients."""
    round_ = Round().until(Stage.RELEASE, dict.fromkeys(lost, Stage.INPUT))
    for client in round_.requests[Stage.RELEASE]:
        if client in silent:
            continue
        reply = round_.ask(client)
        if client == FORGER:
            context = expected_from(round_.spec, client)
            shares = Release.decode(reply, context, COHORT).shares
            reply = Release(shares | {owner: added(shares[owner], 1) for owner in owners}).encode(context)
        round_.server.receive(client, reply)
    return round_


@pytest.mark.rule("S7")
@pytest.mark.parametrize("owners", [(3,), (3, 5), COHORT])
def test_a_forged_share_among_more_than_t(owners: tuple[int, ...]) -> None:
    """A corrupt holder spoils the round for all, unseen. With one share more than t it is found and named (S7), once:
    of the next seeds its shares are left out."""
    round_ = forged_release(owners)
    round_.server.advance()
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)
    assert [(error.rule, error.peer) for error in round_.server.wrong_shares] == [("S7", FORGER)]


@pytest.mark.parametrize(
    ("rule", "owner", "lost", "silent"),
    [case("S5", "self-mask", 3, (), (8,)), case("S6", "mask key", 5, (5,), ())],
)
def test_a_forged_share_among_t(rule: str, owner: int, lost: tuple[int, ...], silent: tuple[int, ...]) -> None:
    """With no share to spare nobody can tell which is wrong, but the seed does not fit what was promised."""
    round_ = forged_release((owner,), lost, silent)
    with pytest.raises(RoundAborted, match=rf"client {owner}: \[{rule}\]"):
        round_.server.advance()
    assert round_.server.aggregate is None


def test_succeeds_with_combined_seeds_unchecked() -> None:
    """A wrong seed is a wrong stream: the sum is noise, and what is said names neither the forger nor any seed."""
    round_ = forged_release((3,))
    with combined_seeds_unchecked(), pytest.raises(RoundAborted, match=r"\[V11\]") as caught:
        round_.server.advance()
    assert "client" not in str(caught.value)
    assert not round_.server.wrong_shares


@pytest.mark.rule("S1")
def test_a_share_outside_the_field() -> None:
    """A share that is none is refused when it comes (S1); the sender counts as dropped."""
    round_ = Round().until(Stage.RELEASE)
    context = expected_from(round_.spec, FORGER)
    shares = Release.decode(round_.ask(FORGER), context, COHORT).shares
    with refused("S1", peer=FORGER):
        round_.server.receive(FORGER, Release(shares | {3: FIELD.to_bytes(SHARE_BYTES, "big")}).encode(context))


def dealt(recipients: tuple[int, ...], wrong_but_sealed: bool) -> Round:
    """A round in which the dealer's boxes for these are rubbish, or hold wrong shares and open well."""
    round_ = Round(spec_of()).until(Stage.SHARE)
    roster = next(iter(round_.requests[Stage.SHARE].values()))
    pairs = PairContext(round_.spec.session, digest(roster))
    secrets = ClientSecrets(seed(f"round secret {DEALER}"), round_.spec.session)
    for client in COHORT:
        reply = round_.ask(client)
        if client == DEALER:
            context = expected_from(round_.spec, DEALER)
            shares = Shares.decode(reply, context, set(COHORT) - {DEALER})
            header = Shares.header(context, len(shares.sealed))
            for recipient in recipients:
                theirs = ClientSecrets(seed(f"round secret {recipient}"), round_.spec.session).channel.public
                key = pairs.channel_key(secrets.channel, theirs, DEALER, recipient)
                context_bytes = header + recipient.to_bytes(4, "big")
                both = open_sealed(key, shares.sealed[recipient], context_bytes)
                # Of a degree that no sharing polynomial has, so that no two of them make up for each other.
                wrong = b"".join(added(both[at : at + SHARE_BYTES], recipient**7) for at in (0, SHARE_BYTES))
                shares.sealed[recipient] = seal(key, wrong, context_bytes) if wrong_but_sealed else bytes(82)
            reply = shares.encode(context)
        round_.server.receive(client, reply)
    round_.server.advance()
    return round_


@pytest.mark.rule("S4")
def test_a_dealer_of_rubbish() -> None:
    """A corrupt client seals rubbish for one holder, so that honest clients fall out of the round.

    Defence: a share that does not open is not held (S4). Nobody is out, and the other holders open the seed.
    """
    round_ = dealt((3,), wrong_but_sealed=False).until(Stage.DONE)
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)
    released = Release.decode(round_.replies[Stage.RELEASE][3], expected_from(round_.spec, 3), COHORT).shares
    assert released.keys() == {2, 3, 5}


def test_succeeds_with_rubbish_is_held() -> None:
    """An honest client would release what it got from the box, and be named for it in the dealer's place."""
    with rubbish_is_held():
        round_ = dealt((3,), wrong_but_sealed=False).until(Stage.DONE)
    assert [(error.rule, error.peer) for error in round_.server.wrong_shares] == [("S7", 3)]


@pytest.mark.rule("S7")
def test_a_dealer_of_wrong_shares() -> None:
    """A wrong share that opens well: the sum is right. Its holder is named with S7, though it is the dealer who lied:
    the rule says whose share was wrong, and that is no proof against the holder."""
    round_ = dealt((3,), wrong_but_sealed=True).until(Stage.DONE)
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)
    assert [(error.rule, error.peer) for error in round_.server.wrong_shares] == [("S7", 3)]


@pytest.mark.parametrize(("rule", "sealed"), [case("S3", "rubbish", False), case("S5", "wrong shares", True)])
def test_a_dealer_that_deceives_more_than_it_may(rule: str, sealed: bool) -> None:
    """One corrupt client can end a round, as the text says; but the error names it, and no one else."""
    with pytest.raises(RoundAborted, match=rf"client {DEALER}: \[{rule}\]"):
        dealt((2, 3, 5), wrong_but_sealed=sealed).until(Stage.DONE)
