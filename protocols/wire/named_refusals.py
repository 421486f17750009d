"""The bad vectors of NAMED_DELIVERY: those of a delivery, behind a model."""

from dataclasses import replace

from protocols.notation import u8, u16, u32, u64
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.bodies import Type
from protocols.wire.reference import HEADER, MODEL_BYTES
from protocols.wire.refusals import bad, patched
from protocols.wire.samples import (
    CLIENT,
    COHORT,
    DELIVERY,
    NAMED_DELIVERY,
    SENDERS,
    SPECIFICATION,
    SURVIVORS,
    message_of,
    sender_of,
)

GOOD = message_of(NAMED_DELIVERY)
SET = HEADER.size + MODEL_BYTES
LIST = SET + 2


def refused_named() -> VectorFile:
    """All of them."""
    file = VectorFile("wire", "refused_named", "Refused as in `refused`, where a NAMED_DELIVERY is expected or came.")
    file.vectors += headers() + types() + lengths() + lists() + sets()
    return file


def named(rule: str, name: str, message: bytes) -> Vector:
    """A message that a decoder refuses where it expects a NAMED_DELIVERY."""
    return bad(rule, name, message, NAMED_DELIVERY)


def of_senders(*clients: int) -> bytes:
    """A NAMED_DELIVERY of these senders."""
    delivery = replace(DELIVERY, senders={i: sender_of(i) for i in clients})
    return message_of(replace(NAMED_DELIVERY, delivery=delivery))


def headers() -> list[Vector]:
    """W1–W7, W12, R1, R2."""
    n = len(COHORT)
    return [
        named("W1", "63 bytes", GOOD[:63]),
        named("W2", "magic of a bundle", patched(GOOD, 0, b"SFBN")),
        named("W3", "version 1", patched(GOOD, 4, u8(1))),
        named("W4", "type 19", patched(GOOD, 5, u8(19))),
        named("W5", "suite 0", patched(GOOD, 6, u16(0))),
        named("W6", "first reserved byte", patched(GOOD, 56, u8(1))),
        named("R1", "another session", patched(GOOD, 8, seed("wire/another session"))),
        named("R2", "the round before", patched(GOOD, 40, u32(SPECIFICATION.round - 1))),
        named("W12", "a client where the server is", patched(GOOD, 44, u32(CLIENT))),
        named("W7", "longer than the cohort", of_senders(*sorted((*COHORT, 5)))),
        *[named("W7", f"a count of {count}", patched(GOOD, 48, u64(count))) for count in (n + 1, 2**60, 2**64 - 1)],
    ]


def types() -> list[Vector]:
    """R4: one of the two deliveries where the other is expected, whatever follows its header."""
    relabelled = patched(message_of(DELIVERY), 5, u8(Type.NAMED_DELIVERY))
    return [
        named("R4", "a DELIVERY", message_of(DELIVERY)),
        named("R4", "a DELIVERY behind a model", patched(GOOD, 5, u8(Type.DELIVERY))),
        named("R4", "SURVIVORS", message_of(SURVIVORS)),
        bad("R4", "where a DELIVERY is expected", GOOD, DELIVERY),
        bad("R4", "where a DELIVERY is expected, and without a model", relabelled, DELIVERY),
        bad("R4", "where SURVIVORS are expected", GOOD, SURVIVORS),
    ]


def lengths() -> list[Vector]:
    """W8."""
    last = dict(list(DELIVERY.senders.items())[:-1])
    short = message_of(replace(NAMED_DELIVERY, delivery=replace(DELIVERY, senders=last)))
    return [
        named("W8", "without its last byte", GOOD[:-1]),
        named("W8", "and a zero byte", GOOD + b"\x00"),
        named("W8", "without a model", GOOD[: HEADER.size] + GOOD[SET:]),
        named("W8", "with half a model", GOOD[: HEADER.size] + GOOD[HEADER.size + 16 :]),
        named("W8", "with two models", GOOD[:SET] + GOOD[HEADER.size :]),
        named("W8", "of which only the header came", GOOD[: HEADER.size]),
        named("W8", "of which only the model came", GOOD[:SET]),
        named("W8", "with a count over its items", patched(short, 48, u64(len(SENDERS)))),
    ]


def lists() -> list[Vector]:
    """W9 and W10 in its list."""
    one, two = GOOD[LIST : LIST + 4], GOOD[LIST + 4 : LIST + 8]
    return [
        named("W9", "an id twice", patched(GOOD, LIST + 4, one)),
        named("W9", "another order", patched(GOOD, LIST, two + one)),
        named("W9", "id 0", patched(GOOD, LIST, u32(0))),
        named("W10", "a stranger", patched(GOOD, LIST + 4, u32(5))),
        named("W10", "the receiver's own id", of_senders(2, CLIENT, 1000)),
        named("W10", "one who did not advertise", of_senders(2, 1000, COHORT[-1])),
    ]


def sets() -> list[Vector]:
    """W14, and W10 in its set."""
    high = GOOD[SET + 1]
    id_0 = patched(GOOD, LIST, u32(0))
    return [
        *[
            named("W14", f"with bit {bit}", patched(GOOD, SET + 1, u8(high | 1 << (bit - 8))))
            for bit in range(len(COHORT), 16)
        ],
        named("W14", "with all bits", patched(GOOD, SET + 1, u8(0xFF))),
        named("W14", "with a bit beyond the cohort and id 0", patched(id_0, SET + 1, u8(0x80))),
        named("W14", "with a bit beyond the cohort and no name", patched(nameless(), SET + 1, u8(0x80))),
        named("W10", "with one more in its set", patched(GOOD, SET + 1, u8(high | 1 << 1))),
    ]


def nameless() -> bytes:
    """With zeros for a model, which a client refuses after all of these."""
    return patched(GOOD, HEADER.size, bytes(MODEL_BYTES))
