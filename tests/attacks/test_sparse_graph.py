"""A victim alone among its mask peers: what a server tries that sees the graph and says who dropped out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from securefed.errors import RemoteProtocolError
from securefed.secagg.graph import Neighbourhood
from securefed.wire.adversary import Adversary
from securefed.wire.header import SERVER
from tests.attacks.server import LARGE, MANY, MaliciousServer
from tests.attacks.switches import attestations_unverified, edges_unchecked, promise_unchecked, survivors_unchecked
from tests.attacks.weaker import sparse
from tests.rounds import encoded, seed, spec_of
from tests.rules import refused

CORRUPT = 40


def opens(server: MaliciousServer, victim: int, survived: frozenset[int], lost: Iterable[int]) -> bool:
    """Whether enough survivors hold shares of the victim's self-mask seed and of the lost clients' mask keys."""
    return all(
        len(server.picks(owner).holders & survived - {victim}) >= server.parameters.threshold
        for owner in (victim, *lost)
    )


def close_without(server: MaliciousServer, victim: int, survived: frozenset[int]) -> Counter[str]:
    """The end of a round for all but the victim, who is not asked any more; gives how many refused, by rule."""
    refusals, signatures = Counter[str](), {}
    order = tuple(sorted(survived))
    for client in sorted(survived - {victim}):
        try:
            signatures[client] = server.ask_consent(client, order)
        except RemoteProtocolError as error:
            refusals[error.rule] += 1
    for client in signatures:
        try:
            server.ask_release(client, order, signatures)
        except RemoteProtocolError as error:
            refusals[error.rule] += 1
    return refusals


def with_victim() -> tuple[MaliciousServer, int, frozenset[int]]:
    """Shares are out; the server has seen the graph and taken a victim that has the corrupt client among its picks.

    Gives the victim and its honest picks.
    """
    for attempt in range(20):
        server = MaliciousServer(spec_of(**LARGE, nonce=seed(f"graph {attempt}")), corrupt=[CORRUPT]).until_shares()
        for victim in MANY[:-1]:
            honest = server.picks(victim).picked_masks - {CORRUPT}
            if len(honest) < server.parameters.masks and opens(server, victim, frozenset(MANY) - honest, honest):
                return server, victim, honest
    raise AssertionError("no graph has such a victim")


def isolated(server: MaliciousServer, victim: int, honest: frozenset[int]) -> Counter[str]:
    """All honest mask peers of the victim are said to have dropped out after they shared."""
    server.plot()
    server.rehearse(victim)
    server.deliver_all()
    return close_without(server, victim, frozenset(MANY) - honest)


@pytest.mark.rule("G3")
def test_the_victim_alone_among_the_survivors() -> None:
    """The server drops a victim's honest mask peers; their keys are opened, and its masks come off one by one.

    Bell et al. 2020, section 4.2. Defence: who holds its share refuses such survivors (G3).
    """
    with sparse():
        server, victim, honest = with_victim()
        refusals = isolated(server, victim, honest)
        # Everybody who could open the victim's self-mask: the others have nothing of it.
        assert refusals["G3"] >= len(server.picks(victim).holders - honest - {CORRUPT})
        assert server.recover(victim) is None


def test_succeeds_with_survivors_unchecked() -> None:
    with sparse(), survivors_unchecked():
        server, victim, honest = with_victim()
        assert not isolated(server, victim, honest)
        assert server.recover(victim).tolist() == encoded(server.spec, victim).tolist()


def alone_at_delivery(server: MaliciousServer, victim: int, honest: frozenset[int]) -> Counter[str]:
    """The victim is told that its honest mask peers never shared; everyone else the truth."""
    server.plot()
    server.rehearse(victim, frozenset(MANY) - honest)
    server.deliver_all()
    return close_without(server, victim, frozenset(MANY))


@pytest.mark.rule("G3")
def test_the_victim_alone_at_its_delivery() -> None:
    """The same lie a stage earlier, to the victim alone, who then masks with the corrupt client only. It checks its
    own mask peers before it masks (G3)."""
    with sparse():
        server, victim, honest = with_victim()
        with refused("G3", peer=SERVER):
            alone_at_delivery(server, victim, honest)
        assert victim not in server.inputs


@pytest.mark.rule("G4")
def test_the_victim_alone_at_its_delivery_is_found_out_later() -> None:
    """The second line, with G3 off: what the victim attests to is not what its holders were told (G4)."""
    with sparse(), survivors_unchecked():
        server, victim, honest = with_victim()
        assert alone_at_delivery(server, victim, honest) == {"G4": len(server.picks(victim).holders)}
        assert server.recover(victim) is None


def test_succeeds_at_the_delivery_with_survivors_unchecked() -> None:
    with sparse(), survivors_unchecked(), attestations_unverified():
        server, victim, honest = with_victim()
        assert not alone_at_delivery(server, victim, honest)
        assert server.recover(victim).tolist() == encoded(server.spec, victim).tolist()


def pick_secret_for(server: MaliciousServer, sender: int, holder: int, survived: frozenset[int]) -> bytes:
    """Ground: with it the sender would have picked the holder, and enough mask peers that survive."""
    for attempt in range(1000):
        secret = seed(f"pick secret {attempt}")
        picks = Neighbourhood.of(server.spec, server.parameters, sender, secret)
        if holder in picks.holders and len(picks.picked_masks & survived) >= server.parameters.least_masks:
            return secret
    raise AssertionError("a draw should have come up long ago")


def another_pick_secret(server: MaliciousServer, victim: int, honest: frozenset[int]) -> Counter[str]:
    """As `isolated`, but holders are shown other pick secrets of all that have lost too many mask peers."""
    server.plot()
    server.rehearse(victim)
    survived, refusals = frozenset(MANY) - honest, Counter[str]()
    cut_off = [c for c in MANY if len(server.picks(c).picked_masks & survived) < server.parameters.least_masks]
    for holder, told in server.told.items():
        forged = {
            sender: replace(told.senders[sender], pick_secret=pick_secret_for(server, sender, holder, survived))
            for sender in told.senders.keys() & set(cut_off)
        }
        server.told[holder] = replace(told, senders={**told.senders, **forged})
    for client in MANY:
        try:
            server.deliver_as_told(client)
        except RemoteProtocolError as error:
            refusals[error.rule] += 1
    return refusals + close_without(server, victim, survived)


@pytest.mark.rule("G1")
def test_another_pick_secret_than_the_promised_one() -> None:
    """G3 is as good as the picks that it is asked of: they were promised, and signed, before the roster (G1)."""
    with sparse():
        server, victim, honest = with_victim()
        refusals = another_pick_secret(server, victim, honest)
        assert refusals["G1"] >= len(server.picks(victim).holders)
        assert server.recover(victim) is None


def test_succeeds_with_promise_unchecked() -> None:
    with sparse(), promise_unchecked():
        server, victim, honest = with_victim()
        # Those who are cut off themselves know their own picks, and drop out.
        assert another_pick_secret(server, victim, honest).keys() <= {"G3"}
        assert server.recover(victim).tolist() == encoded(server.spec, victim).tolist()


def claimed_edge() -> tuple[MaliciousServer, int]:
    """A corrupt client's shares are delivered to one that it did not pick."""
    server = MaliciousServer(spec_of(**LARGE), corrupt=[CORRUPT]).until_shares()
    victim = min(set(MANY) - server.picks(CORRUPT).holders - {CORRUPT})
    told, own = server.delivery(victim), server.shares[CORRUPT]
    anyone = min(own.sealed)
    claimed = replace(server.delivery(anyone).senders[CORRUPT], sealed=own.sealed[anyone])
    server.told[victim] = replace(told, senders={**told.senders, CORRUPT: claimed})
    server.deliver_as_told(victim)
    return server, victim


@pytest.mark.rule("G2")
def test_a_claimed_edge() -> None:
    """The server invents an edge, to put clients of its choice around a victim. Edges follow from picks (G2)."""
    with sparse(), refused("G2", peer=SERVER):
        claimed_edge()


def test_succeeds_with_edges_unchecked() -> None:
    """The sender is taken in. It is a check in depth: no share opens for an invented edge, and no mask is added."""
    with sparse(), edges_unchecked():
        server, victim = claimed_edge()
        assert CORRUPT in server.told[victim].senders
        assert victim in server.inputs
        assert server.recover(victim) is None


def split(server: MaliciousServer) -> tuple[MaliciousServer, int, Counter[str]]:
    """The victim is told of some of its mask peers, everyone else of the others: each half is enough, and no honest
    client is in both. Gives the victim and how many refused."""
    everyone, corrupt, least = frozenset(server.spec.cohort), set(server.corrupt), server.parameters.least_masks
    for victim in everyone - corrupt:
        picks = server.picks(victim)
        bad, honest = picks.picked_masks & corrupt, sorted(picks.picked_masks - corrupt)
        lost = frozenset(honest[: max(0, least - len(bad))])
        hidden, survived = frozenset(honest) - lost, everyone - lost
        if len(hidden) + len(bad) < least or not opens(server, victim, survived, lost):
            continue
        server.rehearse(victim, everyone - hidden)
        if all(server.acceptable(client, survived) for client in survived - {victim}):
            server.plot()
            server.deliver_all()
            return server, victim, close_without(server, victim, survived)
    raise AssertionError("no victim in this graph: try another nonce")


# Its own parameters, not scaled ones: this attack needs nobody to be corrupt, and no luck.
OWN = {"cohort": MANY, "adversary": Adversary("malicious", corrupt=0.0, dropouts=0.25, security=3, correctness=3)}


@pytest.mark.rule("G4")
def test_two_halves_of_the_mask_peers() -> None:
    """The victim masks with one half of its picks, which then are said to have dropped out; the other half survives,
    but the victim was told that it never shared. Both sides count enough mask peers (G3).

    Defence: the victim attests with its input within which U2 it masked; its holders know another (G4).
    """
    server, victim, refusals = split(MaliciousServer(spec_of(**OWN), corrupt=[CORRUPT]).until_shares())
    assert not server.parameters.complete
    assert refusals["G4"] >= len(server.picks(victim).holders) - server.parameters.masks
    assert server.recover(victim) is None


def test_succeeds_with_attestations_unverified() -> None:
    with attestations_unverified():
        server, victim, refusals = split(MaliciousServer(spec_of(**OWN), corrupt=[CORRUPT]).until_shares())
        assert not refusals
        assert server.recover(victim).tolist() == encoded(server.spec, victim).tolist()


@pytest.mark.rule("G4")
def test_an_attestation_of_another() -> None:
    """Nor does the attestation of somebody who was told the truth do for the victim: it is by another key (G4)."""
    with sparse():
        server, victim, honest = with_victim()
        server.rehearse(victim)
        server.deliver_all()
        server.attestations[victim] = server.attestations[min(honest)]
        refusals = close_without(server, victim, frozenset(MANY))
        assert refusals == {"G4": len(server.picks(victim).holders)}
        assert server.recover(victim) is None
