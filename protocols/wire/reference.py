"""Wire format, version 2: every message to bytes, and bytes to a message or the rule that they break."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from protocols.notation import RuleBroken, require, u32, words
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
from protocols.wire.specification import (
    FIXED_BYTES,
    GREATEST_COHORT,
    MALICIOUS,
    SEMI_HONEST,
    Adversary,
    Specification,
    decode_specification,
    encode_specification,
    is_ascending,
    session_of,
)

MAGIC = b"SFED"
VERSION = 2
HEADER = struct.Struct(">4sBBH32sIIQQ")
"""Magic, version, type, suite, session, round, sender, count, reserved: 64 bytes."""
SIGNATURE_BYTES = 64
UNSIGNED_BYTES, SIGNED_BYTES = 96, 160  # of an entry
PICK_SECRET_BYTES = 32
MODEL_BYTES = 32
SEALED_BYTES = 82
SHARE_BYTES = 33
GREATEST_OFFER = 4 * GREATEST_COHORT + FIXED_BYTES

SERVER = 0
PLAIN_INTEGERS, PAIRWISE_MASKS, PLAIN_FLOATS = 0, 1, 0xFF

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Agreed:
    """What a decoder is given. None: nothing is agreed there (for an OFFER: session and round)."""

    type: Type | None  # None: no message is expected any more
    suite: int
    sender: int
    session: bytes | None = None
    round: int | None = None
    exact_count: int | None = None
    greatest_count: int | None = None
    ids: frozenset[int] | None = None  # that a list may hold
    input_bits: int | None = None  # ring words times R: the bits of an INPUT that may be set
    cohort: Ids | None = None  # what the positions of a set stand for
    members: frozenset[int] | None = None  # that a set may hold
    signed: bool | None = None  # whether entries end in a signature
    attestations: int | None = None  # how many an INPUT (0 or 1) or an AGREEMENT holds


def header(type_: Type, suite: int, session: bytes, round_: int, sender: int, count: int) -> bytes:
    """The 64 bytes before a body."""
    return HEADER.pack(MAGIC, VERSION, type_, suite, session, round_, sender, count, 0)


def encode(body: Body, suite: int, session: bytes, round_: int, sender: int, cohort: Ids = ()) -> bytes:
    """A whole message. Pre-conditions: ids ascend; sets are subsets of the cohort, which only they need."""
    count, data = encode_body(body, cohort)
    return header(type_of(body), suite, session, round_, sender, count) + data


def type_of(body: Body) -> Type:
    """The type that the header of this body names."""
    return Type.NAMED_DELIVERY if isinstance(body, NamedDelivery) else Type[type(body).__name__.upper()]


def encode_body(body: Body, cohort: Ids) -> tuple[int, bytes]:
    """The count for the header, and the body's bytes."""
    match body:
        case Offer(specification):
            data = encode_specification(specification)
            return len(data), data
        case Advertisement(entry):
            return 1, entry.all_bytes
        case Roster(entries):
            return len(entries), ids(entries) + b"".join(entry.all_bytes for entry in entries.values())
        case Shares(pick_secret, commitment, sealed):
            return len(sealed), pick_secret + commitment + ids(sealed) + b"".join(sealed.values())
        case Delivery(shared, senders):
            items = b"".join(sender.pick_secret + sender.sealed for sender in senders.values())
            return len(senders), encode_set(shared, cohort) + ids(senders) + items
        case NamedDelivery(model, delivery):
            count, data = encode_body(delivery, cohort)
            return count, model + data
        case Input(input_words, attestation):
            return len(input_words), attestation + b"".join(w.to_bytes(8, "little") for w in input_words)
        case Survivors(survived):
            return len(cohort), encode_set(survived, cohort)
        case Consent(signature):
            return 1, signature
        case Agreement(signatures, attestations):
            both = b"".join(signatures.values()) + b"".join(attestations)
            return len(signatures), encode_set(signatures, cohort) + both
        case Release(shares):
            values = b"".join(share.to_bytes(SHARE_BYTES, "big") for share in shares.values())
            return len(shares), ids(shares) + values


def ids(by_id: Iterable[int]) -> bytes:
    """The ids of a list, in its order."""
    return b"".join(u32(i) for i in by_id)


def encode_set(members: Iterable[int], cohort: Ids) -> bytes:
    """A set of clients of the cohort: a bit for each position, the lowest of a byte first."""
    positions = [cohort.index(member) for member in members]
    return sum(1 << p for p in positions).to_bytes(set_bytes(cohort), "little")


def set_bytes(cohort: Ids) -> int:
    """The length of a set."""
    return -(-len(cohort) // 8)


def decode(message: bytes, agreed: Agreed) -> Body:
    """Read a whole message, or raise the first rule that it breaks, in the order of the README."""
    type_, count = check_header(message, agreed)
    body = message[HEADER.size :]
    require(len(body) == body_bytes(type_, count, agreed), "W8", f"a body of {len(body)} bytes")
    if type_ == Type.OFFER:
        specification = decode_specification(body)
        require(message[8:40] == session_of(body), "R1", "the session is not the hash of the specification")
        require(message[40:44] == u32(specification.round), "R2", "not the specification's round")
        return Offer(specification)
    return decode_body(type_, count, body, agreed)


def check_header(message: bytes, agreed: Agreed) -> tuple[Type, int]:
    """Check the 64 bytes and return type and count, now known to be as agreed."""
    require(len(message) >= HEADER.size, "W1", f"{len(message)} bytes")
    fields = HEADER.unpack(message[: HEADER.size])
    magic, version, type_, suite, session, round_, sender, count, reserved = fields
    require(magic == MAGIC, "W2", magic.hex())
    require(version == VERSION, "W3", f"version {version}")
    require(type_ in list(Type), "W4", f"type {type_}")
    require(reserved == 0, "W6", f"reserved bytes {reserved:#x}")
    require(suite == agreed.suite, "W5", f"suite {suite}")
    require(agreed.session in (None, session), "R1", session.hex())
    require(agreed.round in (None, round_), "R2", f"round {round_}")
    require(type_ == agreed.type, "R4", f"type {type_} where {agreed.type!r} is expected")
    require(sender == agreed.sender, "W12", f"sender {sender} on the channel of {agreed.sender}")
    if agreed.exact_count is not None:
        require(count == agreed.exact_count, "W11", f"count {count} instead of {agreed.exact_count}")
    elif agreed.greatest_count is not None:
        require(count <= agreed.greatest_count, "W7", f"count {count} over {agreed.greatest_count}")
    return Type(type_), count


def body_bytes(type_: Type, count: int, agreed: Agreed) -> int:
    """The length that a type and a count demand, after what was agreed on entries and sets."""
    entry = SIGNED_BYTES if agreed.signed else UNSIGNED_BYTES
    a_set = set_bytes(agreed.cohort or ())
    attested = (agreed.attestations or 0) * SIGNATURE_BYTES
    delivery = a_set + count * (4 + PICK_SECRET_BYTES + SEALED_BYTES)
    return {
        Type.OFFER: count,
        Type.ADVERTISEMENT: count * entry,
        Type.ROSTER: count * (4 + entry),
        Type.SHARES: PICK_SECRET_BYTES + 32 + count * (4 + SEALED_BYTES),
        Type.DELIVERY: delivery,
        Type.NAMED_DELIVERY: MODEL_BYTES + delivery,
        Type.INPUT: attested + 8 * count,
        Type.SURVIVORS: a_set,
        Type.RELEASE: count * (4 + SHARE_BYTES),
        Type.CONSENT: count * SIGNATURE_BYTES,
        Type.AGREEMENT: a_set + count * SIGNATURE_BYTES + attested,
    }[type_]


def decode_body(type_: Type, count: int, body: bytes, agreed: Agreed) -> Body:
    """Read a body other than an OFFER's. Pre-condition: it has the length that `body_bytes` says."""
    match type_:
        case Type.ADVERTISEMENT:
            return Advertisement(decode_entry(body))
        case Type.ROSTER:
            return Roster({i: decode_entry(entry) for i, entry in decode_list(count, body, agreed).items()})
        case Type.SHARES:
            return Shares(body[:32], body[32:64], decode_list(count, body[64:], agreed))
        case Type.DELIVERY:
            return decode_delivery(count, body, agreed)
        case Type.NAMED_DELIVERY:
            return NamedDelivery(body[:MODEL_BYTES], decode_delivery(count, body[MODEL_BYTES:], agreed))
        case Type.INPUT:
            attestation, data = body[: len(body) - 8 * count], body[len(body) - 8 * count :]
            check_input_bits(words(data, 8), agreed.input_bits)
            return Input(words(data, 8), attestation)
        case Type.SURVIVORS:
            return Survivors(decode_set(body, agreed)[0])
        case Type.CONSENT:
            return Consent(body)
        case Type.AGREEMENT:
            signers, rest = decode_set(body, agreed)
            require(len(signers) == count, "W11", f"{count} signatures of {len(signers)} signers")
            signed, attested = rest[: count * SIGNATURE_BYTES], rest[count * SIGNATURE_BYTES :]
            signatures = dict(zip(signers, items(count, signed), strict=True))
            return Agreement(signatures, tuple(items(len(attested) // SIGNATURE_BYTES, attested)))
        case Type.RELEASE:
            return Release({i: int.from_bytes(s, "big") for i, s in decode_list(count, body, agreed).items()})
    raise AssertionError("an OFFER is read by decode itself")


def decode_delivery(count: int, body: bytes, agreed: Agreed) -> Delivery:
    """Read U2 and the senders."""
    shared, rest = decode_set(body, agreed)
    return Delivery(shared, {i: Sender(b[:32], b[32:]) for i, b in decode_list(count, rest, agreed).items()})


def check_input_bits(input_words: list[int], input_bits: int | None) -> None:
    """Raise W13 for a bit beyond the last ring word."""
    bits = sum(word << (64 * i) for i, word in enumerate(input_words)).bit_length()
    require(input_bits is None or bits <= input_bits, "W13", f"bit {bits - 1} is set")


def decode_entry(data: bytes) -> Entry:
    """Read an entry, with a signature where there are bytes for it."""
    return Entry(data[:32], data[32:64], data[64:96], data[96:])


def decode_set(data: bytes, agreed: Agreed) -> tuple[Ids, bytes]:
    """Read a set, and return it with the bytes behind it."""
    cohort = agreed.cohort or ()
    bits = int.from_bytes(data[: set_bytes(cohort)], "little")
    require(bits < 1 << len(cohort), "W14", f"bit {bits.bit_length() - 1} for a cohort of {len(cohort)}")
    members = tuple(client for p, client in enumerate(cohort) if bits >> p & 1)
    for member in members:
        require(agreed.members is None or member in agreed.members, "W10", f"id {member} in a set")
    return members, data[set_bytes(cohort) :]


def decode_list(count: int, data: bytes, agreed: Agreed) -> dict[int, bytes]:
    """Read `count` ids and as many equally long items behind them."""
    members = tuple(int.from_bytes(data[4 * k : 4 * k + 4], "big") for k in range(count))
    require(is_ascending(members), "W9", f"ids {members}")
    if agreed.ids is not None:
        for member in members:
            require(member in agreed.ids, "W10", f"id {member}")
    return dict(zip(members, items(count, data[4 * count :]), strict=True))


def items(count: int, data: bytes) -> list[bytes]:
    """Cut the data into so many equally long items."""
    size = len(data) // max(count, 1)
    return [data[k * size : (k + 1) * size] for k in range(count)]


__all__ = [
    "MALICIOUS",
    "SEMI_HONEST",
    "Adversary",
    "Advertisement",
    "Agreed",
    "Agreement",
    "Body",
    "Consent",
    "Delivery",
    "Entry",
    "Input",
    "NamedDelivery",
    "Offer",
    "Release",
    "Roster",
    "RuleBroken",
    "Sender",
    "Shares",
    "Specification",
    "Survivors",
    "Type",
    "decode",
    "decode_specification",
    "encode",
    "encode_specification",
    "header",
    "session_of",
]
