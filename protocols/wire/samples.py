"""One good message of each type, and what was agreed before it: the vectors of the wire are made from these."""

from typing import Any

from protocols.vector_files import seed, seeded_bytes, seeded_integer
from protocols.wire.bodies import (
    Advertisement,
    Agreement,
    Body,
    Consent,
    Delivery,
    Entry,
    Input,
    NamedDelivery,
    Offer,
    Release,
    Roster,
    Sender,
    Shares,
    Survivors,
    Type,
)
from protocols.wire.reference import GREATEST_OFFER, PAIRWISE_MASKS, SERVER, Agreed, encode, type_of
from protocols.wire.specification import MALICIOUS, Adversary, Specification, encode_specification, session_of

COHORT = (1, 2, 7, 9, 12, 1000, 1001, 70_000, 2**31, 2**32 - 1)
CLIENT = 7
SPECIFICATION = Specification(
    nonce=seed("wire/nonce"),
    round=12,
    adversary=Adversary(MALICIOUS, security=40, correctness=20, corrupt=100, dropouts=200),
    model=seed("wire/model"),
    layout=seed("wire/layout"),
    values=7,
    scalars=2,
    greatest_weight=500,
    bits=16,
    clip=0.25,
    cohort=COHORT,
)
SESSION = session_of(encode_specification(SPECIFICATION))
OTHERS = tuple(client for client in COHORT if client != CLIENT)
ADVERTISED, SHARED, SURVIVED = COHORT[:9], COHORT[:8], (*COHORT[:4], *COHORT[6:8])
"""U1, U2, U3 of the samples: all of them with clients in the second byte of a set, none with the last."""
# 7 values and 2 scalars of 5 digits: 17 lanes of 20 bits, 3 in each of 6 words of 60 bits.
RING_WORDS, RING_BITS = 6, 60
WIRE_WORDS = 6


def share_of(client: int) -> int:
    """Some share below p, of 257 bits for one client."""
    return 2**256 + 296 if client == COHORT[0] else seeded_integer(f"wire/share/{client}", 2**200)


def entry_of(client: int) -> Entry:
    """Some entry, signed."""
    channel_key, mask_key, promise = (seed(f"wire/{what}/{client}") for what in ("channel", "mask", "promise"))
    return Entry(channel_key, mask_key, promise, seeded_bytes(f"wire/signature/{client}", 64))


def sender_of(client: int) -> Sender:
    """Some bytes of one sender of a delivery."""
    return Sender(seed(f"wire/pick secret/{client}"), seeded_bytes(f"wire/delivered/{client}", 82))


OFFER = Offer(SPECIFICATION)
ADVERTISEMENT = Advertisement(entry_of(CLIENT))
ROSTER = Roster({i: entry_of(i) for i in ADVERTISED})
RECIPIENTS = tuple(i for i in ADVERTISED if i not in (CLIENT, 9))
SHARES = Shares(
    seed("wire/pick secret"),
    seed("wire/commitment"),
    {i: seeded_bytes(f"wire/sealed/{i}", 82) for i in RECIPIENTS},
)
SENDERS = (2, 12, 1000, 70_000)
DELIVERY = Delivery(SHARED, {i: sender_of(i) for i in SENDERS})
NAMED_DELIVERY = NamedDelivery(seed("wire/named model"), DELIVERY)
INPUT = Input(
    [seeded_integer(f"wire/word/{i}", 2**64) for i in range(5)]
    + [seeded_integer("wire/word/5", 2 ** (RING_WORDS * RING_BITS - 5 * 64))],
    seeded_bytes("wire/attestation", 64),
)
SURVIVORS = Survivors(SURVIVED)
CONSENT = Consent(seeded_bytes("wire/consent", 64))
SIGNERS = (*SURVIVED[:3], SURVIVED[-1])
ATTESTED = 3
"""Of the senders of the sample delivery, so many are in U3: for them the agreement has attestations."""
AGREEMENT = Agreement(
    {i: seeded_bytes(f"wire/consent/{i}", 64) for i in SIGNERS},
    tuple(seeded_bytes(f"wire/attestation/{i}", 64) for i in range(ATTESTED)),
)
RELEASE = Release({i: share_of(i) for i in SHARED})

SAMPLES: tuple[Body, ...] = (
    OFFER,
    ADVERTISEMENT,
    ROSTER,
    SHARES,
    DELIVERY,
    INPUT,
    SURVIVORS,
    RELEASE,
    CONSENT,
    AGREEMENT,
)
"""One of each type, in the order of the types; 18 has vectors of its own."""


def agreed_on(body: Body) -> Agreed:
    """What a decoder of that sample is given."""
    match body:
        case Offer():
            return Agreed(Type.OFFER, PAIRWISE_MASKS, SERVER, greatest_count=GREATEST_OFFER)
        case Advertisement():
            return of_session(body, CLIENT, exact_count=1, signed=True)
        case Roster():
            return of_session(body, SERVER, greatest_count=len(COHORT), ids=frozenset(COHORT), signed=True)
        case Shares():
            return of_session(body, CLIENT, exact_count=len(RECIPIENTS), ids=frozenset(RECIPIENTS))
        case Delivery() | NamedDelivery():
            U1 = frozenset(ADVERTISED)
            return of_session(body, SERVER, greatest_count=len(COHORT), ids=U1 - {CLIENT}, cohort=COHORT, members=U1)
        case Input():
            return of_session(body, CLIENT, exact_count=WIRE_WORDS, input_bits=RING_WORDS * RING_BITS, attestations=1)
        case Survivors():
            return of_session(body, SERVER, exact_count=len(COHORT), cohort=COHORT)
        case Consent():
            return of_session(body, CLIENT, exact_count=1)
        case Agreement():
            U3 = frozenset(SURVIVED)
            return of_session(
                body, SERVER, greatest_count=len(COHORT), cohort=COHORT, members=U3, attestations=ATTESTED
            )
        case Release():
            return of_session(body, CLIENT, greatest_count=len(SHARED), ids=frozenset(SHARED))


def of_session(body: Body, sender: int, **rest: Any) -> Agreed:
    """What is agreed within the sample session."""
    return Agreed(type_of(body), PAIRWISE_MASKS, sender, SESSION, SPECIFICATION.round, **rest)


def message_of(body: Body) -> bytes:
    """A sample as its sender would send it."""
    return encode(body, PAIRWISE_MASKS, SESSION, SPECIFICATION.round, agreed_on(body).sender, COHORT)
