"""Noisy integers through real rounds: the sum is exact, and has the noise of those who are in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.aggregation import Adversary, Aggregate, RoundSpec, Scheme, Update
from securefed.dp.distributed import Mechanism, Parameters
from securefed.encoding.lanes import Words
from securefed.encoding.quantize import Numbers
from securefed.encoding.vector import VectorEncoding
from securefed.he import bfv, bfv_2048, ckks
from securefed.plain import PlainIntegers
from securefed.secagg import PairwiseMasks
from tests.dp.distributed.cases import KINDS, SEED, Listed, Noise, direction, source
from tests.he.rounds import ANY
from tests.rounds import MODEL, identities, identity_of, spec_of
from tests.tenseal import needs_tenseal

EXACT = (PlainIntegers(), PairwiseMasks(), bfv(), bfv_2048())
exact_schemes = pytest.mark.parametrize("scheme", EXACT, ids=lambda scheme: scheme.name)


def play(
    scheme: Scheme, spec: RoundSpec, ours: Mechanism, inputs: Mapping[int, np.ndarray], drops: Mapping[int, str]
) -> Aggregate:
    """A whole round of real sessions in which each client gives its integers.

    Who drops out answers from that stage on no more.
    """
    layout, gone = ours.layout, set[int]()
    server = scheme.server(spec, layout, identities(spec.cohort))
    clients = {c: scheme.client(identity_of(c, layout, ANY, spec.cohort)) for c in spec.cohort}
    while server.aggregate is None:
        gone |= {client for client, stage in drops.items() if stage == str(server.stage)}
        for client, request in server.requests().items():
            if client not in gone:
                update = Update({"noised": inputs[client].astype(np.float64)}, MODEL)
                server.receive(client, clients[client].reply(request, lambda update=update: update))
        server.advance()
    return server.aggregate


def round_of(ours: Mechanism, cohort: tuple[int, ...], corrupt: float = 0.0) -> RoundSpec:
    return spec_of(
        ours.layout,
        adversary=Adversary("semi-honest", corrupt=corrupt, dropouts=0.4),
        bits=ours.bits,
        clip=ours.clip,
        greatest_weight=1,
        cohort=cohort,
    )


def small(bits: int, dimension: int = 40) -> Mechanism:
    return Mechanism(Parameters(5, 2, 1, dimension, 1.0, 1, bits, 0.25, failure_bits=1))


@pytest.mark.parametrize("bits", range(2, 23))
def test_integers_travel_as_they_are(bits: int) -> None:
    """Whatever the encoding's own rounding draws: floor(z + r/2^32) is z, at all ends of the range."""
    numbers = Numbers(5, bits, float(2 ** (bits - 1) - 1))
    Q, rng = numbers.greatest, np.random.default_rng(bits)
    z = np.unique(np.clip([-Q, -Q + 1, -1, 0, 1, Q - 1, Q, *rng.integers(-Q, Q + 1, 50)], -Q, Q))
    for r in (0, 1, 2**31, 2**32 - 2, 2**32 - 1):
        lanes = numbers.quantize(z.astype(np.float64), 1, np.full(len(z), r, np.uint32))
        assert (lanes.astype(np.int64) - Q).tolist() == z.tolist()


@pytest.mark.parametrize("bits", range(23, 33))
def test_with_more_bits_they_would_not(bits: int) -> None:
    """Why the bits of this mechanism end at 22."""
    numbers = Numbers(5, bits, float(2 ** (bits - 1) - 1))
    z = numbers.greatest // 2 + 2
    lanes = numbers.quantize(np.array([float(z)]), 1, np.array([2**32 - 1], np.uint32))
    assert int(lanes[0]) - numbers.greatest == z + 1


@exact_schemes
@pytest.mark.parametrize("bits", [6, 13, 18, 22])
def test_a_round_gives_the_exact_sum(scheme: Scheme, bits: int) -> None:
    """Bit for bit: of the survivors' integers, those at ±Q included."""
    ours, cohort = small(bits), (1, 2, 4, 6, 9)
    Q, rng = ours.parameters.greatest, np.random.default_rng(bits)
    inputs = {c: rng.integers(-Q, Q + 1, ours.length) for c in cohort}
    for values in inputs.values():
        values[:3] = Q, -Q, 0
    aggregate = play(scheme, round_of(ours, cohort), ours, inputs, {})
    assert aggregate.survivors == cohort
    assert ours.sums(aggregate.tensors, 5).tolist() == sum(inputs.values()).tolist()
    assert sum_from(aggregate, ours, cohort).tolist() == sum(inputs.values()).tolist()


def sum_from(aggregate: Aggregate, ours: Mechanism, cohort: tuple[int, ...]) -> np.ndarray:
    """The sum of integers, from the ring words that exact schemes have in common."""
    words: Words | None = aggregate.words
    assert words is not None
    numbers = ours.parameters.numbers
    lanes = replace(numbers, clients=len(cohort)).lanes.unpack(words)[: ours.length]
    return lanes.astype(np.int64) - len(aggregate.survivors) * numbers.greatest


@settings(max_examples=max(4, settings().max_examples // 10))
@given(
    scheme=st.sampled_from(EXACT[:3]),
    bits=st.integers(2, 22),
    lost=st.sets(st.sampled_from([2, 4, 6]), max_size=2),
    data=st.data(),
)
def test_any_integers_and_dropouts_give_the_exact_sum_of_the_survivors(
    scheme: Scheme, bits: int, lost: set[int], data: st.DataObject
) -> None:
    ours, cohort = small(22, 7), (1, 2, 4, 6, 9)
    Q = 2 ** (bits - 1) - 1
    inputs = {c: np.array(data.draw(st.lists(st.integers(-Q, Q), min_size=7, max_size=7))) for c in cohort}
    spec = replace(round_of(ours, cohort), bits=bits, clip=float(Q))
    aggregate = play(scheme, spec, ours, inputs, dict.fromkeys(lost, scheme.update_stage))
    assert set(aggregate.survivors) == set(cohort) - lost
    expected = sum(inputs[c] for c in aggregate.survivors)
    assert ours.sums(aggregate.tensors, len(aggregate.survivors)).tolist() == expected.tolist()


@needs_tenseal
def test_approximate_ciphertexts_give_the_sum_within_their_bound() -> None:
    """Rounded to integers it differs by a few steps at most, next to noise of hundreds."""
    cohort = (1, 2, 4, 6, 9)
    ours = Mechanism(Parameters(5, 2, 1, 100, 1.0, 300, 14, 10_000.0))
    inputs = {c: ours.encode(direction("normal", 100, c), source(f"ckks {c}"), SEED) for c in cohort}
    aggregate = play(ckks(), round_of(ours, cohort), ours, inputs, {})
    off = ours.sums(aggregate.tensors, 5) - sum(inputs.values())
    assert int(np.abs(off).max()) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_has_the_noise_of_those_who_survive(kind: str) -> None:
    """Moments of the noise in the sums of real masked rounds, with dropouts at every stage before and after the input.

    Its variance is the survivors' number times the share, so at least what was planned with, as the event says.
    """
    cohort, d = tuple(range(1, 11)), 3000
    ours = Mechanism(Parameters(10, 4, 1, d, 1.0, 50, 12, 400.0, kind=kind, block=1024))
    p, scheme, spec = ours.parameters, PairwiseMasks(), round_of(ours, cohort, corrupt=0.1)
    assert spec.threshold == 6 > p.least_honest + p.corrupt - 1
    updates = {c: direction("heavy", d, c) for c in cohort}
    noisy = {c: ours.encode(updates[c], source(f"moments {c}"), SEED) for c in cohort}
    first, middle, *_, last = scheme.stages
    at_input = scheme.update_stage
    for m, drops in (
        (10, {}),
        (8, {3: first, 4: middle}),
        (7, {2: at_input, 7: at_input, 8: middle}),
        (6, {1: at_input, 2: at_input, 6: at_input, 9: at_input}),
        (10, {5: last}),
    ):
        aggregate = play(scheme, spec, ours, noisy, drops)
        assert len(aggregate.survivors) == m
        sums = ours.sums(aggregate.tensors, m)
        assert sums.tolist() == sum(noisy[c] for c in aggregate.survivors).tolist()
        clean = sum(
            Noise(p, [0] * ours.length).encode(updates[c], source(f"moments {c}"), SEED) for c in aggregate.survivors
        )
        noise = sums - clean
        honest = m - p.corrupt
        (event, _), (planned, _) = ours.event(m), ours.planned
        variance = event.variance if kind == "skellam" else event.clients * event.sigma**2
        assert variance == pytest.approx(honest * p.variance)
        assert variance >= (planned.variance if kind == "skellam" else planned.clients * planned.sigma**2)
        deviations = (noise.var() / (m * p.variance) - 1) * np.sqrt(ours.length / 2)
        assert abs(deviations) < 4.5
        assert abs(noise.mean()) < 4.5 * np.sqrt(m * p.variance / ours.length)
        fourth = np.mean(noise.astype(float) ** 4) / noise.var() ** 2 - 3
        assert abs(fourth) < 4.5 * np.sqrt(24 / ours.length) + 1 / (m * p.variance)
        mean = ours.decode(sums, m, SEED)
        error = mean - np.mean([updates[c] for c in aggregate.survivors], axis=0)
        assert np.sqrt(np.mean(error**2)) == pytest.approx(p.expected_error(m), rel=0.07)


def test_a_client_gives_the_integers_that_its_vector_encodes_to() -> None:
    """The encoding's own random words change nothing, so the round adds no randomness after the noise."""
    ours = small(13)
    inputs = ours.encode(direction("flat", 40), source("one"), SEED).astype(np.float64)
    lanes = [
        np.concatenate(
            list(VectorEncoding(ours.layout, ours.parameters.numbers).lane_values(
                {"noised": inputs}, 1, {}, lambda size, word=word: Listed([word]).words(size, "<u4")
            ))
        )
        for word in (0, 2**32 - 1)
    ]  # fmt: skip
    assert lanes[0].tolist() == lanes[1].tolist()
