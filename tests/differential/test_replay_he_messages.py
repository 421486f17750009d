"""The messages of protocols/he_aggregation, good and bad, through our codec: needs no TenSEAL."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from securefed.encoding.lanes import unpack_bits
from securefed.wire.header import MessageType
from securefed.wire.homomorphic import (
    Ciphertexts,
    CiphertextSum,
    ExchangeKey,
    ExchangeKeys,
    Opened,
    SealedKey,
    SealedKeys,
)  # fmt: skip
from tests.differential.reading import named
from tests.differential.test_replay_wire import expected_of, ring_of
from tests.rules import refused

PROTOCOL = "he_aggregation"


def decode(message: bytes, agreed: dict[str, Any]) -> Any:
    """By the decoder of the type that is expected, with what was agreed."""
    expected, exactly = expected_of(agreed), agreed["exact_count"]
    match MessageType(agreed["type"]):
        case MessageType.EXCHANGE_KEY:
            return ExchangeKey.decode(message, expected, signed=agreed["signed"])
        case MessageType.EXCHANGE_KEYS:
            return ExchangeKeys.decode(message, expected, agreed["ids"], signed=agreed["signed"])
        case MessageType.SEALED_KEYS:
            return SealedKeys.decode(message, expected, agreed["ids"])
        case MessageType.SEALED_KEY:
            return SealedKey.decode(message, expected, signed=agreed["signed"])
        case MessageType.CIPHERTEXTS:
            return Ciphertexts.decode(message, expected, exactly)
        case MessageType.CIPHERTEXT_SUM:
            return CiphertextSum.decode(message, expected, exactly, agreed["cohort"], agreed["members"])
        case MessageType.OPENED:
            got = Opened.decode(message, expected, exactly)
            unpack_bits(got.words, *ring_of(agreed["input_bits"], exactly))
            return got
    raise AssertionError(agreed["type"])


def entry_of(entry: ExchangeKey) -> dict[str, Any]:
    return {"public": entry.public.hex(), "signature": entry.signature.hex() or None}


def body_of(message: Any) -> dict[str, Any]:
    """A message's fields as a vector has them."""
    match message:
        case ExchangeKey():
            return entry_of(message)
        case ExchangeKeys(entries):
            return {"ids": list(entries), "entries": [entry_of(entry) for entry in entries.values()]}
        case SealedKeys(key_id, sealed):
            return {"key_id": key_id.hex(), "ids": list(sealed), "sealed": [box.hex() for box in sealed.values()]}
        case SealedKey(holder, recipients, entry, key_id, sealed):
            fields = {"holder": holder, "recipients": recipients, "key_id": key_id.hex(), "sealed": sealed.hex()}
            return fields | {"entry": entry_of(entry)}
        case Ciphertexts(key_id, payload):
            return {"key_id": key_id.hex(), "payload": bytes(payload).hex()}
        case CiphertextSum(survivors, key_id, payload):
            return {"survived": list(survivors), "key_id": key_id.hex(), "payload": bytes(payload).hex()}
        case Opened(words):
            return {"words": words.tolist()}
    raise AssertionError(message)


def encode(message: Any, agreed: dict[str, Any]) -> bytes:
    """The bytes of what was decoded."""
    expected = expected_of(agreed)
    raw: bytes = message.encode(expected, agreed["cohort"]) if agreed["cohort"] else message.encode(expected)
    return raw


@pytest.mark.parametrize("vector", named(PROTOCOL, "messages"))
def test_good_messages(vector: dict[str, Any]) -> None:
    message, agreed = bytes.fromhex(vector["message"]), vector["agreed"]
    decoded = decode(message, agreed)
    assert body_of(decoded) == vector["body"]
    assert encode(decoded, agreed) == message


def test_words_that_are_opened_are_little_endian() -> None:
    """Whatever order the machine has."""
    for vector in (v for v in named(PROTOCOL, "messages") if v.values[0]["agreed"]["type"] == MessageType.OPENED):
        (vector,) = vector.values
        agreed, words = vector["agreed"], np.array(vector["body"]["words"], ">u8")
        assert Opened(words).encode(expected_of(agreed)).hex() == vector["message"]


@pytest.mark.parametrize("vector", named(PROTOCOL, "refused"))
def test_bad_messages(vector: dict[str, Any]) -> None:
    with refused(vector["rule"]):
        decode(bytes.fromhex(vector["message"]), vector["agreed"])
