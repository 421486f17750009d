"""A server that shows clients different things: the attack on the papers' semi-honest protocol, and what stops it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from securefed.aggregation import Adversary
from securefed.crypto.keystream import StreamSum
from securefed.crypto.shamir import SHARE_BYTES, Responders
from securefed.crypto.x25519 import PrivateKey
from securefed.errors import RoundAborted
from securefed.secagg.keys import PairContext, self_mask_key
from securefed.secagg.stages import Stage
from securefed.wire.from_client import Consent
from securefed.wire.from_server import Agreement
from securefed.wire.header import SERVER
from tests.rounds import COHORT, MALICIOUS, Round, context_of, encoded, spec_of
from tests.rules import refused
from tests.secagg import lies
from tests.secagg.lies import VICTIM, some_key, with_key
from tests.secagg.modes import both_modes

SIX = (1, 2, 3, 4, 5, 6)
CORRUPT = (1, 2)
TARGET = 6
EVERYONE, WITHOUT = SIX, SIX[:-1]
"""What clients are told: the target survived, or it did not."""
SPLITS = [
    dict(zip((3, 4, 5), told, strict=True)) | {TARGET: EVERYONE}
    for told in itertools.product((EVERYONE, WITHOUT), repeat=3)
]


@dataclass
class Loot:
    """Shares of the target that the server has in the end: those that its corrupt clients hold, and those released."""

    of_seed: dict[int, bytes]
    of_key: dict[int, bytes]

    @staticmethod
    def of_the_corrupt(round_: Round) -> Loot:
        threshold = round_.spec.threshold
        pairs = lies.secrets_of(round_, TARGET).share_out(lies.roster_digest(round_), SIX, threshold)
        return Loot({c: pairs[c][:SHARE_BYTES] for c in CORRUPT}, {c: pairs[c][SHARE_BYTES:] for c in CORRUPT})


def split(server: str, told: dict[int, tuple[int, ...]]) -> tuple[Round, Loot]:
    """All inputs are in. Honest clients are told one of two sets each, the corrupt sign and give whatever helps."""
    adversary = Adversary(server, corrupt=0.333, dropouts=0.0)
    round_ = Round(spec_of(adversary=adversary, cohort=SIX)).until(Stage.INPUT)
    assert adversary.corrupt_clients(6) == len(CORRUPT)
    round_.answer()
    loot = Loot.of_the_corrupt(round_)
    answers = {client: round_.ask(client, lies.survivors(round_, *who)) for client, who in told.items()}
    if adversary.malicious:
        agreed: dict[int, bytes] = {}
        for who in (EVERYONE, WITHOUT):
            signatures = {client: lies.consent_to(round_, client, who) for client in CORRUPT}
            for client in (client for client in told if told[client] == who):
                signatures[client] = Consent.decode(answers[client], context_of(round_.spec, client)).signature
            message = Agreement(signatures).encode(context_of(round_.spec), SIX)
            for client in (client for client in told if told[client] == who):
                if len(signatures) >= round_.spec.threshold:
                    agreed[client] = round_.ask(client, message)
                    continue
                with refused("C2", peer=SERVER):
                    round_.ask(client, message)
        answers = agreed
    for client, message in answers.items():
        share = lies.released(round_, client, message)[TARGET]
        (loot.of_seed if told[client] == EVERYONE else loot.of_key)[client] = share
    return round_, loot


@pytest.mark.rule("C2")
@pytest.mark.parametrize("told", SPLITS, ids=lambda told: "".join("-+"[who == EVERYONE] for who in told.values()))
def test_c2_of_two_sets_at_most_one_is_agreed_on(told: dict[int, tuple[int, ...]]) -> None:
    """However the server splits the honest clients: no honest share of one kind where there is one of the other."""
    round_, loot = split("malicious", told)
    assert len(loot.of_seed) == 2 or len(loot.of_key) == 2
    if told in (SPLITS[0], SPLITS[-1]):
        # The other way to keep the rule would be never to release anything.
        assert max(len(loot.of_seed), len(loot.of_key)) >= round_.spec.threshold


def test_the_attack_works_where_the_server_was_trusted_not_to_lie() -> None:
    """A round against a semi-honest server promises nothing here, and this is what that means: the target's words."""
    round_, loot = split("semi-honest", {3: WITHOUT, 4: WITHOUT, 5: EVERYONE, TARGET: EVERYONE})
    spec, threshold = round_.spec, round_.spec.threshold
    opened = Responders(sorted(loot.of_seed), threshold).combine(loot.of_seed).to_bytes(32, "big")
    key = PrivateKey(Responders(sorted(loot.of_key), threshold).combine(loot.of_key).to_bytes(32, "big"))
    pairs = PairContext(spec.session, lies.roster_digest(round_))
    streams = [(self_mask_key(opened, spec.session, TARGET), -1)]
    for other in WITHOUT:
        theirs = lies.secrets_of(round_, other).mask.public
        streams.append((pairs.mask_key(key, theirs, TARGET, other), +1))
    words = lies.words_of(round_, TARGET)
    StreamSum(streams).add_to(words)
    assert np.array_equal(words & spec.numbers.lanes.ring_mask, encoded(spec, TARGET))


def two_rosters(adversary: Adversary) -> Round:
    """A corrupt 8 advertises other keys to the victim alone."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.SHARE)
    other = with_key(round_, 8, channel=some_key("another"), mask=some_key("another too"))
    for client in COHORT:
        round_.server.receive(client, round_.ask(client, other if client == VICTIM else None))
    round_.server.advance()
    round_.play()
    return round_


@both_modes
@pytest.mark.rule("S4")
def test_s4_two_rosters_do_not_fit_together(adversary: Adversary) -> None:
    """No share opens that was sealed under the other roster: the victim holds and has given nothing but its own."""
    round_ = two_rosters(adversary)
    for client, other in itertools.permutations(COHORT, 2):
        held = round_.clients[client]._stage.held.shares  # type: ignore[union-attr]
        assert (other in held) == (VICTIM not in (client, other))


@pytest.mark.rule("C1")
def test_c1_nobody_agrees_with_those_who_saw_another_roster() -> None:
    round_ = two_rosters(MALICIOUS)
    consents = {client: round_.ask(client) for client in COHORT}
    with refused("C1", peer=VICTIM):
        round_.server.receive(VICTIM, consents[VICTIM])
    for client in (2, 5, 8):
        round_.server.receive(client, consents[client])
    round_.server.advance()
    with refused("C1", peer=SERVER):
        round_.ask(VICTIM, lies.agreement(round_, {}))
    for client in (2, 5, 8):
        round_.server.receive(client, round_.ask(client))
    with pytest.raises(RoundAborted, match=rf"client {VICTIM}: \[S3\]"):
        round_.server.advance()


@pytest.mark.rule("C1")
def test_c1_a_consent_is_to_one_set_of_those_who_shared() -> None:
    """The victim is told that 8 did not share: what it signs is another digest, and no other's signature is of that."""
    round_ = Round().until(Stage.INPUT)
    fewer = lies.delivery(round_, {8: None}, shared=(2, 3, 5))
    for client in COHORT:
        round_.server.receive(client, round_.ask(client, fewer if client == VICTIM else None))
    round_.server.advance()
    told = lies.survivors(round_, 2, 3, 5)
    for client in (2, 3, 5):
        round_.replies[Stage.CONSENT][client] = round_.ask(client, told)
    signatures = {
        client: Consent.decode(message, context_of(round_.spec, client)).signature
        for client, message in round_.replies[Stage.CONSENT].items()
    }
    message = Agreement(signatures).encode(context_of(round_.spec), COHORT)
    for client in (2, 3, 5):
        with refused("C1", peer=SERVER):
            round_.ask(client, message)
