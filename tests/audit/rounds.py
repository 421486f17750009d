"""Rounds of our schemes for the property suite, with lies for `Round.forge` and the mask generator laid open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from securefed.aggregation import Adversary
from securefed.audit.own_rounds import OwnRound, masked_round, plain_round
from securefed.audit.protocol import AggregationProperties, ClientId, Contribution, Round
from securefed.crypto.keystream import StreamSum
from securefed.secagg.keys import self_mask_key
from securefed.secagg.stages import SUITE, Stage, expected_from
from securefed.wire.from_server import Agreement, Delivery, Offer, Roster, Survivors
from securefed.wire.header import SERVER

MALICIOUS = Adversary("malicious", corrupt=0.2, dropouts=0.2)
SEMI_HONEST = Adversary("semi-honest", corrupt=0.2, dropouts=0.2)
ALL_HONEST = Adversary("malicious", corrupt=0.0, dropouts=0.2)
"""A malicious server, and no client that works with it."""


def lies(own: OwnRound, stage: str, client: ClientId, request: bytes) -> Mapping[str, bytes]:
    """What a lying server could say to one client in this stage, each in the form of a good message."""
    spec, cohort, context = own.spec, own.spec.cohort, expected_from(own.spec, SERVER)
    others = tuple(other for other in cohort if other != client)

    def survivors(*who: ClientId) -> bytes:
        return Survivors(who).encode(context, cohort)

    match stage:
        case Stage.ADVERTISE:
            weaker = Adversary("semi-honest", 0.0, 0.0, 1, 1)
            return {
                "a cohort without the receiver": Offer(replace(spec, cohort=others)).encode(SUITE),
                "a weaker adversary": Offer(replace(spec, adversary=weaker)).encode(SUITE),
                "another layout": Offer(replace(spec, values=spec.values + 1)).encode(SUITE),
            }
        case Stage.SHARE:
            entries = dict(Roster.decode(request, context, cohort, signed=spec.adversary.malicious))
            moved = replace(entries[client], mask=entries[others[0]].channel)
            return {
                "a roster without the receiver": Roster.of({c: entries[c] for c in others}).encode(context),
                "another key for the receiver": Roster.of(entries | {client: moved}).encode(context),
                "one client's keys for two": Roster.of(entries | {others[0]: entries[others[1]]}).encode(context),
                "a roster of two": Roster.of({c: entries[c] for c in (client, others[0])}).encode(context),
            }
        case Stage.INPUT:
            good = Delivery.decode(request, context, cohort, cohort, client)
            few = {sender: part for sender, part in good.senders.items() if sender == others[0]}
            return {
                "a delivery without the receiver": Delivery(others, good.senders).encode(context, cohort),
                "a delivery of two": Delivery((client, others[0]), few).encode(context, cohort),
                "one share kept back": Delivery(good.shared, few).encode(context, cohort),
            }
    told = {
        "nobody survived": survivors(),
        "the receiver alone survived": survivors(client),
        "all but the receiver survived": survivors(*others),
        "fewer survived than the threshold": survivors(*sorted((client, *others[: spec.threshold - 2]))),
    }
    if stage == Stage.RELEASE and spec.adversary.malicious:
        signatures = Agreement.decode(request, context, cohort, cohort).signatures
        few = dict(list(signatures.items())[: spec.threshold - 1])
        false = signatures | {others[0]: signatures[others[1]]}
        return told | {
            "too few signatures": Agreement(few).encode(context, cohort),
            "a false signature": Agreement(false).encode(context, cohort),
        }
    return told


def mask_stream(own: OwnRound, seed: bytes) -> bytes:
    """The first bytes of the self mask that a seed gives."""
    words = np.zeros(4, "<u8")
    StreamSum([(self_mask_key(seed, own.spec.session, own.spec.cohort[0]), +1)]).add_to(words)
    return words.tobytes()


def with_lies(round_: Round, own: OwnRound) -> Round:
    """With the hooks that a test alone needs."""
    return replace(
        round_,
        forge=lambda stage, client, request: lies(own, stage, client, request),
        mask_stream=lambda seed: mask_stream(own, seed),
    )


class Masks(AggregationProperties):
    """Pairwise masking against a malicious server."""

    cohort = (2, 3, 5, 8, 2**32 - 1)
    adversary = MALICIOUS
    secret: bytes | None = None
    """What everything of a round is drawn from, where a test wants the same round again."""

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        return self.made(contributions)[0]

    def made(self, contributions: Mapping[ClientId, Contribution]) -> tuple[Round, OwnRound]:
        """The round, and the parts that it is made of."""
        round_, own = masked_round(contributions, self.adversary, secret=self.secret)
        return with_lies(round_, own), own


class SemiHonestMasks(Masks):
    """Pairwise masking against a server that follows the protocol."""

    adversary = SEMI_HONEST


class Bfv(AggregationProperties):
    """Homomorphic aggregation against a malicious server."""

    cohort = (2, 3, 5, 8, 2**32 - 1)
    adversary = ALL_HONEST
    scheme = "bfv"

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        from securefed.audit.homomorphic_rounds import homomorphic_round
        from securefed.schemes import SCHEMES
        from tests.audit.he_lies import lies, polynomial

        scheme: Any = SCHEMES[self.scheme].make()
        round_, own = homomorphic_round(contributions, self.adversary, scheme=scheme)
        return replace(
            round_,
            forge=lambda stage, client, request: lies(own, stage, client, request),
            mask_stream=lambda key: polynomial(own, key),
        )


class SemiHonestBfv(Bfv):
    """Homomorphic aggregation against a server that follows the protocol."""

    adversary = replace(ALL_HONEST, server="semi-honest")


class CkksCompact(Bfv):
    """The same with approximate ciphertexts."""

    scheme = "ckks-compact"


class Plain(AggregationProperties):
    """No protection at all."""

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        return plain_round(contributions, SEMI_HONEST)[0]
