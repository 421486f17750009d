"""Rounds whose model is named after their set-up, and the riders that do it: what a server may try with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securefed.aggregation import ClientIdentity, RoundSpec
from securefed.chains import ClientChain
from securefed.secagg import PairwiseMasks
from securefed.secagg.client import MaskingClient
from securefed.wire.bundle import pack_bundle, parse_bundle
from securefed.wire.header import SERVER
from securefed.wire.specification import NAMED_LATER
from tests.attacks.knowledge import VICTIM
from tests.attacks.server import MaliciousServer, words_of
from tests.attacks.switches import name_outside_the_session, released_session_stays_open
from tests.attacks.test_models import DEAD, of_victim_alone, updates, victims
from tests.attacks.weaker import forgetful
from tests.rounds import COHORT, MODEL, SEMI_HONEST, encoded, identity_of, spec_of, update_of
from tests.rules import refused

LOST = (2, 5, 8)
"""Survivors that leave the victim out; all of them hold shares of it."""
ANOTHER = replace(update_of(VICTIM), tensors=update_of(21).tensors, weight=17)
OTHER_MODEL = DEAD


def prepared(**changes: object) -> RoundSpec:
    """To be named later."""
    return spec_of(model=NAMED_LATER, **changes)


# Two names for two clients.


def two_names(spec: RoundSpec) -> MaliciousServer:
    """One set-up for all. Then the victim is told of the model, and everyone else of the dead one."""
    server = MaliciousServer(spec, updates=updates())
    server.named = dict.fromkeys(COHORT, DEAD) | {VICTIM: MODEL}
    server.until_inputs()
    server.close_round(COHORT)
    return server


@pytest.mark.rule("C1")
def test_two_names() -> None:
    """Model inconsistency once more: set-up and offer are the same for all, so no advertisement tells them apart.

    Defence: consents are over the named session. Whoever was told of another model signed something else (C1).
    """
    with refused("C1", peer=SERVER):
        two_names(prepared())


def test_two_names_give_noise_where_nobody_consents() -> None:
    """In a round that trusts the server to follow the protocol, and the server does not. Every self-mask is opened; but
    the pairwise masks of the victim are bound to its name, those of the others to theirs: they do not cancel."""
    server = two_names(prepared(adversary=SEMI_HONEST))
    assert all(server.self_mask_seed(client) is not None for client in COHORT)
    lanes = of_victim_alone(server)
    assert not set(lanes.tolist()) & set(victims(server).tolist())


def test_succeeds_with_name_outside_the_session() -> None:
    """With masks and consents of the session alone, both rounds come to their end."""
    with name_outside_the_session():
        for spec in (prepared(), prepared(adversary=SEMI_HONEST)):
            server = two_names(spec)
            assert of_victim_alone(server).tolist() == victims(server).tolist()


# Two names for one client.


def masked_twice(identity: ClientIdentity) -> tuple[MaliciousServer, np.ndarray]:
    """The victim is told of a model, killed, taken up from the snapshot before, and told of another; the difference of
    its two inputs."""
    server = MaliciousServer(prepared(), identities={VICTIM: identity}, updates={VICTIM: update_of(VICTIM)})
    server.until_shares()
    snapshot = server.clients[VICTIM].snapshot()
    server.named[VICTIM] = MODEL
    first = server.deliver(VICTIM)
    server.clients[VICTIM] = MaskingClient.resume(identity, snapshot)
    server.named[VICTIM], server.updates[VICTIM] = OTHER_MODEL, replace(ANOTHER, model=OTHER_MODEL)
    return server, (first - server.deliver(VICTIM)) & server.spec.numbers.lanes.ring_mask


def of_both(spec: RoundSpec) -> list[int]:
    wanted = words_of(spec, VICTIM, update_of(VICTIM)) - words_of(spec, VICTIM, ANOTHER)
    return (wanted & spec.numbers.lanes.ring_mask).tolist()


@pytest.mark.rule("R10")
def test_one_mask_for_two_names() -> None:
    """The record is by the session, whatever it is called later (R10)."""
    with refused("R10"):
        masked_twice(identity_of(VICTIM))


@pytest.mark.rule("R4")
def test_two_names_to_one_client() -> None:
    """The same without a restart: the state that masks is left before the name is read (R4)."""
    server = MaliciousServer(prepared()).until_shares()
    server.named[VICTIM] = MODEL
    server.updates[VICTIM] = update_of(VICTIM)
    server.deliver(VICTIM)
    server.named[VICTIM] = OTHER_MODEL
    with refused("R4", peer=SERVER):
        server.deliver(VICTIM)


def test_two_names_of_one_session_have_no_mask_in_common() -> None:
    """A second line, where the record was rolled back: all streams are of the named session, the victim's own too."""
    server, difference = masked_twice(forgetful(identity_of(VICTIM)))
    assert not set(difference.tolist()) & set(of_both(server.spec))


def test_succeeds_with_forgetful_record_for_two_names() -> None:
    with name_outside_the_session():
        server, difference = masked_twice(forgetful(identity_of(VICTIM)))
    assert difference.tolist() == of_both(server.spec)


# Riders.


def with_chains(spec: RoundSpec, identities: dict[int, ClientIdentity]) -> MaliciousServer:
    """Its clients take bundles."""
    server = MaliciousServer(spec, identities=identities)
    server.clients = {client: ClientChain(PairwiseMasks(), identities[client]) for client in COHORT}  # type: ignore[misc]
    return server


def both_in_one_bundle(identities: dict[int, ClientIdentity]) -> MaliciousServer:
    """Every holder is told in the rider that the victim survived, and in the main message that it did not."""
    server = with_chains(spec_of(adversary=SEMI_HONEST), identities).until_inputs()
    for client in LOST:
        bundle = pack_bundle(server.survivors(COHORT), server.survivors(LOST))
        rider, main = parse_bundle(server.ask(client, bundle))
        server.take_release(client, rider, COHORT)
        server.take_release(client, bytes(main), LOST)
    return server


@pytest.mark.rule("R4")
def test_both_shares_in_one_bundle() -> None:
    """A bundle is two messages, and the second meets the state that the first has left: released, so closed (R4)."""
    with refused("R4", peer=SERVER):
        both_in_one_bundle({client: identity_of(client) for client in COHORT})


def test_succeeds_in_one_bundle_with_released_session_stays_open() -> None:
    """With neither state nor record, one exchange opens both seeds of the victim."""
    with released_session_stays_open():
        server = both_in_one_bundle({client: forgetful(identity_of(client)) for client in COHORT})
    assert server.recover().tolist() == encoded(server.spec, VICTIM).tolist()


def two_rounds(spec: RoundSpec) -> tuple[MaliciousServer, MaliciousServer]:
    """A round whose inputs are given, and the next one with its set-up done, of the same clients."""
    present = with_chains(spec, {client: identity_of(client) for client in COHORT})
    following = MaliciousServer(replace(spec, round=spec.round + 1, model=NAMED_LATER))
    following.clients = present.clients
    present.until_shares()
    following.until_shares()
    for client in COHORT:
        present.deliver(client)
    return present, following


@pytest.mark.rule("R4")
def test_a_rider_asks_for_shares_before_the_input() -> None:
    """Of the session that is only set up, while the present round is asked what it may be asked. The rider is refused
    (R4): its place stays empty, the present round has its answer, and the session that was asked is over (R5)."""
    present, following = two_rounds(spec_of(adversary=SEMI_HONEST))
    for client in COHORT:
        bundle = pack_bundle(following.survivors(LOST), present.survivors(COHORT))
        rider, main = parse_bundle(present.ask(client, bundle))
        assert not rider
        present.take_release(client, bytes(main), COHORT)
        following.named[client] = MODEL
        with refused("R5", peer=SERVER):
            following.deliver(client)
    assert not following.opened
    assert (
        present.total().tolist()
        == (sum(encoded(present.spec, client) for client in COHORT) & present.spec.numbers.lanes.ring_mask).tolist()
    )


def test_a_rider_asks_for_shares_without_consents() -> None:
    """In the place where the next round's roster belongs: an agreement of the present round, before anybody consented.
    Nothing leaves, and the server has lost the client for its own round."""
    present, _ = two_rounds(spec_of())
    for client in COHORT:
        agreement = present.agreement(client, LOST, {})
        bundle = pack_bundle(agreement, present.survivors(COHORT))
        with refused("R5", peer=SERVER):
            present.ask(client, bundle)
    assert not present.opened
