"""Clients that are not who they seem: invented ones, one under two ids, keys that come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securefed.aggregation import ClientIdentity, Credentials
from securefed.errors import RemoteProtocolError
from securefed.wire.from_client import Entry
from securefed.wire.header import SERVER
from tests.attacks.invented import invented, invented_identity, no_shares
from tests.attacks.knowledge import VICTIM
from tests.attacks.server import MaliciousServer
from tests.attacks.switches import (
    one_key_for_two_ids,
    own_entry_unchecked,
    pairs_without_ids,
    repeated_keys_allowed,
    signatures_unverified,
)  # fmt: skip
from tests.attacks.weaker import identities_of_the_server
from tests.rounds import COHORT, SEMI_HONEST, encoded, identities, identity_of, signing_key, spec_of
from tests.rules import refused

OTHERS = tuple(client for client in COHORT if client != VICTIM)


def surrounded(victim: ClientIdentity | None = None) -> MaliciousServer:
    """One real client; all others are made up by the server, with keys of its own."""
    server = MaliciousServer(identities={VICTIM: victim} if victim else None)
    server.offer(VICTIM)
    for client in OTHERS:
        server.corrupt[client], server.entries[client] = invented(server.spec, client)
    server.show_roster(VICTIM)
    server.plot()
    for client, secrets in server.corrupt.items():
        server.shares[client] = no_shares(secrets, set(COHORT) - {client})
    server.deliver(VICTIM)
    return server


@pytest.mark.rule("K5")
def test_a_cohort_of_the_servers_inventions() -> None:
    """The server sends its own keys in the names of all others: it is sent all shares of the one real client.

    A Sybil attack as in Boenisch et al., *When the Curious Abandon Honesty*, EuroS&P 2023. Defence: advertisements
    are signed by keys that the client has from elsewhere (K5).
    """
    with refused("K5", peer=SERVER):
        surrounded()


def test_succeeds_with_signatures_unverified() -> None:
    with signatures_unverified():
        server = surrounded()
    assert server.recover().tolist() == encoded(server.spec, VICTIM).tolist()


@pytest.mark.rule("K6")
def test_a_cohort_of_strangers() -> None:
    """The same with clients that the identity roster does not hold (K6)."""
    alone = Credentials(signing_key(VICTIM), identities([VICTIM]))
    with refused("K6", peer=SERVER):
        surrounded(replace(identity_of(VICTIM), credentials=alone))


def test_succeeds_with_identities_of_the_server() -> None:
    """An identity roster that the server provides, or that grows by whoever turns up, protects nobody."""
    strangers = {client: invented_identity(client).public for client in OTHERS}
    server = surrounded(identities_of_the_server(identity_of(VICTIM), strangers))
    assert server.recover().tolist() == encoded(server.spec, VICTIM).tolist()


def one_client_twice() -> MaliciousServer:
    """One corrupt client, enrolled as 5 and as 8: twice the shares and twice the signatures for two survivor sets."""
    enrolled = identities(COHORT) | {5: signing_key(8).public}
    honest = {
        client: replace(identity_of(client), credentials=Credentials(signing_key(client), enrolled))
        for client in (2, VICTIM)
    }
    server = MaliciousServer(corrupt=(5, 8), identities=honest)
    for client in COHORT:
        server.offer(client)
    # The second of its advertisements is signed by the one key that it has.
    again = server.entries[5]
    server.entries[5] = replace(again, signature=server.signature_of(again, 5, by=8))
    for client in (2, VICTIM):
        server.show_roster(client)
    for client in (5, 8):
        server.shares[client] = no_shares(server.corrupt[client], set(COHORT) - {client})
    server.plot_of((2, VICTIM))
    for client in (2, VICTIM):
        server.deliver(client)
    for client, survived in ((VICTIM, (VICTIM, 5, 8)), (2, (2, 5, 8))):
        signatures = {twice: server.sign(8, COHORT, survived) for twice in (5, 8)}
        signatures[client] = server.ask_consent(client, survived)
        server.ask_release(client, survived, signatures)
    return server


@pytest.mark.rule("K7")
def test_one_client_under_two_ids() -> None:
    """Who counts twice is two of C corrupt clients where one was counted on. No identity key stands for two (K7)."""
    with refused("K7"):
        one_client_twice()


def test_succeeds_with_one_key_for_two_ids() -> None:
    with one_key_for_two_ids():
        server = one_client_twice()
    assert server.recover().tolist() == encoded(server.spec, VICTIM).tolist()


def reflected() -> MaliciousServer:
    """The keys of 2 come back under the id of 5: the victim adds one pairwise mask twice, with opposite signs.

    Nothing is signed in this round, so that K5 does not see it first.
    """
    server = MaliciousServer(spec_of(adversary=SEMI_HONEST), corrupt=[8])
    for client in (2, VICTIM, 8):
        server.offer(client)
    secrets, made_up = invented(server.spec, 5)
    server.entries[5] = Entry(server.entries[2].channel, server.entries[2].mask, made_up.promise)
    server.entries = dict(sorted(server.entries.items()))
    for client in (VICTIM, 2, 8):
        server.show_roster(client)
    server.shares[5] = no_shares(secrets, (2, VICTIM, 8))
    server.shares = dict(sorted(server.shares.items()))
    server.plot_of((2, VICTIM))
    for client in (VICTIM, 2):
        server.deliver(client)
    for client in (VICTIM, 2):
        server.ask_release(client, (2, VICTIM, 8))
    return server


@pytest.mark.rule("K4")
def test_a_key_that_comes_back() -> None:
    """One key under two ids: masks with both would cancel. Keys are distinct over all columns of the roster (K4)."""
    with refused("K4", peer=SERVER):
        reflected()


def test_a_key_that_comes_back_gives_noise_as_masks_are_bound_to_ids() -> None:
    """The second line, with K4 off: the two masks are of two ids, and do not cancel."""
    with repeated_keys_allowed():
        server = reflected()
    found = server.recover(cancelling=(2, 5))
    assert found is not None
    assert not set(found.tolist()) & set(encoded(server.spec, VICTIM).tolist())


def test_succeeds_with_repeated_keys_allowed() -> None:
    """K4 and the ids of the pair off: what is left of the victim's masks is its own and the corrupt client's."""
    with repeated_keys_allowed(), pairs_without_ids():
        server = reflected()
        found = server.recover(cancelling=(2, 5))
    assert found.tolist() == encoded(server.spec, VICTIM).tolist()


@pytest.mark.rule("K4")
def test_the_victims_own_key_reflected() -> None:
    """Its own public key in another's name, and the channel key in the mask key's column (K4)."""
    for columns in ("same", "crossed"):
        server = MaliciousServer(spec_of(adversary=SEMI_HONEST))
        for client in COHORT:
            server.offer(client)
        own = server.entries[VICTIM]
        keys = (own.channel, own.mask) if columns == "same" else (own.mask, own.channel)
        server.entries[5] = replace(server.entries[5], channel=keys[0], mask=keys[1])
        with refused("K4", peer=SERVER):
            server.show_roster(VICTIM)


def impersonated() -> MaliciousServer:
    """Everyone, the victim included, is shown the server's keys in the victim's name."""
    server = MaliciousServer(spec_of(adversary=SEMI_HONEST))
    for client in COHORT:
        server.offer(client)
    _, server.entries[VICTIM] = invented(server.spec, VICTIM)
    server.show_roster(VICTIM)
    return server


@pytest.mark.rule("K3")
def test_other_keys_in_the_victims_own_name() -> None:
    """The server stands between the victim and all others. The victim finds its own entry changed (K3)."""
    with refused("K3", peer=SERVER):
        impersonated()


def test_succeeds_with_own_entry_unchecked() -> None:
    """It goes on as if nothing were wrong. A check in depth: where the others verify signatures they refuse (K5)."""
    with own_entry_unchecked():
        server = impersonated()
        assert VICTIM in server.shares
    signed = MaliciousServer()
    for client in COHORT:
        signed.offer(client)
    _, signed.entries[VICTIM] = invented(signed.spec, VICTIM)
    with pytest.raises(RemoteProtocolError, match=r"\[K5\]"):
        signed.show_roster(2)
