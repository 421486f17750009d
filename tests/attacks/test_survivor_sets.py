"""Two survivor sets, two requests: what a server tries that wants both seeds of one client, or a small sum."""

from __future__ import annotations

from collections import Counter

import pytest

from securefed.errors import RemoteProtocolError
from securefed.secagg.client import MaskingClient
from securefed.wire.header import SERVER
from tests.attacks.knowledge import MASK_KEY, SELF_MASK, VICTIM
from tests.attacks.server import LARGE, MANY, MaliciousServer
from tests.attacks.switches import (
    consent_outside_the_session,
    consent_unverified,
    half_the_cohort_is_enough,
    released_session_stays_open,
)  # fmt: skip
from tests.attacks.weaker import forgetful, sparse
from tests.rounds import COHORT, encoded, identity_of, seed, spec_of
from tests.rules import refused

CORRUPT = 8
ALIVE, LOST = (2, 3, 8), (2, 5, 8)
"""Two survivor sets: the victim is in the first alone."""


Sets = dict[int, frozenset[int]]


def two_sets() -> MaliciousServer:
    """2 and the victim are told that the victim survived, and sign it; 5 is told that it did not."""
    server = MaliciousServer(corrupt=[CORRUPT]).until_inputs()
    server.plot()
    signatures = {client: server.ask_consent(client, ALIVE) for client in (2, VICTIM)}
    signatures[CORRUPT] = server.sign(CORRUPT, COHORT, ALIVE)
    for client in (2, VICTIM):
        server.ask_release(client, ALIVE, signatures)
    of_lost = {5: server.ask_consent(5, LOST), CORRUPT: server.sign(CORRUPT, COHORT, LOST)}
    server.ask_release(5, LOST, of_lost)
    return server


@pytest.mark.rule("C2")
def test_two_survivor_sets_do_not_both_find_signers() -> None:
    """The server tells two sets of survivors to collect both seeds of the victim (Bonawitz et al. 2017, section 7).

    Defence: L is over (n + C)/2, so two sets that both have L signers share an honest one, who signs one (C2).
    """
    with refused("C2", peer=SERVER):
        two_sets()


def test_succeeds_where_half_the_cohort_is_enough() -> None:
    """With L = ⌊n/2⌋ both sets find their signers: consent alone, without the right L, is no protection."""
    with half_the_cohort_is_enough():
        server = two_sets()
        assert server.recover().tolist() == encoded(server.spec, VICTIM).tolist()


def test_without_consents_no_client_gives_both_seeds_in_a_complete_graph() -> None:
    """A second line: t = L holders of each kind are more than there are, whatever the clients are told."""
    with consent_unverified():
        server = two_sets()
    assert server.opened[VICTIM, MASK_KEY].keys() == {5, CORRUPT}
    assert server.recover() is None


def sets_against(server: MaliciousServer, victim: int) -> Sets | None:
    """For each client the survivors it would take, so that of all the victim's mask peers the keys are opened."""
    picks = server.picks(victim)
    peers = sorted(picks.picked_masks)
    halves, given = (frozenset(peers[:2]), frozenset(peers[2:])), Counter[int]()
    sets: Sets = {}
    for client in server.spec.cohort:
        # A holder of the victim's share would notice more than two: the others are told that all four are gone.
        gone = halves[0] | halves[1] if client not in {*picks.holders, victim} else None
        if gone is None:
            gone = min(
                (half for half in halves if client not in half),
                key=lambda half: sum(given[p] for p in half if client in server.picks(p).holders),
            )
        if server.acceptable(client, set(server.spec.cohort) - gone):
            sets[client] = frozenset(server.spec.cohort) - gone
            given.update(p for p in gone if client in server.picks(p).holders)
    enough = all(given[p] >= server.parameters.threshold for p in peers)
    return sets if enough and len(picks.holders & sets.keys()) >= server.parameters.threshold else None


def many_sets() -> tuple[MaliciousServer, int, Sets]:
    """Inputs are in, and the server knows whom to tell what about which victim."""
    server = MaliciousServer(spec_of(**LARGE)).until_shares()
    for victim in MANY:
        server.rehearse(victim)
        if sets := sets_against(server, victim):
            server.deliver_all()
            return server, victim, sets
    raise AssertionError("no victim in this graph: try another nonce")


def tell(
    server: MaliciousServer, sets: Sets, replayed: dict[frozenset[int], dict[int, bytes]] | None = None
) -> Counter[str]:
    """Each client its set, with all signatures that there are for it; gives how many refused, by rule."""
    signed: dict[frozenset[int], dict[int, bytes]] = {}
    for client, survived in sets.items():
        signed.setdefault(survived, {})[client] = server.ask_consent(client, sorted(survived))
    refusals = Counter[str]()
    for client, survived in sets.items():
        signatures = (replayed or signed)[survived]
        try:
            server.ask_release(client, survived, signatures)
        except RemoteProtocolError as error:
            refusals[error.rule] += 1
    return refusals


@pytest.mark.rule("C2")
def test_a_set_for_every_group_of_holders() -> None:
    """In a sparse graph three sets are enough: one group opens the self-mask, the others the keys of all mask peers.

    Bell et al. 2020, section 4.1. Defence: shares leave for a set that enough others signed too (C2).
    """
    with sparse(least_masks=2):
        server, victim, sets = many_sets()
        assert len(set(sets.values())) == 3
        assert tell(server, sets).keys() == {"C2"}
        assert server.recover(victim) is None


def test_succeeds_with_consent_unverified() -> None:
    """The victim's words, exactly, from 40 honest clients that all follow the protocol but for C1 and C2."""
    with sparse(least_masks=2), consent_unverified():
        server, victim, sets = many_sets()
        assert not tell(server, sets)
        assert server.recover(victim).tolist() == encoded(server.spec, victim).tolist()


def consents_of_before(sets: Sets) -> dict[frozenset[int], dict[int, bytes]]:
    """Earlier rounds of the same cohort, each with one of the sets as the truth: whose signatures it has."""
    replayed = {}
    for number, survived in enumerate(set(sets.values())):
        earlier = MaliciousServer(spec_of(**LARGE, round=number, nonce=seed(f"earlier {number}"))).until_inputs()
        takers = [client for client in survived if earlier.acceptable(client, survived)]
        replayed[survived] = {client: earlier.ask_consent(client, sorted(survived)) for client in takers}
    return replayed


@pytest.mark.rule("C1")
def test_consents_of_another_session() -> None:
    """The server replays signatures that the clients made for the same sets in earlier rounds. Session and roster are
    in what is signed (C1)."""
    with sparse(least_masks=2):
        server, victim, sets = many_sets()
        assert tell(server, sets, consents_of_before(sets)) == {"C1": len(sets)}
        assert server.recover(victim) is None


def test_succeeds_with_consent_outside_the_session() -> None:
    """The same replay where the signed digest names the two sets alone."""
    with sparse(least_masks=2), consent_outside_the_session():
        server, victim, sets = many_sets()
        assert not tell(server, sets, consents_of_before(sets))
        assert server.recover(victim).tolist() == encoded(server.spec, victim).tolist()


@pytest.mark.rule("C1")
def test_a_forged_consent() -> None:
    """The server signs for a client with a key that is not that client's (C1). Without it: `consent_unverified`."""
    server = MaliciousServer(corrupt=[CORRUPT]).until_inputs()
    signatures = {client: server.ask_consent(client, COHORT) for client in (2, 5)}
    signatures[VICTIM] = server.sign(CORRUPT, COHORT, COHORT)
    with refused("C1", peer=SERVER):
        server.ask_release(2, COHORT, signatures)


def asked_again(server: MaliciousServer) -> None:
    """All survive, says the server, and all release; then the victim was lost after all."""
    server.close_round(COHORT)
    server.close_round(LOST)


@pytest.mark.rule("R4")
def test_both_shares_in_one_round() -> None:
    """The server asks its holders for the other kind of share too. A session that has released is closed (R4)."""
    server = MaliciousServer().until_inputs()
    with refused("R4", peer=SERVER):
        asked_again(server)
    assert server.recover() is None
    between = MaliciousServer().until_inputs()
    between.ask_consent(2, COHORT)
    with refused("R4", peer=SERVER):
        between.ask_consent(2, LOST)


@pytest.mark.rule("R10")
def test_both_shares_are_kept_by_the_record_alone() -> None:
    """A second line behind the closed state: the record holds the consent (R10)."""
    with released_session_stays_open():
        server = MaliciousServer().until_inputs()
        with refused("R10"):
            asked_again(server)
        assert server.recover() is None


def test_succeeds_with_released_session_stays_open() -> None:
    """With neither state nor record, the second answer opens the victim's mask key."""
    careless = {client: forgetful(identity_of(client)) for client in COHORT}
    with released_session_stays_open():
        server = MaliciousServer(identities=careless).until_inputs()
        asked_again(server)
    assert server.recover().tolist() == encoded(server.spec, VICTIM).tolist()


def restarted(server: MaliciousServer) -> None:
    """All release, are started again from snapshots taken before, and are told of another set."""
    snapshots = {client: server.clients[client].snapshot() for client in LOST}
    server.close_round(COHORT)
    for client, snapshot in snapshots.items():
        server.clients[client] = MaskingClient.resume(server.identities[client], snapshot)
    server.close_round(LOST)


@pytest.mark.rule("R10")
def test_both_shares_over_a_restart() -> None:
    """A client's process is killed and taken up from an older snapshot: its record is not older (R10)."""
    server = MaliciousServer().until_inputs()
    with refused("R10"):
        restarted(server)
    assert server.opened[VICTIM, SELF_MASK].keys() == set(COHORT)
    assert (VICTIM, MASK_KEY) not in server.opened
    assert server.recover() is None


@pytest.mark.rule("R10")
def test_one_release_over_a_restart() -> None:
    """Not even the same shares leave twice: between consent and release the snapshot is as good as spent (R10)."""
    server = MaliciousServer().until_inputs()
    signatures = {client: server.ask_consent(client, COHORT) for client in COHORT}
    snapshot = server.clients[VICTIM].snapshot()
    server.ask_release(VICTIM, COHORT, signatures)
    server.clients[VICTIM] = MaskingClient.resume(server.identities[VICTIM], snapshot)
    with refused("R10"):
        server.ask_release(VICTIM, COHORT, signatures)


def test_succeeds_with_forgetful_record_over_a_restart() -> None:
    """The record is rolled back with the snapshot, as in a restored virtual machine: documented, and it succeeds."""
    server = MaliciousServer(identities={client: forgetful(identity_of(client)) for client in COHORT}).until_inputs()
    restarted(server)
    assert server.recover().tolist() == encoded(server.spec, VICTIM).tolist()


@pytest.mark.rule("R10")
@pytest.mark.rule("R5")
def test_one_list_of_signatures_after_the_other() -> None:
    """The server tries lists of signatures until one passes. After a refusal a session is closed (R5), and so is one
    that is taken up from what it was then; taken up from a snapshot before the refusal it is held by its record, which
    was written before the first sample was drawn (R10)."""
    server = MaliciousServer().until_inputs()
    signatures = {client: server.ask_consent(client, COHORT) for client in COHORT}
    before = server.clients[2].snapshot()
    with refused("C2", peer=SERVER):
        server.ask_release(2, COHORT, {2: signatures[2]})
    for client in (server.clients[2], MaskingClient.resume(server.identities[2], server.clients[2].snapshot())):
        server.clients[2] = client
        with refused("R5", peer=SERVER):
            server.ask_release(2, COHORT, signatures)
    assert not server.opened
    server.clients[2] = MaskingClient.resume(server.identities[2], before)
    with refused("R10"):
        server.ask_release(2, COHORT, signatures)
    assert not server.opened
