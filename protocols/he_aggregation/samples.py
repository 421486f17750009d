"""One good message of each type 11 to 17, and what was agreed before it."""

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
from protocols.he_aggregation.parameters import BFV
from protocols.vector_files import seed, seeded_bytes, seeded_integer
from protocols.wire.reference import SERVER, Agreed
from protocols.wire.samples import CLIENT, COHORT, SESSION, SPECIFICATION

ADVERTISED, SURVIVED = COHORT[:9], (*COHORT[:4], *COHORT[6:8])
"""U1 and U3 of the samples: both with clients in the second byte of a set, none with the last."""
RECIPIENTS = tuple(i for i in ADVERTISED if i != CLIENT)
RING_WORDS, RING_BITS = 5, 62
WIRE_WORDS = 5
KEY_ID = seed("he/key id")


def entry_of(client: int) -> Entry:
    """Some entry, signed."""
    return Entry(seed(f"he/exchange key/{client}"), seeded_bytes(f"he/signature/{client}", 64))


EXCHANGE_KEY = ExchangeKey(entry_of(CLIENT))
EXCHANGE_KEYS = ExchangeKeys({i: entry_of(i) for i in ADVERTISED})
SEALED_KEYS = SealedKeys(KEY_ID, {i: seeded_bytes(f"he/sealed/{i}", 48) for i in RECIPIENTS})
SEALED_KEY = SealedKey(9, len(RECIPIENTS), KEY_ID, seeded_bytes("he/sealed", 48), entry_of(9))
CIPHERTEXTS = Ciphertexts(KEY_ID, seeded_bytes("he/ciphertexts", 88))
CIPHERTEXT_SUM = CiphertextSum(SURVIVED, KEY_ID, seeded_bytes("he/sum", 120))
OPENED = Opened(
    [seeded_integer(f"he/word/{i}", 2**64) for i in range(4)]
    + [seeded_integer("he/word/4", 2 ** (RING_WORDS * RING_BITS - 4 * 64))]
)

SAMPLES: tuple[Body, ...] = (
    EXCHANGE_KEY,
    EXCHANGE_KEYS,
    SEALED_KEYS,
    SEALED_KEY,
    CIPHERTEXTS,
    CIPHERTEXT_SUM,
    OPENED,
)
"""One of each type, in the order of the types."""


def agreed_on(body: Body) -> Agreed:
    """What a decoder of that sample is given."""
    match body:
        case ExchangeKey():
            return of_session(body, CLIENT, exact_count=1, signed=True)
        case ExchangeKeys():
            return of_session(body, SERVER, greatest_count=len(COHORT), ids=frozenset(COHORT), signed=True)
        case SealedKeys():
            return of_session(body, CLIENT, exact_count=len(RECIPIENTS), ids=frozenset(RECIPIENTS))
        case SealedKey():
            return of_session(body, SERVER, exact_count=1, signed=True)
        case Ciphertexts():
            return of_session(body, CLIENT, exact_count=len(CIPHERTEXTS.payload))
        case CiphertextSum():
            length, members = len(CIPHERTEXT_SUM.payload), frozenset(ADVERTISED)
            return of_session(body, SERVER, exact_count=length, cohort=COHORT, members=members)
        case Opened():
            return of_session(body, CLIENT, exact_count=WIRE_WORDS, input_bits=RING_WORDS * RING_BITS)


def of_session(body: Body, sender: int, **rest: Any) -> Agreed:
    """What is agreed within the sample session."""
    return Agreed(TYPES[type(body)], BFV, sender, SESSION, SPECIFICATION.round, **rest)


def message_of(body: Body) -> bytes:
    """A sample as its sender would send it."""
    return encode(body, BFV, SESSION, SPECIFICATION.round, agreed_on(body).sender, COHORT)
