"""The vectors of protocols/wire, good and bad, through our codec."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from securefed.encoding.lanes import unpack_bits
from securefed.wire.header import HEADER_BYTES, MessageType, Suite
from securefed.wire.messages import (
    Advertisement,
    Delivery,
    Expected,
    Input,
    Offer,
    Release,
    Roster,
    Shares,
    Survivors,
)
from securefed.wire.specification import RoundSpec
from tests.differential.reading import named
from tests.rules import refused


def decode(message: bytes, agreed: dict[str, Any]) -> Any:
    """By the decoder of the type that is expected, with what was agreed."""
    kind, suite, ids = MessageType(agreed["type"]), Suite(agreed["suite"]), agreed["ids"]
    if kind is MessageType.OFFER:
        return Offer.decode(message, suite)
    expected = Expected(suite, bytes.fromhex(agreed["session"]), agreed["round"], agreed["sender"])
    match kind:
        case MessageType.ADVERTISEMENT:
            return Advertisement.decode(message, expected)
        case MessageType.INPUT:
            got = Input.decode(message, expected, agreed["exact_count"])
            unpack_bits(got.words, *ring_of(agreed["input_bits"], agreed["exact_count"]))
            return got
        case MessageType.DELIVERY:
            return Delivery.decode(message, expected, ids, agreed["greatest_count"])
        case _:
            of = {"ROSTER": Roster, "SHARES": Shares, "SURVIVORS": Survivors, "RELEASE": Release}[kind.name]
            return of.decode(message, expected, ids)


def ring_of(bits: int, packed: int) -> tuple[int, int]:
    """Some (words, R) with so many bits in so many packed words: which of them does not matter for W13."""
    return next((bits // r, r) for r in range(64, 32, -1) if bits % r == 0 and -(-bits // 64) == packed)


def spec_from(fields: dict[str, Any]) -> RoundSpec:
    raw = {name: bytes.fromhex(fields[name]) for name in ("nonce", "model", "layout")}
    return RoundSpec(**(fields | raw | {"cohort": tuple(fields["cohort"])}))


def body_of(message: Any) -> dict[str, Any]:
    """A message's fields as a vector has them."""
    match message:
        case Offer(spec):
            fields = {name: getattr(spec, name) for name in RoundSpec.__dataclass_fields__}
            raw = {name: fields[name].hex() for name in ("nonce", "model", "layout")}
            return {"specification": fields | raw | {"cohort": list(spec.cohort)}}
        case Advertisement(keys):
            return {"channel_key": keys.channel.hex(), "mask_key": keys.mask.hex()}
        case Input(words):
            return {"words": words.tolist()}
        case Shares(commitment, sealed):
            return {"commitment": commitment.hex()} | body_of(Delivery(sealed))
        case Roster(keys):
            return {
                "ids": list(keys),
                "channel_keys": [both.channel.hex() for both in keys.values()],
                "mask_keys": [both.mask.hex() for both in keys.values()],
            }
        case Delivery(sealed):
            return {"ids": list(sealed), "sealed": [box.hex() for box in sealed.values()]}
        case Survivors(survived):
            return {"ids": list(survived), "survived": list(survived.values())}
        case Release(shares):
            return {"ids": list(shares), "shares": [share.hex() for share in shares.values()]}
    raise AssertionError(message)


@pytest.mark.parametrize("vector", named("wire", "messages"))
def test_good_messages(vector: dict[str, Any]) -> None:
    message, agreed = bytes.fromhex(vector["message"]), vector["agreed"]
    decoded = decode(message, agreed)
    assert body_of(decoded) == vector["body"]
    if isinstance(decoded, Offer):
        assert decoded.encode(Suite(agreed["suite"])) == message
    else:
        context = Expected(Suite(agreed["suite"]), bytes.fromhex(agreed["session"]), agreed["round"], agreed["sender"])
        assert decoded.encode(context) == message


@pytest.mark.parametrize("vector", named("wire", "specifications"))
def test_good_specifications(vector: dict[str, Any]) -> None:
    spec = spec_from(vector["fields"])
    assert spec.pack().hex() == vector["specification"]
    assert spec.session.hex() == vector["session"]
    assert RoundSpec.parse(memoryview(bytes.fromhex(vector["specification"]))) == spec


@pytest.mark.parametrize("vector", named("wire", "refused"))
def test_bad_messages(vector: dict[str, Any]) -> None:
    with refused(vector["rule"]):
        decode(bytes.fromhex(vector["message"]), vector["agreed"])


def test_the_words_of_a_vectors_input_are_aligned() -> None:
    vector = next(p.values[0] for p in named("wire", "messages") if p.values[0]["agreed"]["type"] == MessageType.INPUT)
    words = decode(bytes.fromhex(vector["message"]), vector["agreed"]).words
    assert HEADER_BYTES % 8 == 0
    assert words.dtype == np.dtype("<u8")
