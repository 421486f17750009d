"""Messages of types 11 to 17 to bytes, and bytes to a message or the first rule that they break.

Header, lists and sets, and what a decoder is given (`Agreed`), are those of the wire format.
"""

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
from protocols.notation import H, require, u32, words
from protocols.wire.bodies import Type
from protocols.wire.reference import (
    HEADER,
    Agreed,
    Ids,
    check_header,
    check_input_bits,
    decode_list,
    decode_set,
    encode_set,
    header,
    ids,
    set_bytes,
)

DIGEST_BYTES = 32
SEALED_BYTES = 48
UNSIGNED_BYTES, SIGNED_BYTES = 32, 96  # of an entry

TYPES: dict[type[Body], Type] = {
    ExchangeKey: Type.EXCHANGE_KEY,
    ExchangeKeys: Type.EXCHANGE_KEYS,
    SealedKeys: Type.SEALED_KEYS,
    SealedKey: Type.SEALED_KEY,
    Ciphertexts: Type.CIPHERTEXTS,
    CiphertextSum: Type.CIPHERTEXT_SUM,
    Opened: Type.OPENED,
}


def envelope_digest(header: bytes, *parts: bytes) -> bytes:
    """Of a message: its header and all of its body but the digest."""
    return H(b"securefed/1/envelope\x00" + header + b"".join(parts))


def encode(body: Body, suite: int, session: bytes, round_: int, sender: int, cohort: Ids = ()) -> bytes:
    """A whole message. Pre-conditions: ids ascend; a set is a subset of the cohort, which only it needs."""
    front = header(TYPES[type(body)], suite, session, round_, sender, count_of(body))
    match body:
        case ExchangeKey(entry):
            return front + entry.all_bytes
        case ExchangeKeys(entries):
            return front + ids(entries) + b"".join(entry.all_bytes for entry in entries.values())
        case SealedKeys(key_id, sealed):
            return front + key_id + ids(sealed) + b"".join(sealed.values())
        case SealedKey(holder, recipients, key_id, sealed, entry):
            return front + u32(holder) + u32(recipients) + key_id + sealed + entry.all_bytes
        case Ciphertexts(key_id, payload):
            return front + key_id + envelope_digest(front, key_id, payload) + payload
        case CiphertextSum(survived, key_id, payload):
            set_U3 = encode_set(survived, cohort)
            return front + key_id + envelope_digest(front, key_id, set_U3, payload) + set_U3 + payload
        case Opened(opened):
            data = b"".join(word.to_bytes(8, "little") for word in opened)
            return front + envelope_digest(front, data) + data


def count_of(body: Body) -> int:
    """The count of the header."""
    match body:
        case ExchangeKeys(entries):
            return len(entries)
        case SealedKeys(_, sealed):
            return len(sealed)
        case Ciphertexts() | CiphertextSum():
            return len(body.payload)
        case Opened(opened):
            return len(opened)
        case _:
            return 1


def body_bytes(type_: Type, count: int, agreed: Agreed) -> int:
    """The length that a type and a count demand."""
    entry = SIGNED_BYTES if agreed.signed else UNSIGNED_BYTES
    return {
        Type.EXCHANGE_KEY: count * entry,
        Type.EXCHANGE_KEYS: count * (4 + entry),
        Type.SEALED_KEYS: DIGEST_BYTES + count * (4 + SEALED_BYTES),
        Type.SEALED_KEY: count * (8 + DIGEST_BYTES + SEALED_BYTES + entry),
        Type.CIPHERTEXTS: 2 * DIGEST_BYTES + count,
        Type.CIPHERTEXT_SUM: 2 * DIGEST_BYTES + set_bytes(agreed.cohort or ()) + count,
        Type.OPENED: DIGEST_BYTES + 8 * count,
    }[type_]


def decode(message: bytes, agreed: Agreed) -> Body:
    """Read a whole message, or raise the first rule that it breaks: W and R rules, with H1 before a set or words."""
    type_, count = check_header(message, agreed)
    front, body = message[: HEADER.size], message[HEADER.size :]
    require(len(body) == body_bytes(type_, count, agreed), "W8", f"a body of {len(body)} bytes")
    match type_:
        case Type.EXCHANGE_KEY:
            return ExchangeKey(decode_entry(body))
        case Type.EXCHANGE_KEYS:
            return ExchangeKeys({i: decode_entry(entry) for i, entry in decode_list(count, body, agreed).items()})
        case Type.SEALED_KEYS:
            return SealedKeys(body[:32], decode_list(count, body[32:], agreed))
        case Type.SEALED_KEY:
            holder, recipients = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
            return SealedKey(holder, recipients, body[8:40], body[40:88], decode_entry(body[88:]))
        case Type.CIPHERTEXTS:
            key_id, digest, payload = body[:32], body[32:64], body[64:]
            require(digest == envelope_digest(front, key_id, payload), "H1", "the digest does not fit")
            return Ciphertexts(key_id, payload)
        case Type.CIPHERTEXT_SUM:
            key_id, digest, rest = body[:32], body[32:64], body[64:]
            require(digest == envelope_digest(front, key_id, rest), "H1", "the digest does not fit")
            survived, payload = decode_set(rest, agreed)
            return CiphertextSum(survived, key_id, payload)
        case Type.OPENED:
            digest, data = body[:32], body[32:]
            require(digest == envelope_digest(front, data), "H1", "the digest does not fit")
            check_input_bits(words(data, 8), agreed.input_bits)
            return Opened(words(data, 8))
    raise AssertionError("a type of another protocol is not agreed on")


def decode_entry(data: bytes) -> Entry:
    """Read an entry, with a signature where there are bytes for it."""
    return Entry(data[:32], data[32:])
