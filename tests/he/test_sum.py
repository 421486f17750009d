"""The sum is exact: plain integers, masks and both homomorphic schemes give the same words, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import securefed.he as he
from securefed.aggregation import Aggregate, RoundSpec, Scheme, Update
from securefed.encoding.layout import Layout, TensorSpec
from securefed.he import HomomorphicScheme, bfv, bfv_2048
from securefed.he.stages import Stage
from securefed.plain import PlainIntegers
from securefed.secagg import PairwiseMasks
from tests.he.rounds import (
    MALICIOUS,
    SCHEMES,
    SEMI_HONEST,
    Round,
    all_schemes,
    both_schemes,
    everyone,
    he_identity,
    he_spec,
)
from tests.rounds import COHORT, LAYOUT, MODEL, identities, plain_sum, update_of
from tests.tenseal import needs_tenseal

EXACT = (PlainIntegers(), PairwiseMasks(), *SCHEMES)


def layout_of(size: int) -> Layout:
    return Layout((TensorSpec("lora_A", (size,)),), ("loss",))


def aggregate(scheme: Scheme, spec: RoundSpec, layout: Layout, update: Callable[[int], Update]) -> Aggregate:
    server = scheme.server(spec, layout, identities(spec.cohort))
    clients = {client: scheme.client(he_identity(client, layout, spec.cohort)) for client in spec.cohort}
    while server.aggregate is None:
        for client, request in server.requests().items():
            server.receive(client, clients[client].reply(request, lambda client=client: update(client)))
        server.advance()
    return server.aggregate


def same_everywhere(spec: RoundSpec, layout: Layout, update: Callable[[int], Update]) -> Aggregate:
    found = [aggregate(scheme, spec, layout, update) for scheme in EXACT]
    for other in found[1:]:
        assert other.words.tolist() == found[0].words.tolist()
        assert (other.weight, other.survivors) == (found[0].weight, spec.cohort)
        assert other.metrics == found[0].metrics
        for name, tensor in found[0].tensors.items():
            assert other.tensors[name].tobytes() == tensor.tobytes()
    return found[0]


# Lanes a polynomial: 4096 and 2048 coefficients of one, two or three lanes.
SIZES = st.one_of(
    st.integers(1, 60), st.sampled_from([2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 8193, 12_289])
)  # fmt: skip


@settings(max_examples=max(12, settings().max_examples // 3))
@given(
    cohort=st.lists(st.integers(1, 2**32 - 1), min_size=2, max_size=8, unique=True).map(sorted).map(tuple),
    size=SIZES,
    bits=st.integers(2, 24),
    clip=st.sampled_from([1e-6, 0.1, 0.5, 1.0, 3e8]),
    weight=st.sampled_from([1, 2, 1000, 2**32 - 1]),
    values=st.sampled_from(["zeros", "greatest", "least", "one greatest among zeros", "random"]),
    adversary=st.sampled_from([MALICIOUS, SEMI_HONEST]),
)
def test_all_schemes_give_the_same_words(
    cohort: tuple[int, ...], size: int, bits: int, clip: float, weight: int, values: str, adversary: Any
) -> None:
    layout = layout_of(size)
    nobody_lost = type(adversary)(adversary.server, 0.0, 0.0)
    spec = he_spec(layout, cohort=cohort, bits=bits, clip=clip, greatest_weight=weight, adversary=nobody_lost)

    def update(client: int) -> Update:
        first = client == cohort[0]
        match values:
            case "random":
                rng = np.random.default_rng(client)
                tensor = (rng.normal(0, clip, size)).astype(np.float32)
                return Update({"lora_A": tensor}, MODEL, int(rng.integers(1, weight + 1)), {"loss": rng.normal()})
            case "zeros":
                return everyone(layout, 0.0, 1, spec)
            case "greatest":
                return everyone(layout, 2 * clip, weight, spec)
            case "least":
                return everyone(layout, -2 * clip, weight, spec)
        return everyone(layout, clip if first else 0.0, weight if first else 1, spec)

    same_everywhere(spec, layout, update)


def test_lanes_that_are_full_do_not_carry() -> None:
    """Everybody sends 2Q in every lane: the greatest sum that there is, at 32 bits and at two."""
    for bits in (2, 32):
        layout = layout_of(100)
        spec = he_spec(layout, bits=bits, greatest_weight=1)
        found = same_everywhere(spec, layout, lambda _, s=spec, of=layout: everyone(of, s.clip, 1, s))
        lanes = spec.numbers.lanes.unpack(found.words)[:100]
        assert lanes.tolist() == [len(COHORT) * 2 * spec.numbers.greatest] * 100
        assert np.allclose(found.tensors["lora_A"], spec.clip)


@all_schemes
def test_the_order_of_answers_does_not_matter(scheme: HomomorphicScheme) -> None:
    wanted = plain_sum(he_spec(), COHORT)
    for order in (1, -1):
        round_ = Round(scheme=scheme).until(Stage.DONE, order=order)
        assert round_.server.aggregate.words.tolist() == wanted


@all_schemes
def test_the_sum_is_that_of_the_plain_integers(scheme: HomomorphicScheme) -> None:
    round_ = Round(scheme=scheme)
    assert round_.words() == plain_sum(round_.spec, COHORT)
    assert round_.server.aggregate.weight == sum(update_of(client).weight for client in COHORT)


def test_the_error_of_the_mean_is_that_of_the_rounding_alone() -> None:
    """Stochastic rounding of n clients has a mean square of step²/(6n); encryption adds nothing to it."""
    layout = layout_of(20_000)
    spec = he_spec(layout, bits=8, greatest_weight=1)
    rng = np.random.default_rng(3)
    updates = {c: rng.uniform(-spec.clip, spec.clip, 20_000).astype(np.float32) for c in COHORT}
    round_ = Round(spec, layout, bfv(), lambda client: Update({"lora_A": updates[client]}, MODEL, 1, {"loss": 0.0}))
    round_.words()
    wanted = np.mean([tensor.astype(np.float64) for tensor in updates.values()], axis=0)
    error = float(np.mean((round_.server.aggregate.tensors["lora_A"].astype(np.float64) - wanted) ** 2))
    step, theory = spec.numbers.step, spec.numbers.step**2 / (6 * len(COHORT))
    assert abs(error - theory) <= step**2 / 12
    assert error == pytest.approx(theory, rel=0.1)


@both_schemes
def test_what_an_update_costs_on_the_wire(scheme: HomomorphicScheme) -> None:
    """One polynomial of each ciphertext, cut to the bits that count; of all the others a seed of 32 bytes. At 18 bits
    and 8 clients less than 2.9 bytes a parameter."""
    layout = layout_of(65_000)
    cohort = tuple(range(1, 9))
    spec = he_spec(layout, cohort=cohort, bits=18, greatest_weight=1, adversary=SEMI_HONEST)
    round_ = Round(spec, layout, scheme, lambda _: everyone(layout, 0.1, 1, spec)).until(Stage.INPUT)
    message = round_.ask(cohort[1])
    packing = round_.server._cipher.packing
    n, b, width = 8, packing.ring.bits, (2 * spec.numbers.greatest * 8).bit_length()
    lanes = (b - (44 * n).bit_length()) // width
    dropped = max(r for r in range(1, 64) if 2 * 2 ** (lanes * width) * n * (21 + 2 ** (r - 1)) < 2**b)
    sent = b - dropped
    coefficients = -(-(65_000 + 2 * spec.numbers.digits + 4 * spec.numbers.digits) // lanes)
    assert packing.coefficients == coefficients
    payload = 32 + 8 * -(-coefficients * sent // 64)
    assert len(message) == 64 + 32 + 32 + payload
    assert len(message) / 65_000 <= 2.9


def test_names_are_those_of_configurations() -> None:
    assert (bfv().name, bfv_2048().name) == ("bfv", "bfv-2048")
    assert bfv().stages == ("advertise", "keys", "input", "open")
    assert bfv().update_stage == "input"
    assert LAYOUT.size > 0


@needs_tenseal
def test_the_schemes_are_still_there_when_they_were_used() -> None:
    """No module of the package takes a scheme's name when it is imported late."""
    before = (he.bfv, he.bfv_2048, he.ckks, he.ckks_compact)
    for make in before:
        assert Round(scheme=make()).words()
    assert (he.bfv, he.bfv_2048, he.ckks, he.ckks_compact) == before
