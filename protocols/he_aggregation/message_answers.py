"""The good vectors of the codec: every type of message, with and without signatures, and what may be empty."""

from dataclasses import replace
from typing import Any

from protocols.he_aggregation.bodies import (
    Body,
    Ciphertexts,
    CiphertextSum,
    Entry,
    ExchangeKey,
    ExchangeKeys,
    Opened,
    SealedKey,
    SealedKeys,
)
from protocols.he_aggregation.messages import TYPES, encode
from protocols.he_aggregation.parameters import BFV_2048
from protocols.he_aggregation.samples import (
    CIPHERTEXT_SUM,
    EXCHANGE_KEY,
    EXCHANGE_KEYS,
    OPENED,
    SAMPLES,
    SEALED_KEY,
    SEALED_KEYS,
    WIRE_WORDS,
    agreed_on,
)
from protocols.vector_files import Vector, VectorFile
from protocols.wire.known_answers import agreed_vector
from protocols.wire.samples import COHORT, SESSION, SPECIFICATION


def entry_vector(entry: Entry) -> Vector:
    """An entry; without a signature it is null."""
    return {"public": entry.public.hex(), "signature": entry.signature.hex() or None}


def body_vector(body: Body) -> Vector:
    """The fields of a body in JSON's types; lists run in the order of the ids."""
    match body:
        case ExchangeKey(entry):
            return entry_vector(entry)
        case ExchangeKeys(entries):
            return {"ids": list(entries), "entries": [entry_vector(entry) for entry in entries.values()]}
        case SealedKeys(key_id, sealed):
            return {"key_id": key_id.hex(), "ids": list(sealed), "sealed": [box.hex() for box in sealed.values()]}
        case SealedKey(holder, recipients, key_id, sealed_key, entry):
            keys = {"key_id": key_id.hex(), "sealed": sealed_key.hex()}
            return {"holder": holder, "recipients": recipients, **keys, "entry": entry_vector(entry)}
        case Ciphertexts(key_id, payload):
            return {"key_id": key_id.hex(), "payload": payload.hex()}
        case CiphertextSum(survived, key_id, payload):
            return {"survived": list(survived), "key_id": key_id.hex(), "payload": payload.hex()}
        case Opened(words):
            return {"words": words}


def messages() -> VectorFile:
    """One message of each type, and at their bounds."""
    file = VectorFile(
        "he_aggregation", "messages", "Messages with what was agreed before, and the fields they decode to."
    )

    def add(name: str, body: Body, **changes: Any) -> None:
        agreed = replace(agreed_on(body), **changes)
        message = encode(body, agreed.suite, SESSION, SPECIFICATION.round, agreed.sender, agreed.cohort or ())
        vector = {"name": name, "message": message.hex(), "agreed": agreed_vector(agreed), "body": body_vector(body)}
        file.vectors.append(vector)

    for body in SAMPLES:
        add(TYPES[type(body)].name.lower(), body)
    plain = {i: unsigned(entry) for i, entry in EXCHANGE_KEYS.entries.items()}
    add("exchange key without a signature", ExchangeKey(unsigned(EXCHANGE_KEY.entry)), signed=False)
    add("exchange keys without signatures", ExchangeKeys(plain), signed=False)
    add("exchange keys of nobody", ExchangeKeys({}))
    add("exchange keys of all", ExchangeKeys(dict.fromkeys(COHORT, EXCHANGE_KEY.entry)))
    add("sealed keys for nobody", replace(SEALED_KEYS, sealed={}), exact_count=0, ids=frozenset())
    without = replace(SEALED_KEY, entry=unsigned(SEALED_KEY.entry))
    add("sealed key of a holder without a signature", without, signed=False)
    add("sealed key of a holder that does not exist", replace(SEALED_KEY, holder=0, recipients=2**32 - 1))
    add("a sum over nobody", replace(CIPHERTEXT_SUM, survived=()))
    add("a sum over all", replace(CIPHERTEXT_SUM, survived=COHORT), members=frozenset(COHORT))
    whole = replace(CIPHERTEXT_SUM, survived=COHORT[:8])
    add("a sum over all of a cohort of 8", whole, cohort=COHORT[:8], members=frozenset(COHORT[:8]))
    add("opened: full 64-bit ring words", Opened([2**64 - 1] * WIRE_WORDS), input_bits=64 * WIRE_WORDS)
    add("opened, the other suite", OPENED, suite=BFV_2048)
    return file


def unsigned(entry: Entry) -> Entry:
    """The entry as it is under a semi-honest server."""
    return replace(entry, signature=b"")
