"""A client's integers and the server's mean: against the other writing, against their claims, and what is refused."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.distributed_noise import reference
from securefed.dp.distributed import Kind, Mechanism, Parameters
from securefed.dp.noise import Source, discrete_gaussian, skellam
from securefed.errors import ConfigError
from tests.dp.distributed.cases import DIRECTIONS, KINDS, SEED, SMALL, Listed, Noise, direction, mechanism, source
from tests.rounds import seed
from tests.rules import refused


@st.composite
def parameters(draw: st.DrawFn) -> Parameters:
    """Any that fit."""
    clients = draw(st.integers(1, 12))
    fields = {
        "clients": clients,
        "least_honest": 1,
        "corrupt": draw(st.integers(0, clients - 1)),
        "dimension": draw(st.integers(1, 200)),
        "clip": draw(st.sampled_from([1e-3, 0.5, 1.0, 300.0])),
        "grid": draw(st.integers(1, 3000)),
        "bits": 22,
        "variance": draw(st.floats(0.25, 1e4)),
        "kind": draw(st.sampled_from(KINDS)),
        "block": 2 ** draw(st.integers(0, 9)),
        "failure_bits": draw(st.integers(1, 200)),
    }
    p = Parameters(**fields)
    needed = (p.signal_bound + p.noise_reach).bit_length() + 1
    return replace(p, bits=draw(st.integers(max(2, needed), 22)))


def theirs(p: Parameters) -> reference.Parameters:
    return reference.Parameters(**(asdict(p) | {"kind": str(p.kind)}))


@given(parameters())
def test_the_same_follows_from_parameters_in_both_writings(p: Parameters) -> None:
    other = theirs(p)
    reference.check_parameters(other)
    noise, _ = p.planned
    assert [run.size for run in p.rotation.runs() for _ in range(run.count)] == other.sizes
    ours = (p.length, p.greatest, p.signal_bound, p.l2_squared, noise.l1, p.noise_reach)
    assert ours == (other.length, other.greatest, other.signal_bound, other.l2_squared, other.l1, other.noise_reach)
    assert p.overflow_log2 == pytest.approx(other.overflow_log2, rel=1e-9, abs=1e-9)


@given(parameters(), st.integers(-3, 0))
def test_bits_are_refused_alike_in_both_writings(p: Parameters, fewer: int) -> None:
    bits = max(2, (p.signal_bound + p.noise_reach).bit_length() + 1 + fewer)
    try:
        replace(p, bits=bits)
        ours = None
    except ConfigError as error:
        ours = error.detail[1:3]
    try:
        reference.check_parameters(replace(theirs(p), bits=bits))
        other = None
    except reference.RuleBroken as broken:
        other = broken.rule
    assert ours == other


@given(
    p=parameters(),
    kind=st.sampled_from(DIRECTIONS),
    norm=st.sampled_from([0.0, 0.3, 1.0, 7.0]),
    single=st.booleans(),
    at=st.integers(0, 2**20),
)
def test_an_update_encodes_to_the_same_integers_in_both_writings(
    p: Parameters, kind: str, norm: float, single: bool, at: int
) -> None:
    vector = direction(kind, p.dimension, at) * norm * p.clip
    vector = vector.astype(np.float32) if single else vector
    key, words = seed(f"signs {at}"), source(f"words {at}").words(3 * p.length, "<u4").tolist()
    noise = np.random.default_rng(at).integers(-2 * p.greatest, 2 * p.greatest + 1, p.length).tolist()
    expected = reference.encode(vector.tolist(), str(vector.dtype), key, words, noise, theirs(p))
    assert Noise(p, noise).encode(vector, Listed(words), key).tolist() == expected


@given(p=parameters(), survivors=st.integers(1, 12), at=st.integers(0, 2**20))
def test_a_sum_decodes_to_the_same_mean_in_both_writings(p: Parameters, survivors: int, at: int) -> None:
    survivors = min(max(survivors, p.least_honest + p.corrupt), p.clients)
    bound = survivors * p.greatest
    sums, key = np.random.default_rng(at).integers(-bound, bound + 1, p.length), seed(f"signs {at}")
    expected = np.array(reference.decode(sums.tolist(), survivors, key, theirs(p)))
    found = Mechanism(p).decode(sums, survivors, key)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_is_rounding_then_noise_from_one_stream(kind: str) -> None:
    """So that nothing is drawn twice, and the same stream gives the same integers."""
    ours, vector = mechanism(kind=kind), direction("normal", 300)
    used = source("stream")
    z = ours.rounded(vector, used, SEED)
    ours.add_noise(z, used)
    drawn = source("stream")
    drawn.words(ours.length, "<u4")
    law = skellam(drawn, 900.0, ours.length) if kind == "skellam" else discrete_gaussian(drawn, 30.0, ours.length)
    assert (z - ours.rounded(vector, source("stream"), SEED)).tolist() == law.tolist()
    again = ours.encode(vector, source("stream"), SEED)
    assert z.tolist() == again.tolist()
    fresh = [ours.encode(vector, Source.fresh(), SEED).tolist() for _ in range(2)]
    assert fresh[0] != fresh[1] != again.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variance", [0.25, 900.0, 1e6])
def test_no_integer_is_out_of_its_range_and_none_is_ever_clamped(kind: str, variance: float) -> None:
    ours = mechanism(kind=kind, variance=variance, bits=16, grid=2000, dimension=20_000, block=1024)
    vector = direction("spike", 20_000, 19_999) * 9
    found = ours.encode(vector, source("range"), SEED)
    assert found.dtype == np.int64
    assert int(np.abs(found).max()) < ours.parameters.greatest
    tensors = ours.tensors(vector, source("range"), SEED)
    assert [(name, t.dtype) for name, t in tensors.items()] == [("noised", np.dtype("<f8"))]
    assert tensors["noised"].tolist() == found.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_noise_leaves_its_range_no_more_often_than_is_accounted(kind: str) -> None:
    """In rounds whose range is as narrow as is allowed for a probability of 2^-3; and it does leave it at times."""
    rounds, d = 2000, 64
    p = replace(SMALL, clients=1, least_honest=1, corrupt=0, dimension=d, kind=kind, block=1, grid=1, failure_bits=3)
    p = replace(p, grid=p.greatest - p.noise_reach)
    room = p.greatest - p.signal_bound
    assert room == p.noise_reach
    ours, drawn = Mechanism(p), source(f"range {kind}")
    left = 0
    for _ in range(rounds):
        noisy = ours.encode(np.zeros(d), drawn, SEED)
        left += bool((np.abs(noisy) > room).any())
    probability = p.planned[1].probability
    assert probability <= 1 / 8
    assert 0 < left / rounds <= probability


def test_noise_beyond_its_range_is_clamped() -> None:
    p = SMALL
    noise = [10**9, -(10**9)] * (p.length // 2)
    found = Noise(p, noise).encode(np.zeros(300), source("x"), SEED)
    assert found.tolist() == [p.greatest, -p.greatest] * (p.length // 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_a_mean_is_what_was_expected(kind: str) -> None:
    """Noise of all survivors and rounding; the mean of the error is zero, so the mean is unbiased."""
    p = replace(SMALL, kind=kind, dimension=4000, block=1024)
    ours = Mechanism(p)
    updates = [direction("heavy", 4000, at) * p.clip * 0.99 for at in range(6)]
    sums = sum(ours.encode(update, source(f"error {at}"), SEED) for at, update in enumerate(updates))
    error = ours.decode(sums, 6, SEED) - np.mean(updates, axis=0)
    expected = p.expected_error(6)
    least = math.sqrt(p.variance / 6) * p.step
    assert least <= expected <= least * 1.001
    assert np.sqrt(np.mean(error**2)) == pytest.approx(expected, rel=4.5 / math.sqrt(2 * 4000))
    assert abs(error.mean()) < 4.5 * expected / math.sqrt(4000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_vector_has_its_noise_everywhere(kind: str) -> None:
    """Longer than what is drawn at a time: no part is without noise, and no two parts have the same."""
    d = 2**20 + 70_000
    ours = mechanism(kind=kind, dimension=d, grid=1, block=2**14, bits=10)
    noise = ours.encode(np.zeros(d, np.float32), source("long"), SEED)
    parts = [noise[:60_000], noise[2**20 : 2**20 + 60_000]]
    for part in parts:
        assert abs(part.var() / 900 - 1) < 4.5 * math.sqrt(2 / len(part))
    assert abs(np.corrcoef(*parts)[0, 1]) < 4.5 / math.sqrt(60_000)


def test_an_update_beyond_the_clip_counts_as_one_at_the_clip() -> None:
    ours, vector = mechanism(variance=0.25, grid=4000), direction("normal", 300)
    found = ours.decode(ours.encode(50 * vector, source("clip"), SEED) * 4, 4, SEED)
    assert np.linalg.norm(found - 0.5 * vector) < 0.01
    inside = ours.decode(ours.encode(0.25 * vector, source("clip"), SEED) * 4, 4, SEED)
    assert np.linalg.norm(inside - 0.25 * vector) < 0.01


def test_another_seed_does_not_decode() -> None:
    ours, vector = mechanism(variance=0.25, grid=4000), direction("normal", 300) * 0.5
    found = ours.decode(ours.encode(vector, source("seed"), SEED) * 4, 4, seed("another"))
    assert np.linalg.norm(found - vector) > 0.3


@pytest.mark.rule("N3")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("at", [0, 150, 299])
def test_an_update_that_is_not_finite_is_refused_before_anything_is_drawn(bad: float, dtype: type, at: int) -> None:
    vector, used = np.zeros(300, dtype), source("nan")
    vector[at] = bad
    with refused("N3"):
        mechanism().encode(vector, used, SEED)
    assert repr(used) == "Source(0 bytes used)"


@pytest.mark.rule("N4")
@pytest.mark.parametrize(
    "vector",
    [np.zeros(299), np.zeros((300, 1)), np.zeros(300, np.float16), np.zeros(300, np.int64), np.zeros(300, complex)],
    ids=["short", "two dimensions", "float16", "integers", "complex"],
)
def test_an_update_of_another_shape_or_dtype_is_refused(vector: np.ndarray) -> None:
    with refused("N4"):
        mechanism().encode(vector, source("shape"), SEED)


@pytest.mark.rule("N9")
def test_sums_of_another_dtype_or_shape_are_refused() -> None:
    ours = mechanism()
    for sums in (np.zeros(ours.length), np.zeros((ours.length, 1), np.int64), np.zeros(ours.length, np.int32)):
        with refused("N9"):
            ours.decode(sums, 5, SEED)
    edge = np.full(ours.length, 5 * ours.parameters.greatest)
    assert len(ours.decode(edge, 5, SEED)) == 300
    for outside in (edge + 1, -edge - 1):
        with refused("N9"):
            ours.decode(outside, 5, SEED)
    extreme = np.zeros(ours.length, np.int64)
    extreme[3] = np.iinfo(np.int64).min
    with refused("N9"):
        ours.decode(extreme, 5, SEED)


def test_kinds_are_named_as_in_a_configuration() -> None:
    assert replace(SMALL, kind="discrete-gaussian").kind is Kind.DISCRETE_GAUSSIAN
