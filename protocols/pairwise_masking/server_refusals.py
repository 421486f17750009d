"""What the server refuses, in a complete graph: the events of a round, of which the last breaks a rule.

The server is semi-honest. The round: U0 = U1 = {1, 2, 5, 8, 9}, U2 = {1, 2, 5, 9}, U3 = {1, 2, 5}, all of which
release; L = t = 3.
"""

from dataclasses import replace

from protocols.notation import u8, u32, u64
from protocols.pairwise_masking import keys
from protocols.pairwise_masking.at_client import LOW_ORDER, flipped, patched
from protocols.pairwise_masking.at_server import ADVANCE, AtServer, name_model, without
from protocols.pairwise_masking.client_refusals import DROPOUTS, ROUND
from protocols.pairwise_masking.shamir import P
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.bodies import Advertisement, Consent, Entry

AT = AtServer(ROUND, DROPOUTS)
ANSWERS = AT.answers


def server_refuses() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "server_refuses",
        "Events of a round at the server: answers as they come in (client: the authenticated peer) and the "
        "end of a stage; those with a rule are refused. `good` is the stage of one of the client's good_answers. The "
        "server is semi-honest, the graph complete.",
        context=AT.context(),
    )
    file.vectors += advertisements() + replies() + late() + releases() + combinations() + models()
    return file


def advertised(client: int, entry: Entry) -> Vector:
    """An ADVERTISEMENT."""
    return AT.answer(client, AT.from_client(Advertisement(entry), client))


def advertisements() -> list[Vector]:
    """K1, K2, K4 at the first stage."""
    good = AT.entry(2)
    bad = [("K1", f"low order: {name}", u) for name, u in LOW_ORDER.items()]
    bad += [
        ("K2", "2^255 − 19 + 5, for 5", keys.FIELD + 5),
        ("K2", "the top bit", int.from_bytes(good.mask_key, "little") | 1 << 255),
    ]
    vectors = []
    for rule, name, u in bad:
        key = u.to_bytes(32, "little")
        for column in ("channel_key", "mask_key"):
            vectors.append(AT.vector(rule, f"{name} as a {column}", [advertised(2, replace(good, **{column: key}))]))
    both = replace(good, channel_key=bytes(32), mask_key=b"\xff" * 32)
    vectors.append(AT.vector("K2", "a key of low order, and another not canonical", [advertised(2, both)]))
    first = AT.entry(1)
    twice = {
        "another's channel key": replace(good, channel_key=first.channel_key),
        "another's mask key": replace(good, mask_key=first.mask_key),
        "another's mask key for a channel key": replace(good, channel_key=first.mask_key),
        "one key for both": replace(good, mask_key=good.channel_key),
    }
    return vectors + [AT.vector("K4", name, [*AT.good(1, 1), advertised(2, e)]) for name, e in twice.items()]


def replies() -> list[Vector]:
    """Rules of the wire and of the order, in each stage."""
    one, shares, masked = ANSWERS[1][1], ANSWERS[2][1], ANSWERS[3][1]
    fewer = AT.from_client(without(AT.shares(1), 9), 1)
    other = Entry(keys.public_key(seed("other/1")), keys.public_key(seed("other/2")), seed("other/3"))
    changed = replace(AT.shares(1), pick_secret=seed("another pick secret"))
    signed = advertised(1, replace(AT.entry(1), signature=bytes(64)))
    consent = AT.from_client(Consent(bytes(64)), 1)
    ids = 64 + 64  # where the list of SHARES begins
    longer = patched(masked, 48, u64(int.from_bytes(masked[48:56], "big") + 1)) + bytes(8)
    first = AT.stages(1)
    return [
        AT.vector("R1", "another session", [AT.answer(1, patched(one, 8, seed("elsewhere")))]),
        AT.vector("R2", "another round", [AT.answer(1, patched(one, 40, u32(99)))]),
        AT.vector("R3", "the same answer twice", [*AT.good(1, 1), *AT.good(1, 1)]),
        AT.vector("R3", "another answer", [*AT.good(1, 1), advertised(1, other)]),
        AT.vector("R3", "the same shares twice", [*first, *AT.good(2, 1), *AT.good(2, 1)]),
        AT.vector("R4", "shares at the first stage", AT.good(2, 1)),
        AT.vector("R4", "an advertisement at the second stage", [*first, *AT.good(1, 1)]),
        AT.vector("R4", "an input at the second stage", [*first, *AT.good(3, 1)]),
        AT.vector("R4", "a release at the third stage", [*AT.stages(2), *AT.good(5, 1)]),
        AT.vector("R4", "a consent that nobody asked for", [*AT.stages(3), AT.answer(1, consent)]),
        AT.vector("R4", "an offer back", [AT.answer(1, patched(one, 5, u8(1)))]),
        AT.vector("R5", "a good answer after a bad one", [AT.answer(1, one[:-1], "W8"), *AT.good(1, 1)]),
        AT.vector("R6", "a stranger", [AT.answer(3, patched(one, 44, u32(3)))]),
        AT.vector("W12", "an answer of another client", [AT.answer(2, one)]),
        AT.vector("W8", "an advertisement with a signature", [signed]),
        AT.vector("W10", "shares for a stranger", [*first, AT.answer(1, patched(shares, ids + 8, u32(6)))]),
        AT.vector("W11", "shares for one client less", [*first, AT.answer(1, fewer)]),
        AT.vector("W9", "shares for the same client twice", [*first, AT.answer(1, patched(shares, ids + 4, u32(2)))]),
        AT.vector("W8", "shares of half a pick secret", [*first, AT.answer(1, shares[:80])]),
        AT.vector("G1", "another pick secret", [*first, AT.answer(1, AT.from_client(changed, 1))]),
        AT.vector("G1", "one bit of a pick secret", [*first, AT.answer(1, flipped(shares, 64))]),
        AT.vector("W11", "an input of a word more", [*AT.stages(2), AT.answer(1, longer)]),
        AT.vector("W13", "an input over its ring words", [*AT.stages(2), AT.answer(1, masked[:-1] + u8(0xFF))]),
    ]


def late() -> list[Vector]:
    """R5 and R6: after the end of a stage, of a client's part, or of the round."""
    aborted = [*AT.good(1, 1, 2), ADVANCE | {"aborts": True}]
    from_eight = patched(ANSWERS[3][1], 44, u32(8))
    nine_releases = patched(ANSWERS[5][1], 44, u32(9))
    return [
        AT.vector("R5", "a good answer after the round was aborted", [*aborted, *AT.good(1, 5)]),
        AT.vector("R6", "an advertisement after its stage", [*AT.good(1, 1, 2, 5, 8), ADVANCE, *AT.good(1, 9)]),
        AT.vector("R6", "an input of one who did not share", [*AT.stages(2), AT.answer(8, from_eight)]),
        AT.vector("R6", "a release of one without an input", [*AT.stages(3), AT.answer(9, nine_releases)]),
        AT.vector("R6", "a release after the end", [*AT.stages(5), *AT.good(5, 1)]),
    ]


def releases() -> list[Vector]:
    """S1 and wire rules at the fifth stage."""
    three, body = AT.stages(3), ANSWERS[5][1]
    more = AT.release(1, {8: 5})
    return [
        AT.vector("S1", "a share of a seed that is p", [*three, AT.release(1, {2: P})]),
        AT.vector("S1", "a share of a mask key that is 2^264 − 1", [*three, AT.release(1, {9: 2**264 - 1})]),
        AT.vector("W10", "a share of a stranger", [*three, AT.answer(1, patched(body, 64 + 3 * 4, u32(10)))]),
        AT.vector("W10", "a share of one who did not share", [*three, AT.release(1, {9: None, 8: 5})]),
        AT.vector("W7", "a share of one who did not share, beside all others", [*three, more]),
        AT.vector("W9", "a share of one client twice", [*three, AT.answer(1, patched(body, 64 + 4, u32(1)))]),
    ]


def combinations() -> list[Vector]:
    """S3, S5 and S6 at the end: t shares, of which one is missing, or is not the one that was shared."""
    one, five = AT.good(5, 1), AT.good(5, 5)
    bad = [
        ("S3", "no share of a survivor from one of three", 5, AT.release(2, {5: None})),
        ("S3", "no share of a dropout from one of three", 9, AT.release(2, {9: None})),
        ("S3", "no share at all from one of three", 1, AT.release(2, {1: None, 2: None, 5: None, 9: None})),
        ("S5", "a wrong share of a seed", 5, AT.wrong(2, 5)),
        ("S5", "a share of another client's secret", 1, AT.release(2, {1: AT.released(2)[9]})),
        ("S5", "a seed of 2^256", 5, AT.release(2, {5: AT.moved(2, 5, 2**256)})),
        ("S5", "wrong shares of two seeds", 2, AT.wrong(2, 2, 5)),
        ("S6", "a wrong share of a mask key", 9, AT.wrong(2, 9)),
        ("S6", "a mask key of p − 1", 9, AT.release(2, {9: AT.moved(2, 9, P - 1)})),
    ]
    return [
        AT.vector(rule, name, [*AT.stages(3), *one, event, *five, ADVANCE | {"seed_of": owner}])
        for rule, name, owner, event in bad
    ]


def models() -> list[Vector]:
    """R12: a round that is not prepared has its model already."""
    named = name_model(seed("another model"))
    return [
        AT.vector("R12", "a model named at the first stage", [named]),
        AT.vector("R12", "a model named before the inputs", [*AT.stages(2), named]),
    ]
