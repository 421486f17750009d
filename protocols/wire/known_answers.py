"""The good vectors of the wire format: every type of message, and specifications at their bounds."""

from dataclasses import asdict, replace

from protocols.vector_files import Vector, VectorFile, seed, seeded_bytes, seeded_integer
from protocols.wire.reference import (
    GREATEST_OFFER,
    PAIRWISE_MASKS,
    PLAIN_INTEGERS,
    SERVER,
    SHARE_BYTES,
    Advertisement,
    Agreed,
    Body,
    Delivery,
    Input,
    Offer,
    Release,
    Roster,
    Shares,
    Specification,
    Survivors,
    Type,
    encode,
    encode_specification,
    session_of,
    type_of,
)

COHORT = (1, 2, 7, 1000, 2**32 - 1)
CLIENT = 7
SPECIFICATION = Specification(
    nonce=seed("wire/nonce"),
    round=12,
    threshold=4,
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
# 7 values and 2 scalars of 5 digits: 17 lanes of 19 bits, 3 in each of 6 words of 57 bits.
RING_WORDS, RING_BITS = 6, 57
WIRE_WORDS = 6


def share_of(client: int) -> int:
    """Some share below p, of 257 bits for one client."""
    return 2**256 + 296 if client == COHORT[0] else seeded_integer(f"wire/share/{client}", 2**200)


ADVERTISEMENT = Advertisement(seed("wire/channel"), seed("wire/mask"))
ROSTER = Roster({i: Advertisement(seed(f"wire/channel/{i}"), seed(f"wire/mask/{i}")) for i in COHORT})
SHARES = Shares(seed("wire/commitment"), {i: seeded_bytes(f"wire/sealed/{i}", 82) for i in OTHERS})
DELIVERY = Delivery({i: seeded_bytes(f"wire/delivered/{i}", 82) for i in OTHERS[1:]})
INPUT = Input(
    [seeded_integer(f"wire/word/{i}", 2**64) for i in range(5)]
    + [seeded_integer("wire/word/5", 2 ** (RING_WORDS * RING_BITS - 5 * 64))]
)
SURVIVORS = Survivors({i: i != 1000 for i in COHORT})
RELEASE = Release({i: share_of(i) for i in COHORT})

OFFER = Offer(SPECIFICATION)
SAMPLES: tuple[Body, ...] = (OFFER, ADVERTISEMENT, ROSTER, SHARES, DELIVERY, INPUT, SURVIVORS, RELEASE)
"""One of each type, in the order of the types."""


def agreed_on(body: Body) -> Agreed:
    """What a decoder of that sample is given."""
    match body:
        case Offer():
            return Agreed(Type.OFFER, PAIRWISE_MASKS, SERVER, greatest_count=GREATEST_OFFER)
        case Advertisement():
            return of_session(body, CLIENT, exact_count=1)
        case Roster():
            return of_session(body, SERVER, greatest_count=len(COHORT), ids=frozenset(COHORT))
        case Shares():
            return of_session(body, CLIENT, exact_count=len(OTHERS), ids=frozenset(OTHERS))
        case Delivery():
            return of_session(body, SERVER, greatest_count=len(COHORT), ids=frozenset(OTHERS))
        case Input():
            return of_session(body, CLIENT, exact_count=WIRE_WORDS, input_bits=RING_WORDS * RING_BITS)
        case Survivors():
            return of_session(body, SERVER, greatest_count=len(COHORT), ids=frozenset(COHORT))
        case Release():
            return of_session(body, CLIENT, exact_count=len(COHORT), ids=frozenset(COHORT))


def of_session(
    body: Body,
    sender: int,
    *,
    exact_count: int | None = None,
    greatest_count: int | None = None,
    ids: frozenset[int] | None = None,
    input_bits: int | None = None,
) -> Agreed:
    """What is agreed within the sample session."""
    round_ = SPECIFICATION.round
    return Agreed(
        type_of(body),
        PAIRWISE_MASKS,
        sender,
        SESSION,
        round_,
        exact_count,
        greatest_count,
        ids,
        input_bits,
    )


def message_of(body: Body) -> bytes:
    """A sample as its sender would send it."""
    return encode(body, PAIRWISE_MASKS, SESSION, SPECIFICATION.round, agreed_on(body).sender)


def agreed_vector(agreed: Agreed) -> Vector:
    """`Agreed` in JSON's types; what is not agreed is null."""
    return asdict(agreed) | {
        "type": agreed.type,
        "session": agreed.session and agreed.session.hex(),
        "ids": None if agreed.ids is None else sorted(agreed.ids),
    }


def specification_vector(s: Specification) -> Vector:
    """The fields of a specification in JSON's types."""
    digests = {"nonce": s.nonce.hex(), "model": s.model.hex(), "layout": s.layout.hex()}
    return asdict(s) | digests | {"cohort": list(s.cohort)}


def body_vector(body: Body) -> Vector:
    """The fields of a body in JSON's types; lists run in the order of the ids."""
    match body:
        case Offer(specification):
            return {"specification": specification_vector(specification)}
        case Advertisement(channel_key, mask_key):
            return {"channel_key": channel_key.hex(), "mask_key": mask_key.hex()}
        case Roster(keys):
            return {
                "ids": list(keys),
                "channel_keys": [both.channel_key.hex() for both in keys.values()],
                "mask_keys": [both.mask_key.hex() for both in keys.values()],
            }
        case Shares(commitment, sealed):
            return {"commitment": commitment.hex()} | body_vector(Delivery(sealed))
        case Delivery(sealed):
            return {"ids": list(sealed), "sealed": [both.hex() for both in sealed.values()]}
        case Input(words):
            return {"words": words}
        case Survivors(survived):
            return {"ids": list(survived), "survived": list(survived.values())}
        case Release(shares):
            values = [share.to_bytes(SHARE_BYTES, "big").hex() for share in shares.values()]
            return {"ids": list(shares), "shares": values}


def message_vector(name: str, message: bytes, agreed: Agreed, body: Body) -> Vector:
    """A message that decodes to that body and is encoded from it."""
    return {
        "name": name,
        "message": message.hex(),
        "agreed": agreed_vector(agreed),
        "body": body_vector(body),
    }


def messages() -> VectorFile:
    """One message of each type, empty lists, and another suite."""
    file = VectorFile("wire", "messages", "Messages with what was agreed before, and the fields they decode to.")
    for body in SAMPLES:
        agreed = agreed_on(body)
        file.vectors.append(message_vector(type_of(body).name.lower(), message_of(body), agreed, body))
    empty = Delivery({})
    file.vectors.append(message_vector("delivery of nothing", message_of(empty), agreed_on(empty), empty))
    full = Input([2**64 - 1] * WIRE_WORDS)
    agreed = replace(agreed_on(full), input_bits=64 * WIRE_WORDS)
    file.vectors.append(message_vector("input of full 64-bit ring words", message_of(full), agreed, full))
    plain = encode(INPUT, PLAIN_INTEGERS, SESSION, SPECIFICATION.round, CLIENT)
    agreed = replace(agreed_on(INPUT), suite=PLAIN_INTEGERS)
    file.vectors.append(message_vector("input of plain integers", plain, agreed, INPUT))
    return file


def specifications() -> VectorFile:
    """Specifications at the bounds of their fields."""
    file = VectorFile("wire", "specifications", "Specifications, their bytes, and the session that they name.")
    least = replace(
        SPECIFICATION,
        round=0,
        threshold=1,
        values=1,
        scalars=1,
        greatest_weight=1,
        bits=2,
        clip=2.0**-512,
        cohort=(1,),
    )
    greatest = replace(
        SPECIFICATION,
        round=2**32 - 1,
        threshold=5,
        values=2**64 - 1,
        scalars=2**32 - 1,
        greatest_weight=2**32 - 1,
        bits=32,
        clip=2.0**512,
    )
    named = {"ordinary": SPECIFICATION, "least of every field": least, "greatest of every field": greatest}
    for name, specification in named.items():
        data = encode_specification(specification)
        file.vectors.append(
            {
                "name": name,
                "fields": specification_vector(specification),
                "specification": data.hex(),
                "session": session_of(data).hex(),
            }
        )
    return file
