"""Prepared rounds of the reference: what the model that is named later changes, and what it does not."""

import pytest

from protocols.notation import RuleBroken
from protocols.pairwise_masking.at_client import patched
from protocols.pairwise_masking.client import reply
from protocols.pairwise_masking.reference import Server, run_round
from protocols.pairwise_masking.scenario import COMMON_MALICIOUS, SPARSE, SPARSE_MALICIOUS, Scenario
from protocols.vector_files import seed

FOUR = (3, 4, 90, 2**32 - 1)
PREPARED = [
    Scenario("self-check, prepared", FOUR, prepared=True),
    Scenario("self-check, signed, prepared", FOUR, COMMON_MALICIOUS, prepared=True),
    Scenario("self-check, sparse, prepared", tuple(range(5, 23)), SPARSE, prepared=True),
    Scenario("self-check, sparse and signed, prepared", tuple(range(5, 14)), SPARSE_MALICIOUS, prepared=True),
]


def total(scenario: Scenario, clients: tuple[int, ...]) -> list[int]:
    columns = zip(*(scenario.ring_words(client) for client in clients), strict=True)
    return [sum(column) % 2**scenario.parameters.ring.bits for column in columns]


def named(scenario: Scenario) -> str:
    return scenario.name


@pytest.mark.parametrize("scenario", PREPARED, ids=named)
@pytest.mark.parametrize("stage", [None, 1, 2, 3, 4, 5])
def test_a_prepared_round_gives_the_sum_of_those_who_sent_an_input(scenario, stage):
    result = scenario.run({} if stage is None else {scenario.cohort[2]: stage})
    assert result.sum == total(scenario, result.answered[3])


@pytest.mark.parametrize("scenario", PREPARED, ids=named)
def test_the_model_is_in_what_follows_it_and_in_nothing_before(scenario):
    """Two models: the same messages of the first two stages, other deliveries and inputs, and the same sum."""
    one, s = scenario.run({}), scenario.specification
    other = run_round(
        s,
        {client: scenario.round_secret(client) for client in s.cohort},
        {client: scenario.ring_words(client) for client in s.cohort},
        {},
        {client: scenario.identity_key(client) for client in scenario.identities},
        seed("another model"),
    )
    same = {stage: set() for stage in range(1, 6)}
    for a, b in zip(one.transcript, other.transcript, strict=True):
        same[a.stage].add(a.message == b.message)
    assert (same[1], same[2], same[3]) == ({True}, {True}, {False})
    assert one.sum == other.sum


@pytest.mark.parametrize("scenario", PREPARED[:2], ids=named)
def test_inputs_masked_for_two_models_do_not_give_their_sum(scenario):
    """A server that tells one client of another model gets noise where no client notices, and no consent."""
    s, liar, told = scenario.specification, Server(scenario.specification, scenario.identities), scenario.cohort[0]
    received = {client: [] for client in s.cohort}

    def play(stage):
        for client, request in liar.requests().items():
            other = patched(request, 64, seed("another model")) if (stage, client) == (3, told) else request
            received[client].append(other)
            yield client, reply(scenario.client(client), scenario.ring_words(client), received[client], [])

    for stage in (1, 2, 3):
        if stage == 3:
            liar.name_model(scenario.model)
        for client, answer in list(play(stage)):
            liar.receive(client, answer)
        liar.advance()
    if s.malicious:
        for client, answer in list(play(4)):
            if client == told:
                with pytest.raises(RuleBroken, match="C1"):
                    liar.receive(client, answer)
            else:
                liar.receive(client, answer)
        return
    for client, answer in list(play(5)):
        liar.receive(client, answer)
    liar.advance()
    assert liar.sum != total(scenario, s.cohort)
