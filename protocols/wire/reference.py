"""Wire format, version 1: every message to bytes, and bytes to a message or the rule that they break."""

import struct
from dataclasses import dataclass
from enum import IntEnum

from protocols.notation import RuleBroken, require, u8, u32, words
from protocols.wire.specification import (
    GREATEST_COHORT,
    Specification,
    decode_specification,
    encode_specification,
    is_ascending,
    session_of,
)

MAGIC = b"SFED"
VERSION = 1
HEADER = struct.Struct(">4sBBH32sIIQQ")
"""Magic, version, type, suite, session, round, sender, count, reserved: 64 bytes."""
KEY_BYTES = 32
SEALED_BYTES = 82
SHARE_BYTES = 33
GREATEST_OFFER = 4 * GREATEST_COHORT + 140

SERVER = 0
PLAIN_INTEGERS, PAIRWISE_MASKS, PLAIN_FLOATS = 0, 1, 0xFF


class Type(IntEnum):
    """The types of the messages, in the order in which they travel."""

    OFFER = 1
    ADVERTISEMENT = 2
    ROSTER = 3
    SHARES = 4
    DELIVERY = 5
    INPUT = 6
    SURVIVORS = 7
    RELEASE = 8


@dataclass(frozen=True)
class Offer:
    """Server: this is the round."""

    specification: Specification


@dataclass(frozen=True)
class Advertisement:
    """Client: my two public keys."""

    channel_key: bytes
    mask_key: bytes


@dataclass(frozen=True)
class Roster:
    """Server: the public keys of those who advertised."""

    keys: dict[int, Advertisement]


@dataclass(frozen=True)
class Shares:
    """Client: a commitment to my self-mask seed, and a sealed share for each recipient."""

    commitment: bytes
    sealed: dict[int, bytes]


@dataclass(frozen=True)
class Delivery:
    """Server: the sealed shares that others sent for you."""

    sealed: dict[int, bytes]


@dataclass(frozen=True)
class Input:
    """Client: my vector, in 64-bit words."""

    words: list[int]


@dataclass(frozen=True)
class Survivors:
    """Server: who sent an input (True) and who dropped out before (False)."""

    survived: dict[int, bool]


@dataclass(frozen=True)
class Release:
    """Client: one share for each, of the self-mask seed of a survivor or the mask key of a dropout."""

    shares: dict[int, int]


Body = Offer | Advertisement | Roster | Shares | Delivery | Input | Survivors | Release


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
    ids: frozenset[int] | None = None
    input_bits: int | None = None  # ring words times R: the bits of an INPUT that may be set


def header(type_: Type, suite: int, session: bytes, round_: int, sender: int, count: int) -> bytes:
    """The 64 bytes before a body."""
    return HEADER.pack(MAGIC, VERSION, type_, suite, session, round_, sender, count, 0)


def encode(body: Body, suite: int, session: bytes, round_: int, sender: int) -> bytes:
    """A whole message. Pre-condition: ids ascend in every dict."""
    count, data = encode_body(body)
    return header(type_of(body), suite, session, round_, sender, count) + data


def type_of(body: Body) -> Type:
    """The type that the header of this body names."""
    return Type[type(body).__name__.upper()]


def encode_body(body: Body) -> tuple[int, bytes]:
    """The count for the header, and the body's bytes."""
    match body:
        case Offer(specification):
            data = encode_specification(specification)
            return len(data), data
        case Advertisement(channel_key, mask_key):
            return 1, channel_key + mask_key
        case Roster(keys):
            return len(keys), ids(keys) + b"".join(k.channel_key + k.mask_key for k in keys.values())
        case Shares(commitment, sealed):
            return len(sealed), commitment + ids(sealed) + b"".join(sealed.values())
        case Delivery(sealed):
            return len(sealed), ids(sealed) + b"".join(sealed.values())
        case Input(input_words):
            return len(input_words), b"".join(w.to_bytes(8, "little") for w in input_words)
        case Survivors(survived):
            return len(survived), ids(survived) + b"".join(u8(flag) for flag in survived.values())
        case Release(shares):
            values = b"".join(share.to_bytes(SHARE_BYTES, "big") for share in shares.values())
            return len(shares), ids(shares) + values


def ids(by_id: dict[int, Advertisement] | dict[int, bytes] | dict[int, bool] | dict[int, int]) -> bytes:
    """The ids of a list, in its order."""
    return b"".join(u32(i) for i in by_id)


def decode(message: bytes, agreed: Agreed) -> Body:
    """Read a whole message, or raise the first rule that it breaks, in the order of the README."""
    type_, count = check_header(message, agreed)
    body = message[HEADER.size :]
    require(len(body) == body_bytes(type_, count), "W8", f"a body of {len(body)} bytes")
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


def body_bytes(type_: Type, count: int) -> int:
    """The length that a type and a count demand."""
    return {
        Type.OFFER: count,
        Type.ADVERTISEMENT: 2 * KEY_BYTES * count,
        Type.ROSTER: count * (4 + 2 * KEY_BYTES),
        Type.SHARES: KEY_BYTES + count * (4 + SEALED_BYTES),
        Type.DELIVERY: count * (4 + SEALED_BYTES),
        Type.INPUT: 8 * count,
        Type.SURVIVORS: count * (4 + 1),
        Type.RELEASE: count * (4 + SHARE_BYTES),
    }[type_]


def decode_body(type_: Type, count: int, body: bytes, agreed: Agreed) -> Body:
    """Read a body other than an OFFER's. Pre-condition: it has the length that `body_bytes` says."""
    match type_:
        case Type.ADVERTISEMENT:
            return Advertisement(body[:KEY_BYTES], body[KEY_BYTES:])
        case Type.ROSTER:
            items = decode_list(count, body, agreed)
            return Roster({i: Advertisement(both[:KEY_BYTES], both[KEY_BYTES:]) for i, both in items.items()})
        case Type.SHARES:
            return Shares(body[:32], decode_list(count, body[32:], agreed))
        case Type.DELIVERY:
            return Delivery(decode_list(count, body, agreed))
        case Type.INPUT:
            bits = int.from_bytes(body, "little").bit_length()
            require(agreed.input_bits is None or bits <= agreed.input_bits, "W13", f"bit {bits - 1} is set")
            return Input(words(body, 8))
        case Type.SURVIVORS:
            flags = decode_list(count, body, agreed)
            for client, flag in flags.items():
                require(flag in (b"\x00", b"\x01"), "W14", f"flag {flag.hex()} for client {client}")
            return Survivors({i: flag == b"\x01" for i, flag in flags.items()})
        case Type.RELEASE:
            return Release({i: int.from_bytes(s, "big") for i, s in decode_list(count, body, agreed).items()})
    raise AssertionError("an OFFER is read by decode itself")


def decode_list(count: int, data: bytes, agreed: Agreed) -> dict[int, bytes]:
    """Read `count` ids and as many equally long items behind them."""
    members = tuple(int.from_bytes(data[4 * k : 4 * k + 4], "big") for k in range(count))
    require(is_ascending(members), "W9", f"ids {members}")
    if agreed.ids is not None:
        for member in members:
            require(member in agreed.ids, "W10", f"id {member}")
    items = data[4 * count :]
    size = len(items) // max(count, 1)
    return {member: items[k * size : (k + 1) * size] for k, member in enumerate(members)}


__all__ = [
    "Advertisement",
    "Agreed",
    "Body",
    "Delivery",
    "Input",
    "Offer",
    "Release",
    "Roster",
    "RuleBroken",
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
