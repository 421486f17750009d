"""Approximate ciphertexts that the library made: it draws seeds and errors itself, so they are kept, not made anew.

`python -m tests.differential.golden_ciphertexts` draws them, once for a version of the protocol. What is computed here
from the stored messages is the rest: the sum, and what it opens to.
"""

from protocols.he_aggregation import agreed, keys
from protocols.he_aggregation.bfv import Ciphertext
from protocols.he_aggregation.bodies import Ciphertexts
from protocols.he_aggregation.ciphers import add, decrypt, read_payload, sum_payload
from protocols.he_aggregation.messages import decode
from protocols.he_aggregation.parameters import binding
from protocols.he_aggregation.scenario import Scenario
from protocols.he_aggregation.slots import CKKS_COMPACT
from protocols.he_aggregation.tags import check_sum
from protocols.vector_files import Vector, VectorFile, load

NAME = "ciphertexts"
SCENARIOS = (Scenario("he golden, slots", (1, 7, 30), bits=8, suite=CKKS_COMPACT),)
"""The key holder is the first client of the cohort, and all are there."""


def ciphertexts() -> VectorFile:
    """The stored messages with all that follows from them."""
    file = VectorFile(
        "he_aggregation",
        NAME,
        "CIPHERTEXTS that the library made, with seeds and errors of its own; their sum, as it goes to the key holder; "
        "the sums of the lanes.",
    )
    stored = {vector["name"]: vector["messages"] for vector in load("he_aggregation", NAME)["vectors"]}
    file.vectors += [golden_vector(scenario, stored[scenario.name]) for scenario in SCENARIOS]
    return file


def golden_vector(scenario: Scenario, messages: list[str]) -> Vector:
    """One cohort's messages, added and opened."""
    s, suite, p = scenario.specification, scenario.suite, scenario.any_packing
    B = binding(s, suite)
    key = keys.round_key(scenario.round_secret(s.cohort[0]), B)
    total: Ciphertext | None = None
    for client, message in zip(s.cohort, messages, strict=True):
        body = decode(bytes.fromhex(message), agreed.ciphertexts(s, suite, client))
        assert isinstance(body, Ciphertexts)
        assert body.key_id == keys.key_id(B, key)
        received = read_payload(body.payload, p)
        total = received if total is None else add(total, received, p)
    assert total is not None
    sums = decrypt(total, keys.secret_polynomial(key, B, p.ring), p, len(s.cohort))
    return {
        "name": scenario.name,
        "suite": suite,
        **scenario.context_vector(),
        "holder": s.cohort[0],
        "round_secret": scenario.round_secret(s.cohort[0]).hex(),
        "clients": [scenario.client_vector(client) for client in s.cohort],
        "messages": messages,
        "sum": sum_payload(total, p).hex(),
        "sums": sums,
        "values": check_sum(key, B, s.cohort, sums, s.bits),
    }
