"""The bad vectors of the wire format: each breaks the rule that it names, and none that is checked before."""

from dataclasses import replace

from protocols.notation import u8, u16, u32, u64
from protocols.vector_files import Vector, VectorFile, seed, seeded_bytes
from protocols.wire.known_answers import (
    ADVERTISEMENT,
    CLIENT,
    COHORT,
    DELIVERY,
    INPUT,
    OFFER,
    OTHERS,
    RELEASE,
    RING_BITS,
    RING_WORDS,
    ROSTER,
    SAMPLES,
    SESSION,
    SHARES,
    SPECIFICATION,
    SURVIVORS,
    WIRE_WORDS,
    agreed_on,
    agreed_vector,
    message_of,
)
from protocols.wire.reference import (
    GREATEST_OFFER,
    HEADER,
    PAIRWISE_MASKS,
    SERVER,
    Body,
    Delivery,
    Input,
    Offer,
    Release,
    Roster,
    Shares,
    Type,
    encode_specification,
    header,
    session_of,
    type_of,
)

LISTS: tuple[Body, ...] = (ROSTER, SHARES, DELIVERY, SURVIVORS, RELEASE)


def bad(rule: str, name: str, message: bytes, expected: Body) -> Vector:
    """A message that a decoder refuses where it expects one like `expected`."""
    return {"name": name, "rule": rule, "message": message.hex(), "agreed": agreed_vector(agreed_on(expected))}


def patched(message: bytes, offset: int, data: bytes) -> bytes:
    """The message with other bytes at one place."""
    return message[:offset] + data + message[offset + len(data) :]


def kind(body: Body) -> str:
    """The name of a type for the name of a vector."""
    return type_of(body).name


def refused() -> VectorFile:
    """All of them."""
    file = VectorFile("wire", "refused", "Messages that a decoder refuses, with what was agreed, and the rule.")
    file.vectors += headers() + counts() + lengths() + lists() + bodies() + specifications()
    return file


def headers() -> list[Vector]:
    """W1–W6, W12, R1, R2, R4: what is wrong stands in the first 64 bytes."""
    good = message_of(ROSTER)
    vectors = [
        bad("W1", "nothing", b"", ROSTER),
        bad("W1", "63 bytes", good[:63], ROSTER),
        bad("W2", "magic in small letters", patched(good, 0, b"sfed"), ROSTER),
        bad("W3", "version 0", patched(good, 4, u8(0)), ROSTER),
        bad("W3", "version 2", patched(good, 4, u8(2)), ROSTER),
        bad("W4", "type 0", patched(good, 5, u8(0)), ROSTER),
        bad("W4", "type 9", patched(good, 5, u8(9)), ROSTER),
        bad("W4", "type 255", patched(good, 5, u8(255)), ROSTER),
        bad("W5", "suite 0", patched(good, 6, u16(0)), ROSTER),
        bad("W5", "suite 0xff", patched(good, 6, u16(0xFF)), ROSTER),
        bad("W5", "suite with its bytes exchanged", patched(good, 6, b"\x01\x00"), ROSTER),
        bad("W5", "OFFER of another suite", patched(message_of(OFFER), 6, u16(0)), OFFER),
        bad("W6", "first reserved byte", patched(good, 56, u8(1)), ROSTER),
        bad("W6", "last reserved byte", patched(good, 63, u8(1)), ROSTER),
        bad("R1", "another session", patched(good, 8, seed("wire/another session")), ROSTER),
        bad("R2", "the round before", patched(good, 40, u32(SPECIFICATION.round - 1)), ROSTER),
        bad("R1", "OFFER with another session", patched(message_of(OFFER), 8, seed("wire/another")), OFFER),
        bad("R2", "OFFER with another round", patched(message_of(OFFER), 40, u32(13)), OFFER),
        bad("W12", "a client where the server is", patched(good, 44, u32(CLIENT)), ROSTER),
        bad("W12", "another client", patched(message_of(INPUT), 44, u32(OTHERS[0])), INPUT),
        bad("W12", "the server where a client is", patched(message_of(INPUT), 44, u32(SERVER)), INPUT),
    ]
    # The next but one: client and server take turns, and the sender is to be right.
    for sent, expected in zip(SAMPLES, SAMPLES[2:] + SAMPLES[:2], strict=True):
        name = f"{kind(sent)} where {kind(expected)} is expected"
        vectors.append(bad("R4", name, message_of(sent), expected))
    return vectors


def counts() -> list[Vector]:
    """W7 and W11: bodies fit their counts unless the count is there to make a decoder multiply."""
    sixth = COHORT[-2] + 1
    six = {i: ROSTER.keys.get(i, ADVERTISEMENT) for i in sorted((*COHORT, sixth))}
    others = dict(list(SHARES.sealed.items())[:-1])
    released = dict(list(RELEASE.shares.items())[:-1])
    vectors = [
        bad("W7", "roster longer than the cohort", message_of(Roster(six)), ROSTER),
        bad("W11", "an input of one word less", message_of(Input(INPUT.words[:-1])), INPUT),
        bad("W11", "an input of one word more", message_of(Input([*INPUT.words, 0])), INPUT),
        bad("W11", "two pairs of keys", sized(Type.ADVERTISEMENT, CLIENT, 2, bytes(128)), ADVERTISEMENT),
        bad("W11", "no keys", sized(Type.ADVERTISEMENT, CLIENT, 0, b""), ADVERTISEMENT),
        bad("W11", "a recipient is missing", message_of(Shares(SHARES.commitment, others)), SHARES),
        bad("W11", "a release without one client", message_of(Release(released)), RELEASE),
    ]
    bounded: tuple[Body, ...] = (OFFER, ROSTER, DELIVERY, SURVIVORS)
    exact: tuple[Body, ...] = (ADVERTISEMENT, SHARES, INPUT, RELEASE)
    for body in bounded:
        limit = GREATEST_OFFER if isinstance(body, Offer) else len(COHORT)
        for count in (limit + 1, 2**60, 2**64 - 1):
            message = patched(message_of(body), 48, u64(count))
            vectors.append(bad("W7", f"{kind(body)} with a count of {count}", message, body))
    for body in exact:
        message = patched(message_of(body), 48, u64(2**60))
        vectors.append(bad("W11", f"{kind(body)} with a count of {2**60}", message, body))
    return vectors


def sized(type_: Type, sender: int, count: int, body: bytes) -> bytes:
    """A header with any count, and any body."""
    return header(type_, PAIRWISE_MASKS, SESSION, SPECIFICATION.round, sender, count) + body


def lengths() -> list[Vector]:
    """W8: a byte too few, a byte too many, and a list's count that does not fit."""
    vectors = []
    for body in SAMPLES:
        message = message_of(body)
        vectors.append(bad("W8", f"{kind(body)} without its last byte", message[:-1], body))
        vectors.append(bad("W8", f"{kind(body)} and a zero byte", message + b"\x00", body))
    short = Delivery(dict(list(DELIVERY.sealed.items())[:-1]))
    message = patched(message_of(short), 48, u64(len(DELIVERY.sealed)))
    vectors.append(bad("W8", "DELIVERY with a count over its items", message, DELIVERY))
    vectors.append(bad("W8", "ROSTER of which only the header came", message_of(ROSTER)[:64], ROSTER))
    return vectors


def lists() -> list[Vector]:
    """W9 and W10 for every list of ids."""
    vectors = []
    for body in LISTS:
        message = message_of(body)
        first = HEADER.size + (32 if isinstance(body, Shares) else 0)
        one, two = message[first : first + 4], message[first + 4 : first + 8]
        vectors += [
            bad("W9", f"{kind(body)} with an id twice", patched(message, first + 4, one), body),
            bad("W9", f"{kind(body)} in another order", patched(message, first, two + one), body),
            bad("W9", f"{kind(body)} with id 0", patched(message, first, u32(0)), body),
            bad("W10", f"{kind(body)} with a stranger", patched(message, first + 4, u32(5)), body),
        ]
    own = Delivery(dict(sorted({CLIENT: seeded_bytes("wire/own", 82), **DELIVERY.sealed}.items())))
    vectors.append(bad("W10", "DELIVERY with the receiver's own id", message_of(own), DELIVERY))
    return vectors


def bodies() -> list[Vector]:
    """W13 and W14: the last bytes of a body."""
    message = message_of(INPUT)
    byte, bit = divmod(RING_WORDS * RING_BITS, 8)
    next_bit = u8(message[HEADER.size + byte] | 1 << bit)
    return [
        bad("W13", "the highest bit", message[:-1] + u8(0x80), INPUT),
        bad("W13", "the first bit beyond", patched(message, HEADER.size + byte, next_bit), INPUT),
        bad("W13", "all bits", message_of(Input([2**64 - 1] * WIRE_WORDS)), INPUT),
        bad("W14", "flag 2", patched(message_of(SURVIVORS), 64 + 4 * len(COHORT), u8(2)), SURVIVORS),
        bad("W14", "last flag 255", message_of(SURVIVORS)[:-1] + u8(255), SURVIVORS),
    ]


def specifications() -> list[Vector]:
    """W15: each field out of its bounds, in an OFFER that is otherwise what it says."""
    good = encode_specification(SPECIFICATION)
    s = SPECIFICATION
    fields = {
        "threshold 0": replace(s, threshold=0),
        "threshold over the cohort": replace(s, threshold=6),
        "no values": replace(s, values=0),
        "no scalars": replace(s, scalars=0),
        "greatest weight 0": replace(s, greatest_weight=0),
        "one bit": replace(s, bits=1),
        "33 bits": replace(s, bits=33),
        "clip 0": replace(s, clip=0.0),
        "clip −0": replace(s, clip=-0.0),
        "negative clip": replace(s, clip=-0.25),
        "clip below its least": replace(s, clip=2.0**-513),
        "clip above its greatest": replace(s, clip=2.0**513),
        "infinite clip": replace(s, clip=float("inf")),
        "clip that is no number": replace(s, clip=float("nan")),
        "empty cohort": replace(s, cohort=()),
        "cohort with an id twice": replace(s, cohort=(1, 2, 2, 1000, 2000)),
        "cohort in another order": replace(s, cohort=(1, 7, 2, 1000, 2000)),
        "cohort with id 0": replace(s, cohort=(0, 1, 2, 7, 1000)),
    }
    data = {name: encode_specification(specification) for name, specification in fields.items()}
    data |= {
        "first padding byte": patched(good, 121, u8(1)),
        "last padding byte": patched(good, 127, u8(1)),
        "no byte": b"",
        "139 bytes": good[:139],
        "an id less than the cohort's size": good[:-4],
        "an id more than the cohort's size": good + u32(2**32 - 1),
        "half an id": good + bytes(2),
        "cohort of 2^20 + 1": patched(good, 136, u32(2**20 + 1)),
        "cohort of 2^32 − 1": patched(good, 136, u32(2**32 - 1)),
    }
    return [bad("W15", name, offer_of(body), OFFER) for name, body in data.items()]


def offer_of(specification: bytes) -> bytes:
    """An OFFER of any bytes, with their hash for session."""
    session, round_ = session_of(specification), SPECIFICATION.round
    return header(Type.OFFER, PAIRWISE_MASKS, session, round_, SERVER, len(specification)) + specification
