"""The vectors of approximate ciphertexts: choices of parameters, opened values to lanes, what a key holder refuses."""

from dataclasses import replace

from protocols.he_aggregation.at_client import AtClient
from protocols.he_aggregation.bfv import Ciphertext
from protocols.he_aggregation.ckks import payload_bytes, sum_bytes
from protocols.he_aggregation.parameters import check_ring
from protocols.he_aggregation.rounds import SMALL
from protocols.he_aggregation.slots import CKKS, CKKS_COMPACT, SlotPacking, choices, slots_of, to_lanes
from protocols.he_aggregation.slots import SMALL as SMALL_RING
from protocols.notation import RuleBroken
from protocols.pairwise_masking.participant import Policy
from protocols.vector_files import Vector, VectorFile, seeded_double, seeded_integer

NAME = "he_aggregation"
(SMALL_PRIME,) = SMALL_RING.primes
AT = AtClient(SMALL, {}, 3, Policy(greatest_clip=0.5), last_input=0)


def slots() -> VectorFile:
    """What follows from suite, n, b and m; and opened values to lanes."""
    file = VectorFile(
        NAME,
        "slots",
        "What follows from a suite of approximate ciphertexts, n clients, b bits and m lanes, or the rule by which "
        "nothing does; and `opened` parts of slots, of a sum over so many `summands`, to the `sums` of the lanes.",
    )
    for suite in (CKKS, CKKS_COMPACT):
        for n in (2, 3, 8, 20, 100, 1000, 10_000, 2**20):
            for bits in (2, 4, 8, 12, 16, 20, 24, 32):
                file.vectors.append(choice_vector(suite, n, bits, 10_000))
        for n in (607, 608):  # up to the first the error of N = 1024 is small enough
            file.vectors.append(choice_vector(suite, n, 2, 100))
        for ring, _, _, _ in choices(suite, 3, 8):
            check_ring(ring)
    return replace(file, vectors=file.vectors + openings())


def choice_vector(suite: int, n: int, bits: int, lanes: int) -> Vector:
    """One choice of all that matters."""
    asked = {"name": f"{suite:#x} n={n} b={bits}", "suite": suite, "n": n, "bits": bits, "lanes": lanes}
    try:
        p = slots_of(suite, n, bits, lanes)
    except RuleBroken as broken:
        return asked | {"rule": broken.rule}
    found = {"N": p.ring.degree, "w": p.lane_bits, "g": p.lanes, "f": p.scale_bits, "parts": p.parts, "c": p.centre}
    lengths = {"payload_bytes": payload_bytes(p), "sum_bytes": sum_bytes(p)}
    return asked | found | {"polynomials": p.polynomials} | lengths


def openings() -> list[Vector]:
    """Parts near integers, and others."""
    vectors = []
    cases = [(CKKS, 3, 8, 6, 2), (CKKS_COMPACT, 3, 8, 7, 3), (CKKS_COMPACT, 2, 16, 5, 2)]
    for suite, n, bits, count, summands in cases:
        p = slots_of(suite, n, bits, count)
        name = f"{suite:#x} n={n} b={bits}"
        greatest = 2 * (2 ** (bits - 1) - 1)
        lanes = [seeded_integer(f"he/slots/{name}/{j}", summands * greatest + 1) for j in range(count)]
        kinds = {"any": lanes, "zeros": [0] * count, "greatest": [summands * greatest] * count}
        for kind, values in kinds.items():
            parts = exact_parts(values, summands, p)
            near = [y + seeded_double(f"he/slots/{name}/{kind}/{i}", 0.2) for i, y in enumerate(parts)]
            near[0] = parts[0] + 0.25
            vectors.append(opening(f"{name}, {kind}", p, suite, summands, near))
        exact = exact_parts(lanes, summands, p)
        others = {
            "just more than a quarter above": [exact[0] + 0.2501, *exact[1:]],
            "a half in the last": [*exact[:-1], exact[-1] - 0.5],
            "a word below 0": [-summands * p.centre - 1.0, *exact[1:]],
            "a word of too many bits": [*exact[:-1], 2.0**p.plain_bits - summands * p.centre],
            "a part without a bound": [1e300, *exact[1:]],
        }
        vectors += [opening(f"{name}, {what}", p, suite, summands, parts) for what, parts in others.items()]
    return vectors


def exact_parts(lanes: list[int], summands: int, p: SlotPacking) -> list[float]:
    """The words of these lanes' sums, less what was taken off."""
    words = [0] * p.words
    for j, lane in enumerate(lanes):
        words[j // p.lanes] += lane << (p.lane_bits * (j % p.lanes))
    return [float(word - summands * p.centre) for word in words]


def opening(name: str, p: SlotPacking, suite: int, summands: int, parts: list[float]) -> Vector:
    """Opened parts to lanes."""
    asked: Vector = {"name": name, "suite": suite, "n": p.n, "bits": p.bits, "lanes": p.count}
    asked |= {"summands": summands, "opened": parts}
    return asked | {"sums": to_lanes(parts, summands, p)}


def slots_holder_refuses() -> VectorFile:
    """H5, and what comes before it."""
    file = VectorFile(
        NAME,
        "slots_holder_refuses",
        "Requests to the key holder of a round of approximate ciphertexts: the last one, a CIPHERTEXT_SUM, it refuses. "
        "`good` is the number (from 0) of one of good_requests, with `changes` where it is not quite that. The server "
        "is semi-honest.",
        context=AT.context(),
    )
    p, three = SMALL.any_packing, AT.requests[:3]
    q, unit = SMALL_PRIME, 2**p.dropped

    def added(by: int) -> bytes:
        """A number more in the real part of every slot: a constant has the same value everywhere."""
        return AT.total_with(lambda total: replace(total, first=tuple((x + by) % q for x in total.first)))

    def put(at: int, second: bool) -> bytes:
        def change(total: Ciphertext) -> Ciphertext:
            part = list(total.second if second else total.first)
            part[at] = q
            return replace(total, second=tuple(part)) if second else replace(total, first=tuple(part))

        return AT.total_with(change)

    noise = tuple(seeded_integer(f"he/slots/noise/{i}", q) for i in range(p.ring.degree))
    fewer = replace(AT.total, survived=(3, 90))
    bad = [
        ("H5", "a half more in every slot", added(unit // 2)),
        ("H5", "two thirds less in every slot", added(-2 * unit // 3)),
        ("H5", "noise", AT.total_with(lambda total: replace(total, first=noise))),
        ("H5", "more than a word holds", added(unit << p.plain_bits)),
        ("H5", "one more in every slot", added(unit)),
        ("H5", "one less in every slot: some words are 0", added(-unit)),
        ("H3", "q for the first value", put(0, second=False)),
        ("H3", "q for the last value", put(p.ring.degree - 1, second=True)),
        ("H4", "a sum over one", AT.message(replace(AT.total, survived=(3,)))),
        ("H2", "a sum under another key", AT.message(replace(AT.total, key_id=bytes(32)))),
        ("W11", "a word less", AT.message(replace(AT.total, payload=AT.total.payload[:-8]))),
    ]
    vectors = [AT.vector(rule, name, three, message) for rule, name, message in bad]
    # Of another number of clients another sum of what was taken off is put back: the lanes are others.
    vectors.append(AT.vector("H5", "a sum over three, said to be over two", three, AT.message(fewer)))
    return replace(file, vectors=vectors)
