"""The good vectors of whole rounds: dropouts at every stage, lost key holders, both suites."""

from protocols.encoding.known_answers import tensors_vector
from protocols.encoding.reference import decode_sum
from protocols.he_aggregation.parameters import BFV, BFV_2048
from protocols.he_aggregation.reference import Round
from protocols.he_aggregation.scenario import COMMON_MALICIOUS, LAYOUT, Scenario
from protocols.he_aggregation.slots import CKKS_COMPACT
from protocols.vector_files import Vector, VectorFile
from protocols.wire.reference import MALICIOUS, SEMI_HONEST, Adversary

Case = tuple[str, Scenario, dict[int, int]]
"""Name, round, and the stage that a client does not answer any more."""

THREE = Scenario("he three", (3, 90, 2**32 - 1), suite=BFV)
FIVE = Scenario("he five", (1, 2, 5, 8, 9), suite=BFV_2048)
SIGNED = Scenario("he signed", (4, 6, 7, 9, 1000), COMMON_MALICIOUS, suite=BFV_2048)
TWO_BITS = Scenario("he two bits", (2, 4), Adversary(SEMI_HONEST, 128, 64, 0, 0), bits=2, greatest_weight=1)
MANY_BITS = Scenario(
    "he thirty-two bits", (2, 4), Adversary(MALICIOUS, 128, 64, 0, 0), bits=32, clip=3.0, suite=BFV_2048
)

AWAY = {"the key holder is away for the input, and opens the sum of the others": (1, 3)}
"""Who misses one request, (client, stage), and is there again for the next one."""

SMALL = Scenario("he slots", (3, 90, 2**32 - 1), bits=8, suite=CKKS_COMPACT)
"""N = 1024."""
MIDDLE = Scenario("he slots of two lanes", (1, 7), Adversary(SEMI_HONEST, 40, 20, 0, 0), bits=16, suite=CKKS_COMPACT)
"""N = 2048, g = 2."""

ROUNDS: list[Case] = [
    ("nobody drops out", THREE, {}),
    ("one lost at each of the first stages", FIVE, {8: 1, 2: 3}),
    ("the first key holder is lost", FIVE, {1: 2, 9: 3}),
    ("two key holders are lost", FIVE, {1: 2, 2: 2}),
    ("signed: one without an input", SIGNED, {9: 3}),
    ("signed: the first key holder is lost", SIGNED, {4: 2}),
    ("two of two, two bits", TWO_BITS, {}),
    ("two of two, thirty-two bits", MANY_BITS, {}),
    ("the key holder is away for the input, and opens the sum of the others", FIVE, {}),
    ("approximate: the first key holder is lost", SMALL, {3: 2}),
    ("approximate: two lanes in a part", MIDDLE, {}),
    ("aborted at stage 1", FIVE, {1: 1, 2: 1, 5: 1}),
    ("aborted at stage 2: too few are left without the lost holders", FIVE, {1: 2, 2: 2, 5: 2}),
    ("aborted at stage 3", FIVE, {2: 3, 5: 3, 8: 3}),
    ("aborted at stage 4: the key holder gave no input", FIVE, {1: 3}),
    ("aborted at stage 4: the key holder is lost behind its input", FIVE, {1: 4}),
]


def rounds() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "he_aggregation",
        "rounds",
        "Rounds with every message, what each client brings and draws, who drops out when or is away for one request, "
        "and the sum. Of approximate ciphertexts the library draws seeds and errors itself: its CIPHERTEXTS differ, "
        "of the same length and of the same key; the errors here repeat for the other coefficients.",
    )
    file.vectors += [round_vector(name, scenario, dropouts) for name, scenario, dropouts in ROUNDS]
    return file


def round_vector(name: str, scenario: Scenario, dropouts: dict[int, int]) -> Vector:
    """One round."""
    away = frozenset([AWAY[name]] if name in AWAY else [])
    result = scenario.encrypted_round(dropouts, away)
    clients = [
        scenario.client_vector(client) | {"drops_out_at": dropouts.get(client), "away_at": dict(away).get(client)}
        for client in scenario.cohort
    ]
    messages = [
        {"stage": sent.stage, "from": sent.sender, "to": list(sent.recipients), "message": sent.message.hex()}
        for sent in result.transcript
    ]
    return {
        "name": name,
        "suite": scenario.suite,
        **scenario.context_vector(),
        "clients": clients,
        "messages": messages,
        "answered": [{"stage": stage, "clients": list(clients)} for stage, clients in result.answered],
        "holder": result.holder,
        "aborted_at": result.aborted_at,
        "sum": result.sum,
        "mean": None if result.sum is None else mean_of(scenario, result),
    }


def mean_of(scenario: Scenario, result: Round) -> Vector:
    """The weighted mean that the round's sum decodes to."""
    assert result.sum is not None
    mean = decode_sum(result.sum, len(result.survived), LAYOUT, scenario.parameters)
    return {"tensors": tensors_vector(mean.tensors), "weight": mean.weight, "metrics": mean.metrics}
