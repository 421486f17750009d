"""What a client demands, what rounds need keys of whom, and rings that nobody may choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import Adversary, Policy, Update
from securefed.errors import ConfigError
from securefed.he import HomomorphicScheme, bfv, bfv_2048
from securefed.he.rings import CONSERVATIVE, STANDARD_BITS, STANDARD_LIMIT, Ring
from securefed.he.stages import Stage
from securefed.wire.header import SERVER
from tests.he.rounds import ANY, MALICIOUS, SEMI_HONEST, VICTIM, Round, both_schemes, he_identity, he_spec
from tests.rounds import COHORT, LAYOUT, MODEL, plain_sum, update_of
from tests.rules import case, refused


def policy(**changes: object) -> Policy:
    return replace(ANY, **changes)


POLICIES = [
    case("O1", "masks alone", policy(schemes=frozenset({"masks"})), "this client takes part in masks"),
    case("O1", "the other ring", policy(schemes=frozenset({"bfv-2048"})), "this client takes part in bfv-2048"),
    case("O1", "the default", Policy(), "scheme 'bfv', this client takes part in masks"),
    case("O1", "corrupt clients", policy(adversary=Adversary("malicious", 0.1)), "this client wants it against"),
    case("O1", "more bits of security", policy(adversary=Adversary("malicious", 0.0, 0.0, 60)), "60 bits"),
    case("O1", "a larger cohort", policy(least_cohort=5), "a cohort of 4"),
    case("O1", "a larger sum", policy(least_sum=4), "sums over 3 clients"),
    case("O1", "a smaller clip", policy(greatest_clip=0.1), "clip 0.5"),
    case("O1", "more bits", policy(least_bits=20), "16 bits a value"),
]


@pytest.mark.parametrize(("rule", "wanted", "says"), POLICIES)
def test_what_a_policy_refuses(rule: str, wanted: Policy, says: str) -> None:
    round_ = Round()
    round_.identities[VICTIM] = replace(round_.identities[VICTIM], policy=wanted)
    with refused(rule, peer=SERVER) as caught:
        round_.new_client(VICTIM).reply(round_.server.requests()[VICTIM], lambda: pytest.fail("trained"))
    assert says in str(caught.value)


@pytest.mark.rule("O1")
def test_a_policy_that_wants_a_malicious_server_covered() -> None:
    """The other way round it is allowed: a client that demands less takes part in more."""
    round_ = Round(he_spec(adversary=SEMI_HONEST))
    wanted = policy(adversary=Adversary("malicious", 0.0))
    round_.identities[VICTIM] = replace(round_.identities[VICTIM], policy=wanted)
    with refused("O1", peer=SERVER):
        round_.new_client(VICTIM).reply(round_.server.requests()[VICTIM], lambda: pytest.fail("trained"))
    assert Round(he_spec(adversary=MALICIOUS)).words()


@both_schemes
def test_a_semi_honest_server_needs_no_identity_keys(scheme: HomomorphicScheme) -> None:
    spec = he_spec(adversary=SEMI_HONEST)
    server = scheme.server(spec, LAYOUT)
    clients = {c: scheme.client(replace(he_identity(c), credentials=None)) for c in COHORT}
    while server.aggregate is None:
        for client, request in server.requests().items():
            server.receive(client, clients[client].reply(request, lambda c=client: update_of(c)))
        server.advance()
    assert server.aggregate.words.tolist() == plain_sum(spec, COHORT)


@pytest.mark.rule("O1")
def test_a_malicious_server_needs_them() -> None:
    round_ = Round()
    client = bfv().client(replace(he_identity(VICTIM), credentials=None))
    with refused("O1", peer=SERVER) as caught:
        client.reply(round_.server.requests()[VICTIM], lambda: pytest.fail("trained"))
    assert "a round against a malicious server needs credentials" in str(caught.value)


@pytest.mark.rule("H7")
@pytest.mark.parametrize(("degree", "bits"), [(1024, 28), (2048, 55), (4096, 110), (8192, 219)])
def test_a_ring_above_the_standards_limit(degree: int, bits: int) -> None:
    with pytest.raises(ConfigError, match=r"\[H7\] .* bits of modulus at degree .* are below 128 bits of security"):
        Ring(degree, bits)


@pytest.mark.rule("H7")
@pytest.mark.parametrize("degree", [0, 512, 3000, 65536])
def test_a_ring_that_the_standard_does_not_know(degree: int) -> None:
    with pytest.raises(ConfigError, match=r"\[H7\] the standard has no parameters"):
        Ring(degree, 20)


def test_the_rings_are_those_of_the_text() -> None:
    """And of the standard's table 1, for ternary secrets and classical attacks."""
    assert (Ring(4096, 64), Ring(2048, 54)) == (CONSERVATIVE, STANDARD_LIMIT)
    assert [Round(scheme=s).context.packing.ring for s in (bfv(), bfv_2048())] == [CONSERVATIVE, STANDARD_LIMIT]
    text = (Path(__file__).parents[2] / "protocols/he_aggregation/README.md").read_text()
    for ring in (CONSERVATIVE, STANDARD_LIMIT):
        assert f"| {ring.degree} | 2^{ring.bits} | {STANDARD_BITS[ring.degree]} bits |" in text
    assert (STANDARD_BITS[2048], STANDARD_BITS[4096]) == (54, 109)


def wrong(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[int], Update]:
    def update(client: int) -> Update:
        tensors = {name: np.asarray(tensor).copy() for name, tensor in update_of(client).tensors.items()}
        change(tensors)
        return Update(tensors, MODEL, 1, {"loss": 0.0})

    return update


def put(value: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["lora_B"][-1] = value

    return change


def longer(tensors: dict[str, np.ndarray]) -> None:
    tensors["lora_B"] = np.zeros(5)


def shorter(tensors: dict[str, np.ndarray]) -> None:
    tensors["lora_B"] = np.zeros(3)


def missing(tensors: dict[str, np.ndarray]) -> None:
    del tensors["lora_B"]


UPDATES = [
    case("V1", "not a number", wrong(put(np.nan))),
    case("V1", "infinity", wrong(put(np.inf))),
    case("V1", "minus infinity", wrong(put(-np.inf))),
    case("V3", "one value more", wrong(longer)),
    case("V3", "one value less", wrong(shorter)),
    case("V2", "a tensor is missing", wrong(missing)),
]


@both_schemes
@pytest.mark.parametrize(("rule", "update"), UPDATES)
def test_what_an_encoding_refuses(scheme: HomomorphicScheme, rule: str, update: Callable[[int], Update]) -> None:
    """Before anything leaves: the error names the tensor, the session is over, and nothing is in the record."""
    round_ = Round(scheme=scheme, update=update).until(Stage.INPUT)
    with refused(rule) as caught:
        round_.ask(VICTIM)
    assert "lora_B" in str(caught.value)
    assert round_.identities[VICTIM].record.last_round == -1
    with refused("R5"):
        round_.ask(VICTIM)


@pytest.mark.rule("V5")
@pytest.mark.parametrize("weight", [0, -1, 101, 2**40, 1.5, True])
def test_a_weight_that_overflows(weight: int) -> None:
    round_ = Round(update=lambda client: replace(update_of(client), weight=weight)).until(Stage.INPUT)
    with refused("V5"):
        round_.ask(VICTIM)


@pytest.mark.rule("V6")
@pytest.mark.parametrize("metrics", [{"loss": np.nan}, {"loss": 1e30}, {}, {"loss": 0.0, "more": 0.0}])
def test_a_metric_that_overflows(metrics: dict[str, float]) -> None:
    round_ = Round(update=lambda client: replace(update_of(client), metrics=metrics)).until(Stage.INPUT)
    with refused("V6"):
        round_.ask(VICTIM)
