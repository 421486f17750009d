"""The vectors of protocols/wire, good and bad, through our codec."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from securefed.encoding.lanes import unpack_bits
from securefed.wire.adversary import Adversary
from securefed.wire.bundle import is_bundle, pack_bundle, parse_bundle
from securefed.wire.frame import Expected
from securefed.wire.from_client import Advertisement, Consent, Entry, Input, Release, Shares
from securefed.wire.from_server import Agreement, Delivery, NamedDelivery, Offer, Roster, Survivors
from securefed.wire.header import HEADER_BYTES, MessageType, Suite
from securefed.wire.specification import RoundSpec
from tests.differential.reading import adversary_from, named
from tests.rules import refused


def decode(message: bytes, agreed: dict[str, Any]) -> Any:
    """By the decoder of the type that is expected, with what was agreed."""
    kind, suite, ids = MessageType(agreed["type"]), Suite(agreed["suite"]), agreed["ids"]
    if kind is MessageType.OFFER:
        return Offer.decode(message, suite)
    expected, cohort = expected_of(agreed), agreed["cohort"]
    match kind:
        case MessageType.ADVERTISEMENT:
            return Advertisement.decode(message, expected, signed=agreed["signed"])
        case MessageType.ROSTER:
            return Roster.decode(message, expected, ids, signed=agreed["signed"])
        case MessageType.INPUT:
            got = Input.decode(message, expected, agreed["exact_count"], attested=bool(agreed["attestations"]))
            unpack_bits(got.words, *ring_of(agreed["input_bits"], agreed["exact_count"]))
            return got
        case MessageType.DELIVERY | MessageType.NAMED_DELIVERY:
            (receiver,) = set(agreed["members"]) - set(ids)
            of = Delivery if kind is MessageType.DELIVERY else NamedDelivery
            return of.decode(message, expected, cohort, agreed["members"], receiver)
        case MessageType.SURVIVORS:
            return Survivors.decode(message, expected, cohort)
        case MessageType.CONSENT:
            return Consent.decode(message, expected)
        case MessageType.AGREEMENT:
            attesting = range(1, 1 + agreed["attestations"])
            return Agreement.decode(message, expected, cohort, agreed["members"], attesting)
        case _:
            of = {"SHARES": Shares, "RELEASE": Release}[kind.name]
            return of.decode(message, expected, ids)


def expected_of(agreed: dict[str, Any]) -> Expected:
    return Expected(Suite(agreed["suite"]), bytes.fromhex(agreed["session"]), agreed["round"], agreed["sender"])


def encode(message: Any, agreed: dict[str, Any]) -> bytes:
    """The bytes of what was decoded."""
    match message:
        case Offer():
            return message.encode(Suite(agreed["suite"]))
        case Delivery() | NamedDelivery() | Survivors() | Agreement():
            return message.encode(expected_of(agreed), agreed["cohort"])
    raw: bytes = message.encode(expected_of(agreed))
    return raw


def ring_of(bits: int, packed: int) -> tuple[int, int]:
    """Some (words, R) with so many bits in so many packed words: which of them does not matter for W13."""
    return next((bits // r, r) for r in range(64, 32, -1) if bits % r == 0 and -(-bits // 64) == packed)


def spec_from(fields: dict[str, Any]) -> RoundSpec:
    raw = {name: bytes.fromhex(fields[name]) for name in ("nonce", "model", "layout")}
    return RoundSpec(
        **(fields | raw | {"cohort": tuple(fields["cohort"]), "adversary": adversary_from(fields["adversary"])})
    )


def adversary_of(adversary: Adversary) -> dict[str, Any]:
    shares = {name: round(1000 * getattr(adversary, name)) for name in ("corrupt", "dropouts")}
    bits = {name: getattr(adversary, name) for name in ("server", "security", "correctness")}
    return bits | shares


def entry_of(entry: Entry) -> dict[str, Any]:
    fields = {"channel_key": entry.channel, "mask_key": entry.mask, "promise": entry.promise}
    return {name: value.hex() for name, value in fields.items()} | {"signature": entry.signature.hex() or None}


def body_of(message: Any) -> dict[str, Any]:
    """A message's fields as a vector has them."""
    match message:
        case Offer(spec):
            fields = {name: getattr(spec, name) for name in RoundSpec.__dataclass_fields__}
            raw = {name: fields[name].hex() for name in ("nonce", "model", "layout")}
            adversary = adversary_of(spec.adversary)
            return {"specification": fields | raw | {"cohort": list(spec.cohort), "adversary": adversary}}
        case Advertisement(entry):
            return entry_of(entry)
        case Input(words, attestation):
            return {"attestation": attestation.hex() or None, "words": words.tolist()}
        case Shares(pick_secret, commitment, sealed):
            boxes = [box.hex() for box in sealed.values()]
            return {
                "pick_secret": pick_secret.hex(),
                "commitment": commitment.hex(),
                "ids": list(sealed),
                "sealed": boxes,
            }
        case Roster():
            return {"ids": list(message), "entries": [entry_of(entry) for entry in message.values()]}
        case Delivery(shared, senders):
            parts = senders.values()
            secrets = [part.pick_secret.hex() for part in parts]
            boxes = [part.sealed.hex() for part in parts]
            return {"shared": list(shared), "ids": list(senders), "pick_secrets": secrets, "sealed": boxes}
        case NamedDelivery(model, delivery):
            return {"model": model.hex()} | body_of(delivery)
        case Survivors(survived):
            return {"survived": list(survived)}
        case Consent(signature):
            return {"signature": signature.hex()}
        case Agreement(signatures, attestations):
            both = {"signatures": signatures, "attestations": attestations}
            hexes = {name: [one.hex() for one in ones.values()] for name, ones in both.items()}
            return {"signers": list(signatures)} | hexes
        case Release(shares):
            return {"ids": list(shares), "shares": [share.hex() for share in shares.values()]}
    raise AssertionError(message)


@pytest.mark.parametrize("vector", named("wire", "messages"))
def test_good_messages(vector: dict[str, Any]) -> None:
    message, agreed = bytes.fromhex(vector["message"]), vector["agreed"]
    decoded = decode(message, agreed)
    assert body_of(decoded) == vector["body"]
    assert encode(decoded, agreed) == message


@pytest.mark.parametrize("vector", named("wire", "specifications"))
def test_good_specifications(vector: dict[str, Any]) -> None:
    spec = spec_from(vector["fields"])
    assert spec.pack().hex() == vector["specification"]
    assert spec.session.hex() == vector["session"]
    assert RoundSpec.parse(memoryview(bytes.fromhex(vector["specification"]))) == spec
    adversary, n = spec.adversary, len(spec.cohort)
    assert adversary.corrupt_clients(n) == vector["C"]
    assert adversary.lost_clients(n) == vector["D"]
    assert adversary.least_survivors(n) == spec.threshold == vector["L"]


@pytest.mark.parametrize("vector", [*named("wire", "refused"), *named("wire", "refused_named")])
def test_bad_messages(vector: dict[str, Any]) -> None:
    with refused(vector["rule"]):
        decode(bytes.fromhex(vector["message"]), vector["agreed"])


@pytest.mark.parametrize("vector", named("wire", "bundles"))
def test_bundles(vector: dict[str, Any]) -> None:
    bundle = bytes.fromhex(vector["bundle"])
    if "rule" in vector:
        with refused(vector["rule"]):
            parse_bundle(bundle)
        return
    rider, main = bytes.fromhex(vector["rider"]), bytes.fromhex(vector["main"])
    assert is_bundle(bundle)
    assert parse_bundle(bundle) == (rider, main)
    assert pack_bundle(rider, main) == bundle


def test_the_words_of_a_vectors_input_are_aligned() -> None:
    vector = next(p.values[0] for p in named("wire", "messages") if p.values[0]["agreed"]["type"] == MessageType.INPUT)
    words = decode(bytes.fromhex(vector["message"]), vector["agreed"]).words
    assert HEADER_BYTES % 8 == 0
    assert words.dtype == np.dtype("<u8")
