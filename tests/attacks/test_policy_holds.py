"""Rounds that are weak by configuration: what a server asks for that means to read one update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securefed.aggregation import Adversary, Policy
from securefed.plain import PlainIntegers
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER, Suite
from tests.attacks.invented import invented, no_shares
from tests.attacks.knowledge import VICTIM
from tests.attacks.server import MaliciousServer, words_of
from tests.attacks.switches import half_the_cohort_is_enough, policy_unchecked
from tests.rounds import COHORT, MALICIOUS, SEMI_HONEST, context_of, encoded, identity_of, spec_of, update_of
from tests.rules import case, refused

STRICT = Policy(
    frozenset({"masks"}), MALICIOUS, least_cohort=4, least_sum=3, greatest_clip=0.5, least_bits=16
)  # exactly what `tests.rounds` offers

Words = np.ndarray


def offered(policy: Policy = STRICT, corrupt: tuple[int, ...] = (8,), **changes: Any) -> MaliciousServer:
    """The server with its round; the victim has the policy, the others take part in everything."""
    spec = spec_of(**changes)
    victim = identity_of(VICTIM, policy=policy, cohort=spec.cohort)
    return MaliciousServer(spec, corrupt, {VICTIM: victim})


def tiny_cohort(policy: Policy) -> tuple[Words | None, Words]:
    """One honest client and one corrupt: what is not the one's is the other's."""
    server = offered(policy, cohort=(VICTIM, 8), adversary=Adversary("malicious", 0.0, 0.0)).until_inputs()
    server.plot()
    server.close_round((VICTIM, 8))
    return server.recover(), encoded(server.spec, VICTIM)


def small_sum(policy: Policy) -> tuple[Words | None, Words]:
    """Sums over three clients where two are corrupt; the fourth is said to have dropped out."""
    server = offered(replace(policy, least_sum=4), (5, 8)).until_inputs()
    server.plot()
    server.close_round((VICTIM, 5, 8))
    return server.recover(), encoded(server.spec, VICTIM)


def trusted_server(policy: Policy) -> tuple[Words | None, Words]:
    """Against a semi-honest server nothing is signed: all other clients are the server's inventions."""
    server = offered(policy, (), adversary=SEMI_HONEST)
    server.offer(VICTIM)
    for client in set(COHORT) - {VICTIM}:
        server.corrupt[client], server.entries[client] = invented(server.spec, client)
    server.show_roster(VICTIM)
    server.plot()
    for client, secrets in server.corrupt.items():
        server.shares[client] = no_shares(secrets, set(COHORT) - {client})
    server.deliver(VICTIM)
    return server.recover(), encoded(server.spec, VICTIM)


def too_few_corrupt(policy: Policy) -> tuple[Words | None, Words]:
    """The offer is against one corrupt client, and there are two: L is too small, and both survivor sets are signed."""
    wanted = replace(policy, adversary=replace(MALICIOUS, corrupt=0.49))
    server = offered(wanted, (5, 8)).until_inputs()
    server.plot()
    for honest, survived in ((VICTIM, (VICTIM, 5, 8)), (2, (2, 5, 8))):
        signatures = {client: server.sign(client, COHORT, survived) for client in (5, 8)}
        signatures[honest] = server.ask_consent(honest, survived)
        server.ask_release(honest, survived, signatures)
    return server.recover(), encoded(server.spec, VICTIM)


def in_clear(policy: Policy) -> tuple[Words | None, Words]:
    """Another scheme, of which a job may have two: plain integers have the same encoding and no mask."""
    spec = spec_of(adversary=SEMI_HONEST)
    client = PlainIntegers().client(identity_of(VICTIM, policy=policy))
    reply = client.reply(Offer(spec).encode(Suite.PLAIN_INTEGERS), lambda: update_of(VICTIM))
    encoding = client._identity.accept("masks", spec)
    expected = context_of(spec, VICTIM, Suite.PLAIN_INTEGERS)
    return PlainIntegers().read(expected, encoding, reply), encoded(spec, VICTIM)


def a_ring_of_two_bits(policy: Policy) -> tuple[Words | None, Words]:
    """Two bits a value: the client trains, and of each of its values it sends the sign at most."""
    server = offered(policy, bits=2).until_inputs()
    lanes = server.spec.numbers.lanes.unpack(words_of(server.spec, VICTIM, update_of(VICTIM)))
    assert set(lanes.tolist()) <= {0, 1, 2}
    return lanes, lanes


def huge_clip(policy: Policy) -> tuple[Words | None, Words]:
    """A bound that binds nobody: one client with the honest program moves the mean as far as it likes."""
    server = offered(policy, clip=2.0**40)
    poison = {name: np.full_like(tensor, 2.0**39) for name, tensor in update_of(8).tensors.items()}
    server.updates[8] = replace(update_of(8), tensors=poison, weight=100)
    server.until_inputs()
    server.close_round(COHORT)
    mean = server.decoded(len(COHORT)).tensors["lora_A"]
    assert mean.min() > 2.0**30
    return mean, mean


Attack = Callable[[Policy], tuple[Words | None, Words]]
ATTACKS = {
    "tiny cohort": tiny_cohort,
    "small sum": small_sum,
    "trusted server": trusted_server,
    "too few corrupt": too_few_corrupt,
    "in clear": in_clear,
    "two bits": a_ring_of_two_bits,
    "huge clip": huge_clip,
}


@pytest.mark.parametrize(("rule", "attack"), [case("O1", name, attack) for name, attack in ATTACKS.items()])
def test_a_round_that_is_weak_by_configuration(rule: str, attack: Attack) -> None:
    """The server offers what it can break. The client's own policy refuses the first message (O1)."""
    with refused(rule, peer=SERVER):
        attack(STRICT)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_succeeds_with_policy_unchecked(attack: Attack) -> None:
    with policy_unchecked():
        found, wanted = attack(STRICT)
    assert found.tolist() == wanted.tolist()


@pytest.mark.rule("W15")
def test_a_threshold_of_one_cannot_be_offered() -> None:
    """L is over half of the cohort whatever the adversary, so that a sum over one is no specification (W15)."""
    nobody_lost = Adversary("semi-honest", 0.0, 0.0)
    for adversary in (MALICIOUS, SEMI_HONEST, nobody_lost):
        assert all(adversary.least_survivors(n) >= 2 for n in range(1, 200))
    with half_the_cohort_is_enough():
        alone = Offer(spec_of(cohort=(VICTIM,), adversary=nobody_lost)).encode(Suite.PAIRWISE_MASKS)
    with refused("W15", peer=SERVER):
        MaliciousServer().ask(VICTIM, alone)
