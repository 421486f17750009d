"""Rounds of securefed's own schemes, as the audit kit wants them: with oracles that no party of a real round has.

From a secret given, a round is the same every time: that is what makes a simulation's seed replayable. Without one,
everything is fresh from the operating system.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from securefed.aggregation import (
    Adversary,
    ClientIdentity,
    Credentials,
    Policy,
    RoundSpec,
    Scheme,
    ServerSession,
    SigningKey,
    Update,
    new_round,
)
from securefed.audit.round import ClientId, Contribution, Round, Words
from securefed.crypto.hashing import digest_in_domain
from securefed.crypto.shamir import SHARE_BYTES
from securefed.encoding.layout import Floats, Layout, TensorSpec
from securefed.encoding.vector import VectorEncoding
from securefed.plain import PlainIntegers
from securefed.secagg import PairwiseMasks
from securefed.secagg.client import MaskingClient
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import Stage
from securefed.wire.frame import Expected
from securefed.wire.header import HEADER_BYTES, Suite
from securefed.wire.vector_writer import read_words

__all__ = ["OwnRound", "masked_round", "own_round", "plain_round", "round_of"]

_MODEL = digest_in_domain("audit-model")


@dataclass(frozen=True, repr=False)
class OwnRound:
    """The parts of one round of our own, for lies and oracles.

    Attributes:
        identities: by client, with the record that survives its restarts.
        scheme: the round's.
        secret: what everything is drawn from, 32 bytes.
    """

    spec: RoundSpec
    layout: Layout
    contributions: Mapping[ClientId, Contribution]
    identities: Mapping[ClientId, ClientIdentity]
    scheme: Scheme
    secret: bytes

    def round_secret(self, client: ClientId, start: int) -> bytes:
        """What a client draws as its program starts for this time: another one each time, as a real one does."""
        return digest_in_domain("audit-round-secret", self.secret, bytes([start]), _u32(client))

    def server(self) -> ServerSession:
        """The server of this round, new."""
        return self.scheme.server(self.spec, self.layout, self.public_keys)

    def resumed_server(self, snapshot: bytes) -> ServerSession:
        """The server of this round, taken up again."""
        return self.scheme.resume_server(self.spec, self.layout, snapshot, self.public_keys)

    @property
    def public_keys(self) -> dict[ClientId, bytes]:
        """The identity roster."""
        credentials = ((client, identity.credentials) for client, identity in self.identities.items())
        return {client: one.key.public for client, one in credentials if one is not None}

    def update(self, client: ClientId) -> Update:
        """The client's contribution as an update of two tensors."""
        one = self.contributions[client]
        cut = self.layout.tensors[0].size
        tensors: dict[str, Floats] = {"lora_A": one.values[:cut].astype(np.float32), "lora_B": one.values[cut:]}
        return Update(tensors, _MODEL, one.weight, {"loss": one.metric})

    def plain(self, client: ClientId) -> Words:
        """The ring words that the client protects."""
        update, identity = self.update(client), self.identities[client]
        encoding = VectorEncoding(self.layout, self.spec.numbers)
        randomness = identity.rounding(self.spec.round)
        return np.concatenate(list(encoding.encode(update.tensors, update.weight, update.metrics, randomness)))

    def words_of(self, client: ClientId, message: bytes) -> Words:
        """The ring words of an upload that the server took."""
        suite = Suite.PLAIN_INTEGERS if isinstance(self.scheme, PlainIntegers) else Suite.PAIRWISE_MASKS
        expected = Expected(suite, self.spec.session, self.spec.round, client)
        return read_words(message, expected, self.spec.words, self.spec.numbers.lanes.ring_bits)

    def body(self, message: bytes) -> bytes:
        """The whole bytes of an upload that hold nothing but ring words."""
        size = self.spec.words * self.spec.numbers.lanes.ring_bits // 8
        return message[HEADER_BYTES : HEADER_BYTES + size]


def masked_round(
    contributions: Mapping[ClientId, Contribution], adversary: Adversary, *, secret: bytes | None = None
) -> tuple[Round, OwnRound]:
    """A round of pairwise masking.

    Args:
        contributions: by client; the cohort is theirs.
        adversary: the stated one.
        secret: 32 bytes that all keys, seeds and nonces are drawn from; fresh by default.
    """
    own = own_round(contributions, adversary, PairwiseMasks(), secret)
    started = dict.fromkeys(own.spec.cohort, 0)

    def new_client(client: ClientId) -> MaskingClient:
        started[client] += 1
        return MaskingClient(own.identities[client], round_secret=own.round_secret(client, started[client]))

    stages = tuple(stage for stage in own.scheme.stages if adversary.malicious or stage != Stage.CONSENT)
    round_ = replace(
        round_of(own, stages),
        new_client=new_client,
        lying_server=adversary.malicious,
        held_shares=held_shares,
        shares_to_open=Parameters.of(len(own.spec.cohort), adversary).threshold,
    )
    return round_, own


def plain_round(
    contributions: Mapping[ClientId, Contribution], adversary: Adversary, *, secret: bytes | None = None
) -> tuple[Round, OwnRound]:
    """A round of the unprotected integer scheme: what the suite must find fault with."""
    own = own_round(contributions, adversary, PlainIntegers(), secret)
    return replace(round_of(own, own.scheme.stages), lying_server=False), own


def held_shares(client: MaskingClient) -> dict[ClientId, tuple[bytes, bytes]]:
    """The two shares of each peer that a client of ours holds: read out of its state, which nobody else can."""
    held = getattr(client._stage, "held", None)
    if held is None:
        return {}
    return {owner: (both[:SHARE_BYTES], both[SHARE_BYTES:]) for owner, both in held.shares.items()}


def own_round(
    contributions: Mapping[ClientId, Contribution], adversary: Adversary, scheme: Scheme, secret: bytes | None = None
) -> OwnRound:
    """The parts of a round of any scheme of ours, from a secret or fresh."""
    secret = os.urandom(32) if secret is None else secret
    parameters = len(next(iter(contributions.values())).values)
    first = parameters // 3 + 1
    layout = Layout((TensorSpec("lora_A", (first,)), TensorSpec("lora_B", (parameters - first,), "float64")), ("loss",))
    spec = new_round(
        round_number=1, cohort=tuple(contributions), adversary=adversary, model=_MODEL, layout=layout, bits=16,
        clip=1.0, greatest_weight=100,
    )  # fmt: skip
    keys = {client: SigningKey(digest_in_domain("audit-identity", secret, _u32(client))) for client in spec.cohort}
    public = {client: key.public for client, key in keys.items()}
    policy = Policy(frozenset({scheme.name}), adversary, least_sum=2)
    identities = {
        client: ClientIdentity(
            client, layout, policy, digest_in_domain("audit-rounding", secret, _u32(client)), Credentials(key, public)
        )
        for client, key in keys.items()
    }
    return OwnRound(
        replace(spec, nonce=digest_in_domain("audit-nonce", secret)), layout, dict(contributions), identities,
        scheme, secret,
    )  # fmt: skip


def round_of(own: OwnRound, stages: tuple[str, ...]) -> Round:
    """As far as it is the same for all of our schemes."""
    spec, scheme = own.spec, own.scheme
    return Round(
        cohort=spec.cohort,
        stages=stages,
        update_stage=scheme.update_stage,
        threshold=spec.threshold,
        modulus=2**spec.numbers.lanes.ring_bits,
        new_server=own.server,
        new_client=lambda client: scheme.client(own.identities[client]),
        update=own.update,
        plain=own.plain,
        body=own.body,
        resume_client=lambda client, snapshot: scheme.resume_client(own.identities[client], snapshot),
        resume_server=own.resumed_server,
        words_of=own.words_of,
    )


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")
