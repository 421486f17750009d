"""Keys, masks and rounds used twice, and what survives a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import Aggregate, ClientIdentity
from securefed.federated.record import FileRecord
from securefed.secagg.client import MaskingClient
from securefed.secagg.stages import Stage
from securefed.wire.header import SERVER
from tests.attacks.knowledge import VICTIM
from tests.attacks.server import MaliciousServer, words_of
from tests.attacks.weaker import forgetful
from tests.rounds import COHORT, Round, encoded, identity_of, seed, spec_of, update_of
from tests.rules import refused

PROTOCOL = " ".join((Path(__file__).parents[2] / "protocols/pairwise_masking/README.md").read_text().split())
"""The normative text, in one line: what it says it does not cover is shown to be so."""
OTHERS = tuple(client for client in COHORT if client != VICTIM)
ANOTHER = replace(update_of(VICTIM), tensors=update_of(21).tensors, weight=17)


def masked_twice(identity: ClientIdentity) -> tuple[MaliciousServer, np.ndarray]:
    """The victim's process is killed after its input and taken up from the snapshot before; it trains again.

    Gives the difference of its two inputs.
    """
    server = MaliciousServer(identities={VICTIM: identity}).until_shares()
    snapshot = server.clients[VICTIM].snapshot()
    first = server.deliver(VICTIM)
    server.clients[VICTIM] = MaskingClient.resume(identity, snapshot)
    server.updates[VICTIM] = ANOTHER
    return server, (first - server.deliver(VICTIM)) & server.spec.numbers.lanes.ring_mask


@pytest.mark.rule("R10")
@pytest.mark.parametrize("kept", ["in memory", "in a file"])
def test_one_mask_for_two_updates(kept: str, tmp_path: Path) -> None:
    """Of two inputs under one mask the difference is that of the updates. The record holds the first (R10)."""
    identity = identity_of(VICTIM)
    if kept == "in a file":
        identity = replace(identity, record=FileRecord(tmp_path / "record"))
    with refused("R10"):
        masked_twice(identity)


def test_succeeds_with_forgetful_record_for_two_updates() -> None:
    """The record is rolled back together with the snapshot. The protocol's text says so."""
    server, difference = masked_twice(forgetful(identity_of(VICTIM)))
    spec = server.spec
    wanted = words_of(spec, VICTIM, update_of(VICTIM)) - words_of(spec, VICTIM, ANOTHER)
    assert difference.tolist() == (wanted & spec.numbers.lanes.ring_mask).tolist()
    assert "nothing in this protocol protects: that takes a monotonic counter outside" in PROTOCOL


@pytest.mark.rule("R4")
def test_a_second_delivery() -> None:
    """The same without a restart: the state that masks is left before the masks are made (R4)."""
    server = MaliciousServer().until_shares()
    server.deliver(VICTIM)
    with refused("R4", peer=SERVER):
        server.deliver(VICTIM)


@pytest.mark.rule("R10")
def test_a_first_input_that_was_never_sent() -> None:
    """Nor does a crash between input and answer free the mask: the record is written before it (R10)."""
    server = MaliciousServer().until_shares()
    snapshot, identity = server.clients[VICTIM].snapshot(), server.identities[VICTIM]
    request = server.delivery(VICTIM)
    pieces = server.clients[VICTIM].reply_in_pieces(server.encoded_delivery(request), lambda: update_of(VICTIM))
    next(pieces)
    with refused("R10"):
        MaskingClient.resume(identity, snapshot)


def test_two_sessions_of_one_client_have_nothing_in_common() -> None:
    """No key is passed in or kept: the same update under two nonces differs by noise, though one round secret is
    behind both."""
    one, other = (MaliciousServer(spec_of(nonce=seed(nonce))).until_shares() for nonce in ("one", "other"))
    keys = [key for s in (one, other) for entry in s.entries.values() for key in (entry.channel, entry.mask)]
    assert len(set(keys)) == len(keys)
    difference = (one.deliver(VICTIM) - other.deliver(VICTIM)) & one.spec.numbers.lanes.ring_mask
    assert 0 not in difference.tolist()


def the_round_again(identities: dict[int, ClientIdentity]) -> np.ndarray:
    """A whole round; then the same round in a new session without the victim, and the difference of the sums."""
    everyone = MaliciousServer(identities=identities).until_inputs()
    everyone.close_round(COHORT)
    spec = spec_of(cohort=OTHERS, nonce=seed("again"))
    without = MaliciousServer(spec, identities={client: identities[client] for client in OTHERS}).until_inputs()
    without.close_round(OTHERS)
    return (everyone.total() - without.total()) & spec.numbers.lanes.ring_mask


@pytest.mark.rule("R11")
def test_the_round_again_without_the_victim() -> None:
    """The server says that the round failed and asks for the same updates of all but one. A round that is not above
    all that an input was given for is refused (R11)."""
    with refused("R11", peer=SERVER):
        the_round_again({client: identity_of(client) for client in COHORT})


def test_succeeds_with_forgetful_record_for_the_round_again() -> None:
    difference = the_round_again({client: forgetful(identity_of(client)) for client in COHORT})
    assert difference.tolist() == encoded(spec_of(), VICTIM).tolist()


def whole_round(**changes: object) -> Aggregate:
    return Round(spec_of(**changes)).until(Stage.DONE).server.aggregate


def test_succeeds_over_two_rounds_whose_cohorts_differ_by_one() -> None:
    """Two sums of the same updates, one of them without the victim: nothing in the protocol is against it, and its
    text says that noise alone is. The weight comes out exactly, the update but for rounding."""
    everyone, without = whole_round(round=7), whole_round(round=8, cohort=OTHERS)
    update, spec = update_of(VICTIM), spec_of()
    assert everyone.weight - without.weight == update.weight
    for name, tensor in update.tensors.items():
        difference = everyone.tensors[name] * everyone.weight - without.tensors[name] * without.weight
        share = update.weight / spec.greatest_weight
        sent = np.clip(tensor * share, -spec.clip, spec.clip) * spec.greatest_weight
        steps = len(COHORT + OTHERS) * spec.numbers.step * spec.greatest_weight
        assert np.abs(difference - sent).max() <= steps
    assert "only noise helps against two rounds" in PROTOCOL
