"""What a lying server could say to one client of a homomorphic round, and the polynomial that its key stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from securefed.aggregation import Adversary
from securefed.audit.own_rounds import OwnRound
from securefed.audit.protocol import ClientId
from securefed.crypto.x25519 import PrivateKey
from securefed.encoding.lanes import pack_bits
from securefed.encoding.vector import VectorEncoding
from securefed.he import HomomorphicScheme
from securefed.he.keys import RoundKey
from securefed.he.stages import Stage
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER
from securefed.wire.homomorphic import CiphertextSum, ExchangeKeys, SealedKey


def lies(own: OwnRound, stage: str, client: ClientId, request: bytes) -> Mapping[str, bytes]:
    """Each in the form of a good message, and with a digest that fits."""
    spec, cohort, scheme = own.spec, own.spec.cohort, own.scheme
    assert isinstance(scheme, HomomorphicScheme)
    parameters, signed = scheme.parameters, spec.adversary.malicious
    context = parameters.expected_from(spec, SERVER)
    others = tuple(other for other in cohort if other != client)
    match stage:
        case Stage.ADVERTISE:
            weaker = Adversary("semi-honest", 0.0, 0.0, 1, 1)
            changed = {
                "a cohort without the receiver": replace(spec, cohort=others),
                "a weaker adversary": replace(spec, adversary=weaker),
                "corrupt clients": replace(spec, adversary=replace(spec.adversary, corrupt=0.2)),
                "another layout": replace(spec, values=spec.values + 1),
            }
            return {name: Offer(one).encode(parameters.suite) for name, one in changed.items()}
        case Stage.KEYS:
            entries = dict(ExchangeKeys.decode(request, context, cohort, signed=signed).entries)
            mine = replace(entries[client], public=PrivateKey(bytes(32)).public)
            lists = {
                "a list without the receiver": {c: entries[c] for c in others},
                "another key for the receiver": entries | {client: mine},
                "one client's key for two": entries | {others[0]: entries[others[1]]},
                "a list of two": {c: entries[c] for c in (client, others[0])},
            }
            if signed:
                lists["a key of the server's"] = entries | {
                    others[0]: replace(entries[others[0]], public=PrivateKey(bytes(32)).public)
                }
            return {name: ExchangeKeys(dict(sorted(one.items()))).encode(context) for name, one in lists.items()}
        case Stage.INPUT:
            good = SealedKey.decode(request, context, signed=signed)
            keys = {
                "another holder": replace(good, holder=others[1]),
                "another key's name": replace(good, key_id=bytes(32)),
                "something else sealed": replace(good, sealed=bytes([good.sealed[0] ^ 1]) + good.sealed[1:]),
            }
            return {name: one.encode(context) for name, one in keys.items()}
    cipher = parameters.cipher(VectorEncoding(own.layout, spec.numbers))
    good_sum = CiphertextSum.decode(request, context, cipher.sum_bytes, cohort, cohort)
    few = good_sum.survivors[: spec.threshold - 1]
    sums = {
        "fewer survived than the threshold": replace(good_sum, survivors=few),
        "one survived": replace(good_sum, survivors=(client,)),
        "nobody survived": replace(good_sum, survivors=()),
        "one less than are in the sum": replace(good_sum, survivors=good_sum.survivors[:-1]),
        "nothing in the sum": replace(good_sum, payload=bytes(cipher.sum_bytes)),
        "a bit of the sum changed": replace(good_sum, payload=_flipped(bytes(good_sum.payload), 7, 2)),
        "another key's name": replace(good_sum, key_id=bytes(32)),
    }
    return {name: one.encode(context, cohort) for name, one in sums.items()}


def _flipped(raw: bytes, at: int, bit: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]


def polynomial(own: OwnRound, key: bytes) -> bytes:
    """The first 128 coefficients of the secret polynomial that hides a round's updates: all that a key is for."""
    scheme = own.scheme
    assert isinstance(scheme, HomomorphicScheme)
    context = scheme.parameters.context(own.spec, VectorEncoding(own.layout, own.spec.numbers))
    return pack_bits((RoundKey(key, context).secret[:128] + 1).astype(np.uint64), 2).tobytes()
