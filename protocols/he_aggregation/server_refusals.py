"""What the server refuses: the events of a round, of which the last breaks a rule.

The server is called malicious: its clients sign. The round is that of `holder_refusals`: U0 = {1, 2, 5, 8, 9, 30}, U1
without 8, U3 without 9 as well; L = 4; 1 holds the key.
"""

from dataclasses import replace

from protocols.encoding.lanes import pack
from protocols.he_aggregation import agreed
from protocols.he_aggregation.bodies import Body, Ciphertexts, Entry, ExchangeKey, Opened, SealedKeys
from protocols.he_aggregation.holder_refusals import DROPOUTS, ROUND, signed
from protocols.he_aggregation.messages import decode, encode
from protocols.notation import u8, u16, u32, u64
from protocols.pairwise_masking.at_client import LOW_ORDER, flipped, patched
from protocols.pairwise_masking.at_server import ADVANCE
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.reference import SERVER

SPECIFICATION, SUITE = ROUND.specification, ROUND.suite
SENT = [sent for sent in ROUND.encrypted_round(DROPOUTS).transcript if sent.sender != SERVER]
ANSWERS = {stage: {s.sender: s.message for s in SENT if s.stage == stage} for stage in (1, 2, 3, 4)}
HOLDER = 1


def server_refuses() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "he_aggregation",
        "server_refuses",
        "Events of a round at the server: answers as they come in (client: the authenticated peer) and the end of a "
        "stage; those with a rule are refused. `good` is the stage of one of the client's good_answers. The server is "
        "malicious.",
        context={
            "suite": SUITE,
            **ROUND.context_vector(),
            "good_answers": [
                {"client": client, "stage": stage, "message": message.hex()}
                for stage, messages in ANSWERS.items()
                for client, message in messages.items()
            ],
        },
    )
    file.vectors += exchange_keys() + sealed_keys() + ciphertexts() + opened() + late()
    return file


def vector(rule: str, name: str, events: list[Vector]) -> Vector:
    """Events, the last of which breaks the rule."""
    return {"name": name, "rule": rule, "events": [*events[:-1], events[-1] | {"rule": rule}]}


def answer(client: int, message: bytes) -> Vector:
    """An answer on a client's channel: one of its good ones by the stage, another in hex."""
    for stage, messages in ANSWERS.items():
        if messages.get(client) == message:
            return {"client": client, "good": stage}
    return {"client": client, "message": message.hex()}


def good(stage: int, *clients: int) -> list[Vector]:
    """The good answers of a stage, of all its clients or of some."""
    return [answer(i, ANSWERS[stage][i]) for i in clients or ANSWERS[stage]]


def stages(last: int) -> list[Vector]:
    """The first stages, up to that one, as they should be."""
    return [event for stage in ANSWERS if stage <= last for event in [*good(stage), ADVANCE]]


def from_client(client: int, body: Body) -> Vector:
    """An answer of the client in the session."""
    session = agreed.session(SPECIFICATION)
    return answer(client, encode(body, SUITE, session, SPECIFICATION.round, client))


def exchange_keys() -> list[Vector]:
    """K2, K1, K5, K4 in this order, and wire rules, at the first stage."""
    two = ANSWERS[1][2]
    entry = Entry(two[64:96], two[96:])
    first = Entry(ANSWERS[1][1][64:96], ANSWERS[1][1][96:])
    low, high = (1).to_bytes(32, "little"), (2**255 - 1).to_bytes(32, "little")
    bad = [("K1", f"low order: {name}", signed(2, u.to_bytes(32, "little"))) for name, u in LOW_ORDER.items()]
    bad += [
        ("K1", "low order, and not signed", Entry(low, bytes(64))),
        ("K2", "not canonical", signed(2, high)),
        ("K2", "not canonical, and not signed", Entry(high, bytes(64))),
        ("K5", "one bit of the signature", replace(entry, signature=flipped(entry.signature, 63))),
        ("K5", "no signature", replace(entry, signature=bytes(64))),
        ("K5", "another's key with another's signature", first),
        ("K4", "another's key, signed", signed(2, first.public)),
    ]
    vectors = [vector(rule, name, [*good(1, 1), from_client(2, ExchangeKey(e))]) for rule, name, e in bad]
    unsigned = from_client(2, ExchangeKey(replace(entry, signature=b"")))
    wire = [
        ("R1", "another session", answer(2, patched(two, 8, seed("he/elsewhere")))),
        ("R2", "another round", answer(2, patched(two, 40, u32(99)))),
        ("R4", "ciphertexts at the first stage", answer(2, ANSWERS[3][2])),
        ("W3", "another version", answer(2, patched(two, 4, u8(1)))),
        ("W5", "another suite", answer(2, patched(two, 6, u16(0x10)))),
        ("W12", "another's good answer", answer(2, ANSWERS[1][5])),
        ("W8", "a key without a signature", unsigned),
        ("W11", "a count of two", answer(2, patched(two, 48, u64(2)))),
        ("W1", "nothing", answer(2, b"")),
    ]
    return [*vectors, *(vector(rule, name, [*good(1, 1), event]) for rule, name, event in wire)]


def sealed_keys() -> list[Vector]:
    """Wire rules at the second stage; after them the next holder is asked."""
    one, two = stages(1), ANSWERS[2][HOLDER]
    recipients = [i for i in ANSWERS[1] if i != HOLDER]
    body = decode(two, agreed.sealed_keys(SPECIFICATION, SUITE, HOLDER, recipients))
    assert isinstance(body, SealedKeys)
    fewer = replace(body, sealed=dict(list(body.sealed.items())[:-1]))
    another = replace(body, sealed={i: bytes(48) for i in (2, 5, 8, 9)})
    own = replace(body, sealed={i: bytes(48) for i in (1, 2, 5, 9)})
    twice = patched(two, 64 + 32 + 4, u32(2))
    bad = [
        ("W11", "a key less", from_client(HOLDER, fewer)),
        ("W10", "a key for one that did not advertise", from_client(HOLDER, another)),
        ("W10", "a key for the holder itself", from_client(HOLDER, own)),
        ("W9", "two keys for one client", answer(HOLDER, twice)),
        ("W8", "without its last byte", answer(HOLDER, two[:-1])),
        ("R4", "an exchange key again", answer(HOLDER, ANSWERS[1][HOLDER])),
        ("R6", "keys of one that is not the holder", answer(2, patched(two, 44, u32(2)))),
    ]
    vectors = [vector(rule, name, [*one, event]) for rule, name, event in bad]
    lost = [*one, ADVANCE]
    return [
        *vectors,
        vector("R3", "sealed keys twice", [*one, *good(2), *good(2)]),
        vector("R6", "the first holder's keys after the second was asked", [*lost, *good(2)]),
        vector("W11", "the second holder's keys for the first one too", [*lost, answer(2, patched(two, 44, u32(2)))]),
    ]


def ciphertexts() -> list[Vector]:
    """H1, H2, W13 in this order, and other wire rules, at the third stage."""
    message = ANSWERS[3][2]
    body = decode(message, agreed.ciphertexts(SPECIFICATION, SUITE, 2))
    assert isinstance(body, Ciphertexts)

    def with_payload(changed: bytes) -> Vector:
        return from_client(2, replace(body, payload=changed))

    beyond = body.payload[:-1] + u8(body.payload[-1] | 1 << 7)
    other = seed("he/another key id")
    bad = [
        ("H1", "one bit of the payload", answer(2, flipped(message, len(message) - 1))),
        ("H1", "one bit of a seed", answer(2, flipped(message, 64 + 64))),
        ("H1", "one bit of the digest", answer(2, flipped(message, 64 + 32))),
        ("H1", "another key id, and the digest of the good one", answer(2, patched(message, 64, other))),
        ("H2", "another key id", from_client(2, replace(body, key_id=other))),
        ("H2", "another key id, and a bit beyond", from_client(2, replace(body, key_id=other, payload=beyond))),
        ("W13", "a bit beyond the last coefficient", with_payload(beyond)),
        ("W11", "a word more", with_payload(body.payload + bytes(8))),
        ("W8", "a byte less", answer(2, message[:-1])),
        ("R4", "sealed keys again", answer(HOLDER, ANSWERS[2][HOLDER])),
        ("W12", "another's ciphertexts", answer(2, ANSWERS[3][5])),
    ]
    vectors = [vector(rule, name, [*stages(2), event]) for rule, name, event in bad]
    return [*vectors, vector("R3", "ciphertexts twice", [*stages(2), *good(3, 2), *good(3, 2)])]


def opened() -> list[Vector]:
    """H1, W13, V11 in this order, and wire rules, at the fourth stage."""
    message = ANSWERS[4][HOLDER]
    body = decode(message, agreed.opened(SPECIFICATION, SUITE, HOLDER))
    assert isinstance(body, Opened)
    ring = ROUND.parameters.ring
    beyond = [*body.words[:-1], body.words[-1] | 1 << 63]
    zeros, ones = [0] * len(body.words), pack([2**ring.bits - 1] * (len(body.words) * 64 // ring.bits), ring.bits)
    bad = [
        ("H1", "one bit", answer(HOLDER, flipped(message, len(message) - 9))),
        ("H1", "no digest", answer(HOLDER, patched(message, 64, bytes(32)))),
        ("W13", "a bit beyond the last ring word", from_client(HOLDER, Opened(beyond))),
        ("V11", "nothing but zeros", from_client(HOLDER, Opened(zeros))),
        ("V11", "greatest lanes", from_client(HOLDER, Opened(ones[: len(zeros)]))),
        ("W11", "a word less", from_client(HOLDER, Opened(body.words[:-1]))),
        ("R6", "a sum from one that does not hold the key", answer(2, patched(message, 44, u32(2)))),
        ("R4", "ciphertexts again", answer(HOLDER, ANSWERS[3][HOLDER])),
    ]
    return [vector(rule, name, [*stages(3), event]) for rule, name, event in bad]


def late() -> list[Vector]:
    """R3, R5 and R6: twice, after an answer that was refused, after the end of a stage or of the round."""
    nine = encode(
        ExchangeKey(signed(8, bytes([9]) + bytes(31))), SUITE, agreed.session(SPECIFICATION), SPECIFICATION.round, 8
    )
    wrong = answer(2, flipped(ANSWERS[1][2], 200 - 64)) | {"rule": "K5"}
    aborted = [*good(1, 1, 2, 5), ADVANCE | {"aborts": True}]
    no_sum = [*stages(3), ADVANCE | {"aborts": True}]
    return [
        vector("R3", "an exchange key twice", [*good(1, 2), *good(1, 2)]),
        vector("R5", "a good exchange key after one that was refused", [wrong, *good(1, 2)]),
        vector("R5", "a good answer after the round was aborted", [*aborted, *good(1, 9)]),
        vector("R5", "a sum after the round was aborted", [*no_sum, *good(4)]),
        vector("R6", "an exchange key after its stage", [*stages(1), answer(8, nine)]),
        vector("R6", "ciphertexts after their stage", [*stages(3), *late_nine()]),
        vector("R6", "ciphertexts of one that did not advertise", [*stages(2), answer(8, nine)]),
        vector("R6", "a sum after the end", [*stages(4), *good(4)]),
    ]


def late_nine() -> list[Vector]:
    """What client 9 would have sent: its own header is all that is looked at."""
    return [answer(9, patched(ANSWERS[3][5], 44, u32(9)))]
