"""What the server refuses: the events of a round, of which the last breaks a rule.

The round: U0 = U1 = {1, 2, 5, 8, 9}, U2 = {1, 2, 5, 9}, U3 = {1, 2, 5} = U4, threshold 3.
"""

from dataclasses import replace

from protocols.notation import u8, u32, u64
from protocols.pairwise_masking import agreed, keys
from protocols.pairwise_masking.client_refusals import LOW_ORDER, SCENARIO, SESSION, SPECIFICATION, patched
from protocols.pairwise_masking.shamir import P, combine, lagrange
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.reference import (
    PAIRWISE_MASKS,
    SERVER,
    Advertisement,
    Body,
    Release,
    Shares,
    decode,
    encode,
)

ANSWERS: dict[int, dict[int, bytes]] = {stage: {} for stage in (1, 2, 3, 4)}
"""The good answers: stage, client, message."""
for sent in SCENARIO.run({8: 2, 9: 3}).transcript:
    if sent.sender != SERVER:
        ANSWERS[sent.stage][sent.sender] = sent.message

ADVANCE: Vector = {"advance": True}


def server_refuses() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "server_refuses",
        "Events of a round at the server: answers as they come in (client: the authenticated peer) and the "
        "end of a stage; those with a rule are refused. `good` is the stage of one of the client's good_answers.",
        context={
            **SCENARIO.context_vector(),
            "good_answers": [
                {"client": client, "stage": number, "message": message.hex()}
                for number, messages in ANSWERS.items()
                for client, message in messages.items()
            ],
        },
    )
    file.vectors += advertisements() + replies() + late() + releases() + combinations()
    return file


def vector(rule: str, name: str, events: list[Vector]) -> Vector:
    """Events, the last of which breaks the rule."""
    return {"name": name, "rule": rule, "events": [*events[:-1], events[-1] | {"rule": rule}]}


def answer(client: int, message: bytes, rule: str | None = None) -> Vector:
    """An answer that comes in on a client's channel: one of its good ones by the stage, another in hex."""
    event: Vector = {"client": client, "message": message.hex()}
    for number, messages in ANSWERS.items():
        if messages.get(client) == message:
            event = {"client": client, "good": number}
    return event if rule is None else event | {"rule": rule}


def stage(number: int) -> list[Vector]:
    """A whole stage as it should be."""
    return [answer(client, message) for client, message in ANSWERS[number].items()] + [ADVANCE]


def stages(last: int) -> list[Vector]:
    """The first stages, up to that one, as they should be."""
    return [event for number in range(1, last + 1) for event in stage(number)]


def from_client(body: Body, client: int) -> bytes:
    """A client's message in the session."""
    return encode(body, PAIRWISE_MASKS, SESSION, SPECIFICATION.round, client)


def advertised(client: int) -> Advertisement:
    """A client's good keys."""
    body = decode(ANSWERS[1][client], agreed.advertisement(SPECIFICATION, client))
    assert isinstance(body, Advertisement)
    return body


def advertisements() -> list[Vector]:
    """K1, K2, K4 at the first stage."""
    good = advertised(2)
    bad = [("K1", f"low order: {name}", u) for name, u in LOW_ORDER.items()]
    bad += [
        ("K2", "2^255 − 19 + 5, for 5", keys.FIELD + 5),
        ("K2", "the top bit", int.from_bytes(good.mask_key, "little") | 1 << 255),
    ]
    vectors = []
    for rule, name, u in bad:
        key = u.to_bytes(32, "little")
        for body in (replace(good, channel_key=key), replace(good, mask_key=key)):
            column = "channel_key" if body.channel_key == key else "mask_key"
            vectors.append(vector(rule, f"{name} as a {column}", [answer(2, from_client(body, 2))]))
    first = advertised(1)
    twice = {
        "another's channel key": replace(good, channel_key=first.channel_key),
        "another's mask key": replace(good, mask_key=first.mask_key),
        "another's mask key for a channel key": replace(good, channel_key=first.mask_key),
        "one key for both": replace(good, mask_key=good.channel_key),
    }
    for name, body in twice.items():
        events = [answer(1, ANSWERS[1][1]), answer(2, from_client(body, 2))]
        vectors.append(vector("K4", name, events))
    return vectors


def replies() -> list[Vector]:
    """Rules of the wire and of the order, in each stage."""
    one, shares, masked = ANSWERS[1][1], ANSWERS[2][1], ANSWERS[3][1]
    other = Advertisement(keys.public_key(seed("other/1")), keys.public_key(seed("other/2")))
    return [
        vector("R1", "another session", [answer(1, patched(one, 8, seed("elsewhere")))]),
        vector("R2", "another round", [answer(1, patched(one, 40, u32(99)))]),
        vector("R3", "the same answer twice", [answer(1, one), answer(1, one)]),
        vector("R3", "another answer", [answer(1, one), answer(1, from_client(other, 1))]),
        vector("R3", "the same shares twice", [*stage(1), answer(1, shares), answer(1, shares)]),
        vector("R4", "shares at the first stage", [answer(1, shares)]),
        vector("R4", "an advertisement at the second stage", [*stage(1), answer(1, one)]),
        vector("R4", "an input at the second stage", [*stage(1), answer(1, masked)]),
        vector("R4", "an offer back", [answer(1, offer_back())]),
        vector("R5", "a good answer after a bad one", [answer(1, one[:-1], "W8"), answer(1, one)]),
        vector("R6", "a stranger", [answer(3, patched(one, 44, u32(3)))]),
        vector("W12", "an answer of another client", [answer(2, one)]),
        vector("W10", "shares for a stranger", [*stage(1), answer(1, patched(shares, 96 + 8, u32(6)))]),
        vector("W11", "shares for one client less", [*stage(1), answer(1, without_last(shares))]),
        vector("W9", "shares for the same client twice", [*stage(1), answer(1, patched(shares, 100, u32(2)))]),
        vector("W11", "an input of a word more", [*stages(2), answer(1, longer(masked))]),
        vector("W13", "an input over its ring words", [*stages(2), answer(1, masked[:-1] + u8(0xFF))]),
    ]


def without_last(message: bytes) -> bytes:
    """Client 1's SHARES without the last recipient."""
    body = decode(message, agreed.shares(SPECIFICATION, 1, ANSWERS[1]))
    assert isinstance(body, Shares)
    return from_client(replace(body, sealed=dict(list(body.sealed.items())[:-1])), 1)


def offer_back() -> bytes:
    """An ADVERTISEMENT that calls itself an OFFER."""
    return patched(ANSWERS[1][1], 5, u8(1))


def longer(message: bytes) -> bytes:
    """An INPUT with a zero word more."""
    return patched(message, 48, u64(int.from_bytes(message[48:56], "big") + 1)) + bytes(8)


def late() -> list[Vector]:
    """R5 and R6: after the end of a stage, of a client's part, or of the round."""
    first = ANSWERS[1]
    few = [answer(1, first[1]), answer(2, first[2])]
    aborted = [*few, ADVANCE | {"aborts": True}]
    four = [answer(client, message) for client, message in first.items() if client != 9]
    return [
        vector("R5", "a good answer after the round was aborted", [*aborted, answer(5, first[5])]),
        vector("R6", "an advertisement after its stage", [*four, ADVANCE, answer(9, first[9])]),
        vector("R6", "an input of one who did not share", [*stages(2), answer(8, from_eight())]),
        vector("R6", "a release of one without an input", [*stages(3), answer(9, nine_releases())]),
        vector("R6", "a release after the end", [*stages(4), answer(1, ANSWERS[4][1])]),
    ]


def from_eight() -> bytes:
    """An INPUT that would be good, had its sender shared its seeds."""
    return patched(ANSWERS[3][1], 44, u32(8))


def nine_releases() -> bytes:
    """A RELEASE that would be good, had its sender sent an input."""
    return patched(ANSWERS[4][1], 44, u32(9))


def released(client: int) -> dict[int, int]:
    """A client's good shares."""
    body = decode(ANSWERS[4][client], agreed.release(SPECIFICATION, client, ANSWERS[2]))
    assert isinstance(body, Release)
    return body.shares


def release(client: int, changes: dict[int, int]) -> Vector:
    """A RELEASE with some shares changed."""
    return answer(client, from_client(Release(released(client) | changes), client))


def releases() -> list[Vector]:
    """S1 and wire rules at the fourth stage."""
    without = Release({i: share for i, share in released(1).items() if i != 9})
    stranger = patched(ANSWERS[4][1], 64 + 3 * 4, u32(10))
    return [
        vector("S1", "a share of a seed that is p", [*stages(3), release(1, {2: P})]),
        vector("S1", "a share of a mask key that is 2^264 − 1", [*stages(3), release(1, {9: 2**264 - 1})]),
        vector("W11", "no share of the dropout", [*stages(3), answer(1, from_client(without, 1))]),
        vector("W10", "a share of a stranger", [*stages(3), answer(1, stranger)]),
    ]


def combinations() -> list[Vector]:
    """S5 and S6: shares that are numbers modulo p, but not those that were shared."""
    one, five = (answer(client, ANSWERS[4][client]) for client in (1, 5))
    wrong_seed = release(2, {5: (released(2)[5] + 1) % P})
    wrong_key = release(2, {9: (released(2)[9] + 1) % P})
    large_seed = release(2, {5: moved(5, 2**256)})
    large_key = release(2, {9: moved(9, 2**256 + 296)})
    other_kind = release(2, {1: released(2)[9]})
    bad = [
        ("S5", "a wrong share of a seed", [one, wrong_seed, five]),
        ("S5", "a share of another client's secret", [one, other_kind, five]),
        ("S5", "a seed of 2^256", [one, large_seed, five]),
        ("S6", "a wrong share of a mask key", [one, wrong_key, five]),
        ("S6", "a mask key of p − 1", [one, large_key, five]),
    ]
    return [vector(rule, name, [*stages(3), *events, ADVANCE]) for rule, name, events in bad]


def moved(owner: int, secret: int) -> int:
    """The share that client 2 must release so that the owner's secret is combined to that number."""
    indices = [1, 2, 5]
    true = combine([(i, released(i)[owner]) for i in indices], 3)
    return (released(2)[owner] + (secret - true) * pow(lagrange(indices, 2), -1, P)) % P
