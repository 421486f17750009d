"""The bad vectors of the wire format: each breaks the rule that it names, and none that is checked before."""

from dataclasses import replace

from protocols.notation import u8, u16, u32, u64
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.bodies import Body, Input, Release, Roster, Type
from protocols.wire.known_answers import agreed_vector
from protocols.wire.reference import GREATEST_OFFER, HEADER, PAIRWISE_MASKS, SERVER, encode_set, header, type_of
from protocols.wire.samples import (
    ADVERTISEMENT,
    AGREEMENT,
    ATTESTED,
    CLIENT,
    COHORT,
    CONSENT,
    DELIVERY,
    INPUT,
    OFFER,
    OTHERS,
    RECIPIENTS,
    RELEASE,
    RING_BITS,
    RING_WORDS,
    ROSTER,
    SAMPLES,
    SESSION,
    SHARED,
    SHARES,
    SIGNERS,
    SPECIFICATION,
    SURVIVORS,
    WIRE_WORDS,
    agreed_on,
    entry_of,
    message_of,
    sender_of,
    share_of,
)
from protocols.wire.specification import MALICIOUS, SEMI_HONEST, Adversary, encode_specification, session_of

LISTS: tuple[tuple[Body, int], ...] = ((ROSTER, 0), (SHARES, 64), (DELIVERY, 2), (RELEASE, 0))
"""Bodies with a list of ids, and where in the body it begins."""
SETS: tuple[Body, ...] = (DELIVERY, SURVIVORS, AGREEMENT)
"""Bodies that begin with a set of clients."""


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
    file.vectors += headers() + counts() + lengths() + lists() + sets() + inputs() + specifications()
    return file


def headers() -> list[Vector]:
    """W1–W6, W12, R1, R2, R4: what is wrong stands in the first 64 bytes."""
    good = message_of(ROSTER)
    vectors = [
        bad("W1", "nothing", b"", ROSTER),
        bad("W1", "63 bytes", good[:63], ROSTER),
        bad("W2", "magic in small letters", patched(good, 0, b"sfed"), ROSTER),
        bad("W3", "version 0", patched(good, 4, u8(0)), ROSTER),
        bad("W3", "version 1", patched(good, 4, u8(1)), ROSTER),
        bad("W3", "version 3", patched(good, 4, u8(3)), ROSTER),
        bad("W4", "type 0", patched(good, 5, u8(0)), ROSTER),
        bad("W4", "type 19", patched(good, 5, u8(19)), ROSTER),
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
    for sent in SAMPLES:
        expected = next(other for other in turned(sent) if agreed_on(other).sender == agreed_on(sent).sender)
        name = f"{kind(sent)} where {kind(expected)} is expected"
        vectors.append(bad("R4", name, message_of(sent), expected))
    return vectors


def turned(body: Body) -> tuple[Body, ...]:
    """The samples that follow this one, and then those before it."""
    at = SAMPLES.index(body)
    return SAMPLES[at + 1 :] + SAMPLES[:at]


def counts() -> list[Vector]:
    """W7 and W11: bodies fit their counts unless the count is there to make a decoder multiply."""
    eleven = {i: entry_of(i) for i in sorted((*COHORT, 5))}
    others = dict(list(SHARES.sealed.items())[:-1])
    more = {i: share_of(i) for i in (*SHARED, COHORT[8])}
    senders = {i: sender_of(i) for i in sorted((*COHORT, 5))}
    vectors = [
        bad("W7", "roster longer than the cohort", message_of(Roster(eleven)), ROSTER),
        bad("W7", "delivery longer than the cohort", message_of(replace(DELIVERY, senders=senders)), DELIVERY),
        bad("W7", "release of a client more", message_of(Release(more)), RELEASE),
        bad("W11", "an input of one word less", message_of(replace(INPUT, words=INPUT.words[:-1])), INPUT),
        bad("W11", "an input of one word more", message_of(replace(INPUT, words=[*INPUT.words, 0])), INPUT),
        bad("W11", "two entries", sized(Type.ADVERTISEMENT, CLIENT, 2, bytes(320)), ADVERTISEMENT),
        bad("W11", "no entry", sized(Type.ADVERTISEMENT, CLIENT, 0, b""), ADVERTISEMENT),
        bad("W11", "no consent", sized(Type.CONSENT, CLIENT, 0, b""), CONSENT),
        bad("W11", "a recipient is missing", message_of(replace(SHARES, sealed=others)), SHARES),
        bad("W11", "survivors of one client less", patched(message_of(SURVIVORS), 48, u64(9)), SURVIVORS),
        bad("W11", "survivors of one client more", patched(message_of(SURVIVORS), 48, u64(11)), SURVIVORS),
        bad("W11", "a signature more than signers", agreement(SIGNERS, len(SIGNERS) + 1), AGREEMENT),
        bad("W11", "a signature less than signers", agreement(SIGNERS, len(SIGNERS) - 1), AGREEMENT),
        bad("W11", "signers without signatures", agreement(SIGNERS, 0), AGREEMENT),
    ]
    n = len(COHORT)
    bounded: list[tuple[int, Body]] = [(GREATEST_OFFER, OFFER), (n, ROSTER), (n, AGREEMENT)]
    bounded += [(n, DELIVERY), (len(SHARED), RELEASE)]
    exact: tuple[Body, ...] = (ADVERTISEMENT, SHARES, INPUT, SURVIVORS, CONSENT)
    for limit, body in bounded:
        for count in (limit + 1, 2**60, 2**64 - 1):
            message = patched(message_of(body), 48, u64(count))
            vectors.append(bad("W7", f"{kind(body)} with a count of {count}", message, body))
    for body in exact:
        message = patched(message_of(body), 48, u64(2**60))
        vectors.append(bad("W11", f"{kind(body)} with a count of {2**60}", message, body))
    return vectors


def agreement(signers: tuple[int, ...], signatures: int) -> bytes:
    """An AGREEMENT whose set and whose signatures do not belong together."""
    body = encode_set(signers, COHORT) + bytes(64 * (signatures + ATTESTED))
    return sized(Type.AGREEMENT, SERVER, signatures, body)


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
    short = replace(DELIVERY, senders=dict(list(DELIVERY.senders.items())[:-1]))
    message = patched(message_of(short), 48, u64(len(DELIVERY.senders)))
    vectors.append(bad("W8", "DELIVERY with a count over its items", message, DELIVERY))
    vectors.append(bad("W8", "ROSTER of which only the header came", message_of(ROSTER)[:64], ROSTER))
    whole = message_of(ADVERTISEMENT)
    vectors.append(bad("W8", "ADVERTISEMENT without its signature", whole[:-64], ADVERTISEMENT))
    unsigned = {"agreed": agreed_vector(replace(agreed_on(ADVERTISEMENT), signed=False))}
    vectors.append(bad("W8", "ADVERTISEMENT with a signature that was not agreed", whole, ADVERTISEMENT) | unsigned)
    vectors.append(bad("W8", "SURVIVORS without a set", message_of(SURVIVORS)[:64], SURVIVORS))
    for body in (INPUT, AGREEMENT):
        none = {"agreed": agreed_vector(replace(agreed_on(body), attestations=0))}
        name = f"{kind(body)} with what nobody is to attest"
        vectors.append(bad("W8", name, message_of(body), body) | none)
        less = HEADER.size if isinstance(body, Input) else len(message_of(body)) - 64
        message = message_of(body)[:less] + message_of(body)[less + 64 :]
        vectors.append(bad("W8", f"{kind(body)} without an attestation", message, body))
    return vectors


def lists() -> list[Vector]:
    """W9 and W10 for every list of ids."""
    vectors = []
    for body, offset in LISTS:
        message = message_of(body)
        first = HEADER.size + offset
        one, two = message[first : first + 4], message[first + 4 : first + 8]
        vectors += [
            bad("W9", f"{kind(body)} with an id twice", patched(message, first + 4, one), body),
            bad("W9", f"{kind(body)} in another order", patched(message, first, two + one), body),
            bad("W9", f"{kind(body)} with id 0", patched(message, first, u32(0)), body),
            bad("W10", f"{kind(body)} with a stranger", patched(message, first + 4, u32(5)), body),
        ]
    own = replace(DELIVERY, senders={i: sender_of(i) for i in (2, CLIENT, 1000)})
    late = replace(DELIVERY, senders={i: sender_of(i) for i in (2, 1000, COHORT[-1])})
    shares = replace(SHARES, sealed={i: bytes(82) for i in (*RECIPIENTS[:-1], COHORT[-1])})
    return [
        *vectors,
        bad("W10", "DELIVERY with the receiver's own id", message_of(own), DELIVERY),
        bad("W10", "DELIVERY with one who did not advertise", message_of(late), DELIVERY),
        bad("W10", "SHARES for one of the cohort who did not advertise", message_of(shares), SHARES),
    ]


def sets() -> list[Vector]:
    """W14, and W10 in a set: both before anything that follows the set."""
    vectors = []
    for body in SETS:
        message = message_of(body)
        for bit in range(len(COHORT), 16):
            high = u8(message[HEADER.size + 1] | 1 << (bit - 8))
            vectors.append(bad("W14", f"{kind(body)} with bit {bit}", patched(message, 65, high), body))
    vectors.append(
        bad("W14", "SURVIVORS with bit 10 alone", patched(message_of(SURVIVORS), 64, b"\x00\x04"), SURVIVORS)
    )
    for body in (DELIVERY, AGREEMENT):
        message = message_of(body)
        last = u8(message[HEADER.size + 1] | 1 << 1)
        vectors.append(bad("W10", f"{kind(body)} with one more in its set", patched(message, 65, last), body))
        vectors.append(bad("W14", f"{kind(body)} with all bits", patched(message, 65, u8(0xFF)), body))
    id_0 = patched(patched(message_of(DELIVERY), 66, u32(0)), 65, u8(0x80))
    vectors.append(bad("W14", "DELIVERY with a bit beyond the cohort and id 0", id_0, DELIVERY))
    dropped = message_of(replace(AGREEMENT, signatures=dict.fromkeys((*SIGNERS, COHORT[-1]), bytes(64))))
    vectors.append(bad("W10", "AGREEMENT signed by a dropout", dropped, AGREEMENT))
    return vectors


def inputs() -> list[Vector]:
    """W13: the last bytes of an INPUT."""
    message = message_of(INPUT)
    byte, bit = divmod(RING_WORDS * RING_BITS + 8 * 64, 8)
    next_bit = u8(message[HEADER.size + byte] | 1 << bit)
    return [
        bad("W13", "the highest bit", message[:-1] + u8(0x80), INPUT),
        bad("W13", "the first bit beyond", patched(message, HEADER.size + byte, next_bit), INPUT),
        bad("W13", "all bits", message_of(replace(INPUT, words=[2**64 - 1] * WIRE_WORDS)), INPUT),
    ]


def specifications() -> list[Vector]:
    """W15: each field out of its bounds, in an OFFER that is otherwise what it says."""
    good = encode_specification(SPECIFICATION)
    s = SPECIFICATION
    adversaries = {
        "server 0": replace(s.adversary, server=0),
        "server 3": replace(s.adversary, server=3),
        "no bit of security": replace(s.adversary, security=0),
        "129 bits of security": replace(s.adversary, security=129),
        "no bit of correctness": replace(s.adversary, correctness=0),
        "65 bits of correctness": replace(s.adversary, correctness=65),
        "half of the cohort corrupt": Adversary(SEMI_HONEST, 40, 20, 500, 0),
        "half of the cohort dropping out": Adversary(SEMI_HONEST, 40, 20, 0, 500),
        "7 of 10 must survive and 4 may drop out": Adversary(MALICIOUS, 40, 20, 300, 400),
        "all shares of 65535": Adversary(SEMI_HONEST, 40, 20, 65535, 65535),
        "8 of 10 must survive and 3 may drop out": Adversary(MALICIOUS, 40, 20, 499, 300),
    }
    fields = {name: replace(s, adversary=adversary) for name, adversary in adversaries.items()}
    fields |= {
        "one client alone": replace(s, adversary=Adversary(SEMI_HONEST, 1, 1, 0, 0), cohort=(7,)),
        "7 of 11 must survive and 5 may drop out": replace(
            s, adversary=Adversary(SEMI_HONEST, 40, 20, 499, 499), cohort=tuple(range(1, 12))
        ),
        "one client alone, malicious": replace(s, adversary=Adversary(MALICIOUS, 1, 1, 0, 0), cohort=(7,)),
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
        "cohort with an id twice": replace(s, cohort=(1, 2, 2, 1000, 2000, 2001)),
        "cohort in another order": replace(s, cohort=(1, 7, 2, 1000, 2000, 2001)),
        "cohort with id 0": replace(s, cohort=(0, 1, 2, 7, 1000, 1001)),
    }
    data = {name: encode_specification(specification) for name, specification in fields.items()}
    data |= {
        "a byte between correctness and corrupt": patched(good, 39, u8(1)),
        "first padding byte": patched(good, 125, u8(1)),
        "last padding byte": patched(good, 131, u8(1)),
        "no byte": b"",
        "143 bytes": good[:143],
        "an id less than the cohort's size": good[:-4],
        "an id more than the cohort's size": good + u32(2**32 - 1),
        "cohort of 2^20 + 1": patched(good, 140, u32(2**20 + 1)),
        "cohort of 2^32 − 1": patched(good, 140, u32(2**32 - 1)),
    }
    return [bad("W15", name, offer_of(body), OFFER) for name, body in data.items()]


def offer_of(specification: bytes) -> bytes:
    """An OFFER of any bytes, with their hash for session."""
    session, round_ = session_of(specification), SPECIFICATION.round
    return header(Type.OFFER, PAIRWISE_MASKS, session, round_, SERVER, len(specification)) + specification
