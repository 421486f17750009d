"""The vectors of whole rounds: every message, with dropouts at every stage."""

from protocols.pairwise_masking.scenario import (
    COMMON_MALICIOUS,
    FEWER_MASKS,
    FEWER_MASKS_MALICIOUS,
    SAMPLED,
    SPARSE,
    SPARSE_MALICIOUS,
    Scenario,
)
from protocols.vector_files import Vector, VectorFile
from protocols.wire.specification import MALICIOUS, SEMI_HONEST, Adversary

Case = tuple[str, Scenario, dict[int, int]]
"""A name, who takes part, and who drops out at which stage."""

THREE, FOUR, FIVE = (1, 2, 3), (1, 2, 3, 4), (2, 3, 5, 7, 11)
SIX = Scenario("six clients", (4, 8, 15, 16, 23, 2**32 - 1), bits=20, clip=1.5)
SIGNED = Scenario("five clients, signed", FIVE, COMMON_MALICIOUS)
EIGHTEEN = Scenario("eighteen clients, sparse", (1, 2, *range(10, 25), 2**31), SPARSE)
NINE = Scenario("nine clients, sparse, signed", (2, 3, 5, 8, 13, 21, 34, 55, 2**32 - 1), SPARSE_MALICIOUS)
TWENTY = Scenario("twenty clients, sampled", tuple(range(5, 105, 5)), SAMPLED)
TWENTY_FIVE = Scenario("twenty-five clients, fewer masks", tuple(range(1, 26)), FEWER_MASKS)
TWENTY_TWO = Scenario("twenty-two clients, fewer masks, signed", tuple(range(3, 25)), FEWER_MASKS_MALICIOUS)

SEMI_HONEST_COMPLETE: list[Case] = [
    ("two of two", Scenario("two", (10, 20), bits=32), {}),
    ("three, nobody drops out", Scenario("three", THREE), {}),
    ("three, the least bits", Scenario("three, two bits", (5, 6, 7), bits=2), {6: 3}),
    ("stage 1: does not advertise", Scenario("four clients", FOUR), {2: 1}),
    ("stage 2: does not share", Scenario("four clients", FOUR), {1: 2}),
    ("stage 3: does not send an input", Scenario("four clients", FOUR), {4: 3}),
    ("stage 5: does not release", Scenario("four clients", FOUR), {3: 5}),
    ("one of six at stage 2 and one at stage 3", SIX, {15: 2, 4: 3}),
    ("one of six at stage 3 and one at stage 5", SIX, {8: 3, 2**32 - 1: 5}),
    ("two of six without an input", SIX, {8: 3, 23: 3}),
    ("one lane a word", Scenario("five", FIVE, bits=32), {11: 2, 2: 3}),
    ("full 64-bit ring words", Scenario("four, R = 64", (1, 2, 3, 5), bits=30), {5: 3}),
    ("more corrupt than half", Scenario("five, C = 3", FIVE, Adversary(SEMI_HONEST, 128, 64, 499, 0)), {7: 3}),
    ("aborted at stage 1", Scenario("aborted 1", THREE), {1: 1, 3: 1}),
    ("aborted at stage 2", Scenario("aborted 2", THREE), {1: 1, 3: 2}),
    ("aborted at stage 3", Scenario("aborted 3", THREE), {2: 3, 3: 3}),
    ("aborted at stage 5", Scenario("aborted 5", THREE), {1: 3, 3: 5}),
]

MALICIOUS_COMPLETE: list[Case] = [
    ("signed: two of two", Scenario("two, signed", (10, 20), COMMON_MALICIOUS), {}),
    ("signed: three, all needed", Scenario("three, signed", THREE, COMMON_MALICIOUS), {}),
    ("signed: nobody drops out", SIGNED, {}),
    ("signed, stage 1: does not advertise", SIGNED, {2: 1}),
    ("signed, stage 2: does not share", SIGNED, {3: 2}),
    ("signed, stage 3: does not send an input", SIGNED, {5: 3}),
    ("signed, stage 4: does not consent", SIGNED, {7: 4}),
    ("signed, stage 5: consents and does not release", SIGNED, {11: 5}),
    ("signed: C = 2 of 4", Scenario("four, C = 2", FOUR, Adversary(MALICIOUS, 128, 64, 499, 0)), {}),
    *[
        (f"signed: aborted at stage {k}", Scenario(f"aborted {k}", THREE, COMMON_MALICIOUS), {2: k})
        for k in range(1, 6)
    ],
]

SPARSE_GRAPHS: list[Case] = [
    ("sparse: one without an advertisement and one without shares", EIGHTEEN, {11: 1, 2: 2}),
    ("sparse: one without an input and one without a release", EIGHTEEN, {20: 3, 2**31: 5}),
    ("sparse: two lost before their inputs, and one more after it", EIGHTEEN, {11: 1, 20: 3, 2**31: 5}),
    ("sparse: more without shares than the adversary says", EIGHTEEN, {11: 1, 2: 1, 20: 2}),
    ("sparse: more without an input than the adversary says", EIGHTEEN, {11: 1, 2: 3, 20: 3}),
    ("sparse: so many dropouts that a seed has too few shares", EIGHTEEN, {1: 2, 13: 3, 14: 5, 15: 5, 16: 5, 17: 5}),
    ("sparse, masked with some of the holders", TWENTY_FIVE, {6: 3, 17: 5}),
]

SPARSE_SIGNED: list[Case] = [
    ("sparse, signed: nobody drops out", NINE, {}),
    ("sparse, signed: one without shares", NINE, {2: 2}),
    ("sparse, signed: one without an input", NINE, {21: 3}),
    ("sparse, signed: one without a consent", NINE, {2**32 - 1: 4}),
    ("sparse, signed: one that consents and does not release", NINE, {34: 5}),
    ("sparse, signed: survivors that some refuse", NINE, {13: 2, 3: 3, 55: 3}),
    ("sparse, signed: a sample of the consents", TWENTY, {35: 3, 90: 5}),
    ("sparse, signed: masked with some of the holders", TWENTY_TWO, {9: 3, 20: 4}),
]


PREPARED_FIVE = Scenario("five clients, prepared", FIVE, prepared=True)
PREPARED_SIGNED = Scenario("five clients, prepared and signed", FIVE, COMMON_MALICIOUS, prepared=True)
PREPARED_NINE = Scenario("nine clients, prepared", NINE.cohort, SPARSE_MALICIOUS, prepared=True)
PREPARED_EIGHTEEN = Scenario("eighteen clients, prepared", EIGHTEEN.cohort, SPARSE, prepared=True)

PREPARED: list[Case] = [
    ("prepared: nobody drops out", PREPARED_FIVE, {}),
    ("prepared: one without an input, one without a release", PREPARED_FIVE, {3: 3, 11: 5}),
    ("prepared: aborted before the model is named", PREPARED_FIVE, {2: 1, 3: 2, 5: 2}),
    ("prepared: aborted at the inputs", PREPARED_FIVE, {2: 3, 3: 3, 5: 3}),
    ("prepared, signed: nobody drops out", PREPARED_SIGNED, {}),
    ("prepared, signed: one without an input", PREPARED_SIGNED, {5: 3}),
    ("prepared, signed: one without shares", PREPARED_SIGNED, {7: 2}),
    ("prepared, sparse: one without shares and one without an input", PREPARED_EIGHTEEN, {11: 2, 2**31: 3}),
    ("prepared, sparse and signed: one without an input", PREPARED_NINE, {21: 3}),
    ("prepared, sparse and signed: one without a consent", PREPARED_NINE, {2**32 - 1: 4}),
]

ROUNDS = [*SEMI_HONEST_COMPLETE, *MALICIOUS_COMPLETE, *SPARSE_GRAPHS, *SPARSE_SIGNED, *PREPARED]


def rounds() -> VectorFile:
    """A semi-honest server, a complete graph."""
    return file_of("rounds", "Semi-honest server, complete graph.", SEMI_HONEST_COMPLETE)


def rounds_signed() -> VectorFile:
    """A malicious server, a complete graph."""
    return file_of("rounds_signed", "Malicious server, complete graph.", MALICIOUS_COMPLETE)


def rounds_sparse() -> VectorFile:
    """A semi-honest server, a sparse graph."""
    return file_of("rounds_sparse", "Semi-honest server, sparse graph.", SPARSE_GRAPHS)


def rounds_sparse_signed() -> VectorFile:
    """A malicious server, a sparse graph."""
    return file_of("rounds_sparse_signed", "Malicious server, sparse graph.", SPARSE_SIGNED)


def rounds_prepared() -> VectorFile:
    """Rounds whose model is named once the seeds are shared."""
    which = "The rounds are prepared: `model` is named before the inputs. Servers and graphs of all kinds."
    return file_of("rounds_prepared", which, PREPARED)


def file_of(name: str, which: str, cases: list[Case]) -> VectorFile:
    """All rounds of one kind."""
    about = "Rounds with every message, what each client brings, who drops out when, and the sum."
    file = VectorFile("pairwise_masking", name, f"{about} {which}")
    file.vectors += [round_vector(name, scenario, dropouts) for name, scenario, dropouts in cases]
    return file


def round_vector(name: str, scenario: Scenario, dropouts: dict[int, int]) -> Vector:
    """One round."""
    result = scenario.run(dropouts)
    clients = [scenario.client_vector(client) | {"drops_out_at": dropouts.get(client)} for client in scenario.cohort]
    messages = [
        {
            "stage": sent.stage,
            "from": sent.sender,
            "to": list(sent.recipients),
            "message": sent.message.hex(),
        }
        for sent in result.transcript
    ]
    return {
        "name": name,
        **scenario.context_vector(),
        "clients": clients,
        "messages": messages,
        "answered": [list(clients) for clients in result.answered.values()],
        "refused": [{"client": i, "stage": stage, "rule": rule} for i, (stage, rule) in result.refused.items()],
        "aborted_at": result.aborted_at,
        "aborted_by": result.rule,
        "sum": result.sum,
        "mean": None if result.sum is None else scenario.mean_vector(result),
    }
