"""Taking the masks off a sum: combine the seeds that t clients helped to open, check each, take its stream off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from securefed.crypto.keystream import StreamSum, Words
from securefed.crypto.shamir import SECRET_BYTES, Responders
from securefed.crypto.x25519 import PrivateKey
from securefed.errors import RemoteProtocolError
from securefed.secagg.keys import PairContext, commitment, self_mask_key
from securefed.wire.messages import Keys
from securefed.wire.specification import RoundSpec

__all__ = ["Evidence", "unmask"]

_STREAMS_AT_ONCE = 64
"""Open cipher contexts while the sum is passed over: a few kilobytes each."""


@dataclass(frozen=True, repr=False)
class Evidence:
    """What the server has when the last stage closes.

    Attributes:
        roster: digest of the ROSTER message.
        keys: advertised public keys by client.
        commitments: to the self-mask seeds, of all that shared.
        survived: for all that shared, whether the input arrived.
        released: by responder, the share of each client.
    """

    spec: RoundSpec
    roster: bytes
    keys: Mapping[int, Keys]
    commitments: Mapping[int, bytes]
    survived: Mapping[int, bool]
    released: Mapping[int, Mapping[int, bytes]]


def unmask(total: Words, evidence: Evidence) -> None:
    """Take all masks off the sum of the survivors' words, in place, modulo 2^64 (a multiple of the ring).

    Raises:
        RemoteProtocolError: S1, S3, S5 or S6 with the client whose seed does not fit.
    """
    terms: list[tuple[bytes, int]] = []
    responders = Responders(sorted(evidence.released), evidence.spec.threshold)
    for client, alive in evidence.survived.items():
        shares = {responder: evidence.released[responder][client] for responder in responders.indices}
        seed = responders.combine(shares)
        if alive:
            terms.append((_self_mask(client, seed, evidence), -1))
        else:
            terms += _pairwise_masks(client, seed, evidence)
    for start in range(0, len(terms), _STREAMS_AT_ONCE):
        StreamSum(terms[start : start + _STREAMS_AT_ONCE]).add_to(total)


def _seed_bytes(seed: int) -> bytes | None:
    return seed.to_bytes(SECRET_BYTES, "big") if seed < 2 ** (8 * SECRET_BYTES) else None


def _self_mask(client: int, seed: int, evidence: Evidence) -> bytes:
    raw, session = _seed_bytes(seed), evidence.spec.session
    if raw is None or commitment(raw, session, client) != evidence.commitments[client]:
        raise RemoteProtocolError("S5", "the combined self-mask seed does not fit its commitment", client)
    return self_mask_key(raw, session, client)


def _pairwise_masks(dropped: int, seed: int, evidence: Evidence) -> list[tuple[bytes, int]]:
    """The streams that survivors added towards one who dropped out, with the sign that takes them off."""
    raw = _seed_bytes(seed)
    key = PrivateKey(raw) if raw is not None else None
    if key is None or key.public != evidence.keys[dropped].mask:
        raise RemoteProtocolError("S6", "the combined mask key is not the advertised one", dropped)
    pairs = PairContext(evidence.spec.session, evidence.roster)
    return [
        # A survivor added the stream where its id is the smaller one.
        (pairs.mask_key(key, evidence.keys[other].mask, dropped, other), -1 if other < dropped else +1)
        for other, alive in evidence.survived.items()
        if alive
    ]
