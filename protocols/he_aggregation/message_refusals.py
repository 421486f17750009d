"""The bad vectors of the codec: each breaks the rule that it names, and none that is checked before."""

from dataclasses import replace

from protocols.he_aggregation.bodies import Body, ExchangeKeys, Opened
from protocols.he_aggregation.messages import TYPES, envelope_digest
from protocols.he_aggregation.parameters import BFV, BFV_2048
from protocols.he_aggregation.samples import (
    ADVERTISED,
    CIPHERTEXT_SUM,
    CIPHERTEXTS,
    EXCHANGE_KEY,
    EXCHANGE_KEYS,
    OPENED,
    RECIPIENTS,
    RING_BITS,
    RING_WORDS,
    SAMPLES,
    SEALED_KEY,
    SEALED_KEYS,
    WIRE_WORDS,
    agreed_on,
    entry_of,
    message_of,
)
from protocols.notation import u8, u16, u32, u64
from protocols.pairwise_masking.at_client import flipped, patched
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.bodies import Type
from protocols.wire.known_answers import agreed_vector
from protocols.wire.reference import HEADER, PAIRWISE_MASKS, SERVER, header
from protocols.wire.samples import CLIENT, COHORT, OTHERS, SESSION, SPECIFICATION

LISTS: tuple[tuple[Body, int], ...] = ((EXCHANGE_KEYS, 0), (SEALED_KEYS, 32))
"""Bodies with a list of ids, and where in the body it begins."""
DIGESTS: tuple[tuple[Body, int], ...] = ((CIPHERTEXTS, 32), (CIPHERTEXT_SUM, 32), (OPENED, 0))
"""Bodies with a digest, and where it begins."""
DESTROYED = 96
"""A byte of the message behind any digest's beginning."""


def bad(rule: str, name: str, message: bytes, expected: Body) -> Vector:
    """A message that a decoder refuses where it expects one like `expected`."""
    return {"name": name, "rule": rule, "message": message.hex(), "agreed": agreed_vector(agreed_on(expected))}


def kind(body: Body) -> str:
    """The name of a type for the name of a vector."""
    return TYPES[type(body)].name


def refused() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "he_aggregation", "refused", "Messages that a decoder refuses, with what was agreed, and the rule."
    )
    file.vectors += headers() + counts() + lengths() + lists() + digests() + sets() + words()
    return file


def headers() -> list[Vector]:
    """W1–W6, W12, R1, R2, R4: what is wrong stands in the first 64 bytes, and comes before a digest."""
    vectors = []
    for body in SAMPLES:
        # What is behind the header is wrong as well.
        good = flipped(message_of(body), DESTROYED)
        other = SERVER if agreed_on(body).sender else CLIENT
        of_another = next(
            b for b in (*SAMPLES, *SAMPLES) if b != body and agreed_on(b).sender == agreed_on(body).sender
        )
        vectors += [
            bad("W1", f"{kind(body)} of 63 bytes", good[:63], body),
            bad("W2", f"{kind(body)} with another magic", patched(good, 0, b"sfed"), body),
            bad("W3", f"{kind(body)} of version 1", patched(good, 4, u8(1)), body),
            bad("W4", f"{kind(body)} with type 19", patched(good, 5, u8(19)), body),
            bad("W6", f"{kind(body)} with a reserved byte", patched(good, 63, u8(1)), body),
            bad("W5", f"{kind(body)} of pairwise masks", patched(good, 6, u16(PAIRWISE_MASKS)), body),
            bad("W5", f"{kind(body)} of the other suite", patched(good, 6, u16(BFV_2048)), body),
            bad("R1", f"{kind(body)} of another session", patched(good, 8, seed("he/another session")), body),
            bad("R2", f"{kind(body)} of the round before", patched(good, 40, u32(SPECIFICATION.round - 1)), body),
            bad("W12", f"{kind(body)} from the other side", patched(good, 44, u32(other)), body),
            bad("R4", f"{kind(of_another)} where {kind(body)} is expected", message_of(of_another), body),
            bad("R4", f"an INPUT where {kind(body)} is expected", patched(good, 5, u8(Type.INPUT)), body),
        ]
    vectors.append(bad("W12", "another client", patched(message_of(CIPHERTEXTS), 44, u32(OTHERS[0])), CIPHERTEXTS))
    return vectors


def counts() -> list[Vector]:
    """W7 and W11: bodies fit their counts unless the count is there to make a decoder multiply."""
    eleven = ExchangeKeys({i: entry_of(i) for i in sorted((*COHORT, 5))})
    fewer, more = dict(list(SEALED_KEYS.sealed.items())[:-1]), SEALED_KEYS.sealed | {COHORT[-1]: bytes(48)}
    longer, shorter = CIPHERTEXTS.payload + bytes(8), CIPHERTEXT_SUM.payload[:-8]
    vectors = [
        bad("W7", "more exchange keys than the cohort has clients", message_of(eleven), EXCHANGE_KEYS),
        bad("W11", "sealed keys for a client less", message_of(replace(SEALED_KEYS, sealed=fewer)), SEALED_KEYS),
        bad("W11", "sealed keys for a client more", message_of(replace(SEALED_KEYS, sealed=more)), SEALED_KEYS),
        bad("W11", "two exchange keys", sized(Type.EXCHANGE_KEY, CLIENT, 2, bytes(192)), EXCHANGE_KEY),
        bad("W11", "no exchange key", sized(Type.EXCHANGE_KEY, CLIENT, 0, b""), EXCHANGE_KEY),
        bad("W11", "no sealed key", sized(Type.SEALED_KEY, SERVER, 0, b""), SEALED_KEY),
        bad("W11", "ciphertexts of a word more", message_of(replace(CIPHERTEXTS, payload=longer)), CIPHERTEXTS),
        bad("W11", "ciphertexts of nothing", message_of(replace(CIPHERTEXTS, payload=b"")), CIPHERTEXTS),
        bad("W11", "a sum of a word less", message_of(replace(CIPHERTEXT_SUM, payload=shorter)), CIPHERTEXT_SUM),
        bad("W11", "a word less", message_of(Opened(OPENED.words[:-1])), OPENED),
        bad("W11", "a word more", message_of(Opened([*OPENED.words, 0])), OPENED),
    ]
    for body in SAMPLES:
        rule = "W7" if isinstance(body, ExchangeKeys) else "W11"
        for count in (2**60, 2**64 - 1):
            message = patched(message_of(body), 48, u64(count))
            vectors.append(bad(rule, f"{kind(body)} with a count of {count}", message, body))
    return vectors


def sized(type_: Type, sender: int, count: int, body: bytes) -> bytes:
    """A header with any count, and any body."""
    return header(type_, BFV, SESSION, SPECIFICATION.round, sender, count) + body


def lengths() -> list[Vector]:
    """W8: a byte too few, a byte too many, and signatures that were or were not agreed on."""
    vectors = []
    for body in SAMPLES:
        message = message_of(body)
        vectors.append(bad("W8", f"{kind(body)} without its last byte", message[:-1], body))
        vectors.append(bad("W8", f"{kind(body)} and a zero byte", message + b"\x00", body))
        vectors.append(bad("W8", f"{kind(body)} of which only the header came", message[:64], body))
    for body in (EXCHANGE_KEY, EXCHANGE_KEYS, SEALED_KEY):
        unsigned = {"agreed": agreed_vector(replace(agreed_on(body), signed=False))}
        name = f"{kind(body)} with signatures that were not agreed"
        vectors.append(bad("W8", name, message_of(body), body) | unsigned)
    for body in (EXCHANGE_KEY, SEALED_KEY):
        vectors.append(bad("W8", f"{kind(body)} without its signature", message_of(body)[:-64], body))
    return vectors


def lists() -> list[Vector]:
    """W9 and W10 for every list of ids."""
    vectors = []
    for body, offset in LISTS:
        message = message_of(body)
        first = HEADER.size + offset
        one, two = message[first : first + 4], message[first + 4 : first + 8]
        stranger = patched(message, first + 4, u32(5))
        vectors += [
            bad("W9", f"{kind(body)} with an id twice", patched(message, first + 4, one), body),
            bad("W9", f"{kind(body)} in another order", patched(message, first, two + one), body),
            bad("W9", f"{kind(body)} with id 0", patched(message, first, u32(0)), body),
            bad("W10", f"{kind(body)} with a stranger", stranger, body),
            bad("W9", f"{kind(body)} with a stranger before an id twice", repeated(stranger, first), body),
        ]
    own = replace(SEALED_KEYS, sealed={i: bytes(48) for i in sorted((*RECIPIENTS[:-1], CLIENT))})
    late = replace(SEALED_KEYS, sealed={i: bytes(48) for i in (*RECIPIENTS[:-1], COHORT[-1])})
    return [
        *vectors,
        bad("W10", "SEALED_KEYS with the sender's own id", message_of(own), SEALED_KEYS),
        bad("W10", "SEALED_KEYS for one of the cohort who did not advertise", message_of(late), SEALED_KEYS),
    ]


def repeated(message: bytes, first: int) -> bytes:
    """The third id stands for the fourth too."""
    return patched(message, first + 12, message[first + 8 : first + 12])


def digests() -> list[Vector]:
    """H1: any byte behind the header, the digest's own included; and a digest over less than it must be."""
    vectors = []
    for body, offset in DIGESTS:
        message, at = message_of(body), HEADER.size + offset
        for where, byte in {
            "its digest": at,
            "the digest's last byte": at + 31,
            "its last byte": len(message) - 1,
            "the first byte behind": at + 32,
            "a key id, or the digest": HEADER.size,
        }.items():
            vectors.append(bad("H1", f"{kind(body)}: one bit of {where}", flipped(message, byte), body))
        vectors.append(bad("H1", f"{kind(body)} without a digest", patched(message, at, bytes(32)), body))
        headless = envelope_digest(b"", message[HEADER.size : at], message[at + 32 :])
        name = f"{kind(body)} with a digest over the body alone"
        vectors.append(bad("H1", name, patched(message, at, headless), body))
    return vectors


def with_digest(message: bytes, offset: int) -> bytes:
    """The message with the digest that it should have; it stands at that place of the body."""
    at = HEADER.size + offset
    return patched(message, at, envelope_digest(message[: HEADER.size], message[HEADER.size : at], message[at + 32 :]))


def sets() -> list[Vector]:
    """W14, then W10 in the set, and H1 before both."""
    message, first = message_of(CIPHERTEXT_SUM), HEADER.size + 64
    vectors = []
    for bit in range(len(COHORT), 16):
        beyond = patched(message, first + 1, u8(message[first + 1] | 1 << (bit - 8)))
        vectors.append(bad("W14", f"a set with bit {bit}", with_digest(beyond, 32), CIPHERTEXT_SUM))
    last = patched(message, first + 1, u8(message[first + 1] | 1 << 1))
    all_bits = patched(message, first, b"\xff\xff")
    without_a_key = replace(CIPHERTEXT_SUM, survived=(*ADVERTISED, COHORT[-1]))
    return [
        *vectors,
        bad("W10", "a sum over one that has no key", with_digest(last, 32), CIPHERTEXT_SUM),
        bad("W10", "a sum over all", message_of(without_a_key), CIPHERTEXT_SUM),
        bad("W14", "a set of all bits", with_digest(all_bits, 32), CIPHERTEXT_SUM),
        bad("H1", "a set of all bits, and the digest of another", all_bits, CIPHERTEXT_SUM),
    ]


def words() -> list[Vector]:
    """W13: the last bytes of OPENED, behind H1."""
    message = message_of(OPENED)
    byte, bit = divmod(RING_WORDS * RING_BITS + 8 * (HEADER.size + 32), 8)
    next_bit = patched(message, byte, u8(message[byte] | 1 << bit))
    return [
        bad("W13", "the first bit beyond", with_digest(next_bit, 0), OPENED),
        bad("W13", "all bits", message_of(Opened([2**64 - 1] * WIRE_WORDS)), OPENED),
        bad("H1", "the first bit beyond, and the digest of another", next_bit, OPENED),
    ]
