"""Different models to different clients: the sum of all is then the update of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securefed.aggregation import RoundSpec, Update
from securefed.wire.header import SERVER
from tests.attacks.knowledge import VICTIM
from tests.attacks.server import MaliciousServer, words_of
from tests.attacks.switches import (
    model_of_the_update_unchecked,
    model_outside_the_session,
    promise_unchecked,
    signatures_unverified,
)  # fmt: skip
from tests.rounds import COHORT, LAYOUT, MODEL, seed, spec_of, update_of
from tests.rules import refused

DEAD = seed("a model whose units never fire")
OTHERS = tuple(client for client in COHORT if client != VICTIM)


def nothing_learnt(client: int) -> Update:
    """What training a dead model gives: no gradient at all."""
    zeros = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in LAYOUT.tensors}
    return replace(update_of(client), tensors=zeros, model=DEAD)


def updates(of_victim: bytes = MODEL) -> dict[int, Update]:
    """All but the victim train the dead model."""
    return {client: nothing_learnt(client) for client in OTHERS} | {VICTIM: replace(update_of(VICTIM), model=of_victim)}


def parameters_of(spec: RoundSpec, words: np.ndarray) -> np.ndarray:
    """The quantised parameters in ring words, without the scalars behind them."""
    return spec.numbers.lanes.unpack(words)[: LAYOUT.size].astype(np.int64)


def of_victim_alone(server: MaliciousServer) -> np.ndarray:
    """A zero update is Q in every lane: the rest of the sum is the victim's."""
    lanes = parameters_of(server.spec, server.total())
    return lanes - len(OTHERS) * server.spec.numbers.greatest


def victims(server: MaliciousServer) -> np.ndarray:
    return parameters_of(server.spec, words_of(server.spec, VICTIM, update_of(VICTIM)))


def two_offers() -> MaliciousServer:
    """The victim is offered the model, everyone else the dead one."""
    server = MaliciousServer(spec_of(model=DEAD), updates=updates())
    for client in OTHERS:
        server.offer(client)
    server.offer(VICTIM, replace(server.spec, model=MODEL))
    for client in server.spec.cohort:
        server.show_roster(client)
    for client in server.spec.cohort:
        server.deliver(client)
    server.close_round(COHORT)
    return server


@pytest.mark.rule("K5")
def test_two_models() -> None:
    """Pasquini, Francati, Ateniese, *Eluding Secure Aggregation via Model Inconsistency*, CCS 2022.

    Defence: the model's digest is in the specification, whose digest is the session: the victim's signed
    advertisement is one for another session (K5), as all of its keys are.
    """
    with refused("K5", peer=SERVER):
        two_offers()


def test_succeeds_with_model_outside_the_session() -> None:
    with model_outside_the_session():
        server = two_offers()
        assert of_victim_alone(server).tolist() == victims(server).tolist()


def test_two_models_give_noise_even_where_nothing_is_signed() -> None:
    """The second line, with K5 and G1 off: the server plays both sessions to their ends. No holder opens the victim's
    shares, so its self-mask stays; and its pairwise masks meet none of their counterparts."""
    server = MaliciousServer(spec_of(model=DEAD), updates=updates())
    beside = MaliciousServer(replace(server.spec, model=MODEL), updates=updates())
    with signatures_unverified(), promise_unchecked():
        for client in OTHERS:
            server.offer(client)
        entries = {**server.entries, VICTIM: beside.offer(VICTIM)}
        server.entries = beside.entries = dict(sorted(entries.items()))
        for client in OTHERS:
            server.show_roster(client)
        shares = {**server.shares, VICTIM: beside.show_roster(VICTIM)}
        server.shares = beside.shares = dict(sorted(shares.items()))
        for client in OTHERS:
            server.deliver(client)
        server.inputs[VICTIM] = beside.deliver(VICTIM)
    server.close_round(COHORT, OTHERS)
    assert not [owner for owner, _ in server.opened if owner == VICTIM]
    assert server.told.keys() == set(OTHERS)
    assert not set(of_victim_alone(server).tolist()) & set(victims(server).tolist())


def other_weights() -> MaliciousServer:
    """One offer for all, but the weights that go with it are the named model's for the victim alone."""
    server = MaliciousServer(updates=updates()).until_inputs()
    server.close_round(COHORT)
    return server


@pytest.mark.rule("V9")
def test_other_weights_than_the_offer_names() -> None:
    """The same attack beneath the protocol. A client names the model that it really trained from (V9)."""
    with refused("V9"):
        other_weights()


def test_succeeds_with_model_of_the_update_unchecked() -> None:
    with model_of_the_update_unchecked():
        server = other_weights()
    assert of_victim_alone(server).tolist() == victims(server).tolist()
