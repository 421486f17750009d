"""The vectors of whole rounds: every message, with dropouts at every stage."""

from protocols.pairwise_masking.scenario import Scenario
from protocols.vector_files import Vector, VectorFile

FIVE = Scenario("five clients", (2, 3, 5, 7, 11), 2, bits=32)
FOUR = Scenario("four clients", (1, 2, 3, 4), 3)
SIX = Scenario("six clients", (4, 8, 15, 16, 23, 2**32 - 1), 3, bits=20, clip=1.5)

ROUNDS: list[tuple[str, Scenario, dict[int, int]]] = [
    ("three of three, nobody drops out", Scenario("three", (1, 2, 3), 2), {}),
    ("the threshold is the cohort", Scenario("three, all needed", (5, 6, 7), 3, bits=2), {}),
    ("one client alone", Scenario("one", (9,), 1, bits=8), {}),
    ("threshold 1", Scenario("two, one needed", (10, 20), 1, bits=32), {10: 3}),
    ("stage 1: does not advertise", FOUR, {2: 1}),
    ("stage 2: does not share", FOUR, {1: 2}),
    ("stage 3: does not send an input", FOUR, {4: 3}),
    ("stage 4: does not release", FOUR, {3: 4}),
    ("one of six at each stage but the first", SIX, {15: 2, 4: 3, 2**32 - 1: 4}),
    (
        "one at the first three stages, one lane a word",
        Scenario("five", (2, 3, 5, 7, 11), 2, bits=32),
        {3: 1, 11: 2, 2: 3},
    ),
    ("two of six without an input", SIX, {8: 3, 23: 3}),
    ("full 64-bit ring words", Scenario("four, R = 64", (1, 2, 3, 5), 3, bits=30), {5: 3}),
    ("aborted at stage 1", Scenario("aborted 1", (1, 2, 3), 2), {1: 1, 3: 1}),
    ("aborted at stage 2", Scenario("aborted 2", (1, 2, 3), 2), {1: 1, 3: 2}),
    ("aborted at stage 3", Scenario("aborted 3", (1, 2, 3), 2), {2: 3, 3: 3}),
    ("aborted at stage 4", Scenario("aborted 4", (1, 2, 3), 2), {1: 3, 3: 4}),
]


def rounds() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "rounds",
        "Rounds with every message, what each client brings, who drops out when, and the sum.",
    )
    file.vectors += [round_vector(name, scenario, dropouts) for name, scenario, dropouts in ROUNDS]
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
        "answered": [list(clients) for clients in result.answered],
        "aborted_at": result.aborted_at,
        "sum": result.sum,
        "mean": None if result.sum is None else scenario.mean_vector(result),
    }
