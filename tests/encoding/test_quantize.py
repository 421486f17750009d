"""Floats to integers: unbiased, bounded for every number of bits, and exact where it can be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.encoding.quantize import Numbers
from securefed.encoding.scalars import metric_from_sum, metric_to_integer, sum_of_digits, to_digits
from securefed.errors import ConfigError
from tests.rules import case, refused

Clips = st.one_of(st.sampled_from([0.07, 0.1, 0.25, 1.0, 1 / 3, 1e-3]), st.floats(1e-6, 1e6))
ALL_BITS = range(2, 33)
EDGES = np.array([0, 1, 2**31, 2**32 - 1], "<u4")
"""Random words: none, least, middle, greatest."""


def quantize(numbers: Numbers, values: list[float], weight: int, randomness: np.ndarray) -> list[int]:
    """Signed quantised values."""
    lanes = numbers.quantize(np.array(values, "<f8"), weight, randomness)
    return [int(lane) - numbers.greatest for lane in lanes]


def slow(numbers: Numbers, x: float, weight: int, r: int) -> int:
    """The text's formula for one value; beyond the bounds only by the rounding of doubles."""
    product = x if weight == numbers.greatest_weight else x * (weight / numbers.greatest_weight)
    clipped = min(max(product, -numbers.clip), numbers.clip)
    q = math.floor(clipped * (numbers.greatest / numbers.clip) + r / 2**32)
    return max(-numbers.greatest, min(numbers.greatest, q))


@given(
    bits=st.integers(2, 32),
    clip=Clips,
    greatest=st.integers(1, 2**32 - 1),
    data=st.data(),
)
def test_values_are_those_of_the_formula(bits: int, clip: float, greatest: int, data: st.DataObject) -> None:
    numbers = Numbers(5, bits, clip, greatest)
    weight = data.draw(st.integers(1, greatest))
    some = st.floats(-2 * clip * greatest, 2 * clip * greatest)
    values = data.draw(st.lists(some, min_size=1, max_size=20))
    randomness = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=len(values), max_size=len(values)))
    expected = [slow(numbers, x, weight, r) for x, r in zip(values, randomness, strict=True)]
    assert quantize(numbers, values, weight, np.array(randomness, "<u4")) == expected


@pytest.mark.parametrize("bits", ALL_BITS)
def test_bounds_hold_at_the_clip_whatever_is_drawn(bits: int) -> None:
    """±clip gives ±Q (up to one below, as the product of doubles may be under Q); nothing lies outside."""
    for clip in (0.07, 0.1, 0.3, 0.59, 1.0, 1 / 3, 1e-3, 7.7e5, *np.random.default_rng(bits).uniform(0, 2, 400)):
        numbers = Numbers(2, bits, float(clip))
        greatest = numbers.greatest
        for value, low, high in ((clip, greatest - 1, greatest), (-clip, -greatest, 1 - greatest)):
            got = quantize(numbers, [float(value)] * len(EDGES), 1, EDGES)
            assert all(low <= q <= high for q in got), (clip, got)
        beyond = quantize(numbers, [1e300, -1e300, 2.0 * clip, -2.0 * clip], 1, EDGES)
        assert all(-greatest <= q <= greatest for q in beyond), (clip, beyond)


@pytest.mark.parametrize("bits", ALL_BITS)
def test_zero_is_zero_whatever_is_drawn(bits: int) -> None:
    numbers = Numbers(3, bits, 0.1, 10)
    for weight in (1, 10):
        assert quantize(numbers, [0.0, -0.0, 0.0, -0.0], weight, EDGES) == [0, 0, 0, 0]


def test_subnormals_count_as_what_they_are() -> None:
    """A value of next to nothing is rounded to the neighbours of zero and no further."""
    tiny = 5e-324
    numbers = Numbers(3, 16, 0.1)
    assert quantize(numbers, [tiny] * 4, 1, EDGES) == [0, 0, 0, 0]
    assert set(quantize(numbers, [-tiny] * 4, 1, EDGES)) <= {-1, 0}


@pytest.mark.parametrize("bits", [2, 3, 8, 16, 24])
@pytest.mark.parametrize("fraction", [-0.77, -0.301, -0.001, 0.0003, 0.25, 0.5, 0.999])
def test_rounding_is_unbiased(bits: int, fraction: float) -> None:
    """Mean of 200 000 roundings: within five standard deviations of the value; of a Bernoulli step, at most 1/2."""
    count = 200_000
    numbers = Numbers(2, bits, 1.0)
    randomness = np.random.default_rng(bits).integers(0, 2**32, count, "<u4")
    lanes = numbers.quantize(np.full(count, fraction), 1, randomness).astype(np.int64) - numbers.greatest
    exact = fraction * numbers.greatest
    chance = exact - math.floor(exact)
    deviation = math.sqrt(max(chance * (1 - chance), 1e-9) / count)
    assert abs(lanes.mean() - exact) < 5 * deviation + 1e-9
    assert set(np.unique(lanes)) <= {math.floor(exact), math.floor(exact) + 1}


@given(st.floats(-1, 1), st.integers(1, 100))
def test_a_weight_scales_the_value_and_not_the_clip(value: float, weight: int) -> None:
    numbers = Numbers(4, 20, 0.5, 100)
    (q,) = quantize(numbers, [value], weight, np.zeros(1, "<u4"))
    exact = max(-0.5, min(0.5, value * weight / 100)) / numbers.step
    assert exact - 1.001 <= q <= exact + 0.001


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        case("V7", "clip 0", {"clip": 0.0}),
        case("V7", "clip −0", {"clip": -0.0}),
        case("V7", "negative clip", {"clip": -0.5}),
        case("V7", "infinite clip", {"clip": math.inf}),
        case("V7", "clip that is no number", {"clip": math.nan}),
        case("V7", "clip so small that its scale would be infinite", {"clip": 5e-324}),
        case("V7", "clip just below 2^−512", {"clip": math.nextafter(2.0**-512, 0)}),
        case("V7", "clip just above 2^512", {"clip": math.nextafter(2.0**512, math.inf)}),
        case("V7", "one bit", {"bits": 1}),
        case("V7", "no bits", {"bits": 0}),
        case("V7", "33 bits", {"bits": 33}),
        case("V7", "greatest weight 0", {"greatest_weight": 0}),
        case("V7", "negative greatest weight", {"greatest_weight": -1}),
        case("V7", "greatest weight 2^32", {"greatest_weight": 2**32}),
        case("V7", "nobody", {"clients": 0}),
    ],
)
def test_v7_numbers_out_of_bounds(rule: str, change: dict[str, float]) -> None:
    good = {"clients": 3, "bits": 16, "clip": 0.5, "greatest_weight": 10}
    assert Numbers(**good)
    with refused(rule) as caught:
        Numbers(**(good | change))
    (field,) = change
    assert isinstance(caught.value, ConfigError)
    assert caught.value.key == ("training.clients_per_round" if field == "clients" else f"aggregation.{field}")


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("clip", [2.0**-512, 2.0**512])
def test_nothing_overflows_at_the_bounds_of_the_clip(bits: int, clip: float) -> None:
    """Zero stays zero, ±clip becomes ±Q, and a mean comes back finite, with the greatest weight there is."""
    numbers = Numbers(2**20, bits, clip, 2**32 - 1)
    q = quantize(numbers, [0.0, clip, -clip], 2**32 - 1, np.zeros(3, "<u4"))
    assert q == [0, numbers.greatest, -numbers.greatest]
    lanes = np.array([value + numbers.greatest for value in q], "<u8")
    assert numbers.mean(lanes, 1, 1).tolist() == pytest.approx([0.0, clip * (2**32 - 1), -clip * (2**32 - 1)])


@given(st.integers(0, 2**64 - 1), st.integers(2, 32))
def test_digits_round_trip(value: int, bits: int) -> None:
    numbers = Numbers(2, bits, 1.0)
    digits = to_digits(value, bits - 1, numbers.digits).tolist()
    assert len(digits) == numbers.digits == math.ceil(64 / (bits - 1))
    assert all(0 <= digit < 2 ** (bits - 1) for digit in digits)
    assert sum(digit * 2 ** ((bits - 1) * at) for at, digit in enumerate(digits)) == value


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9), st.integers(2, 32))
def test_sums_of_digits_are_the_digits_of_no_number_and_still_the_sum(values: list[int], bits: int) -> None:
    columns = zip(*(to_digits(v, bits - 1, Numbers(2, bits, 1.0).digits).tolist() for v in values), strict=True)
    assert sum_of_digits([sum(column) for column in columns], bits - 1) == sum(values)


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.integers(1, 1000)), min_size=1, max_size=9))
def test_metrics_come_back_as_their_weighted_mean(entries: list[tuple[float, int]]) -> None:
    total = sum(metric_to_integer("loss", value, weight) for value, weight in entries)
    weight = sum(w for _, w in entries)
    exact = math.fsum(value * w for value, w in entries) / weight
    assert metric_from_sum(total, len(entries), weight) == pytest.approx(exact, abs=len(entries) * 2.0**-24 / weight)


@pytest.mark.parametrize(
    ("rule", "value", "weight"),
    [
        case("V6", "NaN", math.nan, 1),
        case("V6", "infinite", math.inf, 1),
        case("V6", "minus infinite", -math.inf, 1),
        case("V6", "over 2^37 alone", math.nextafter(2.0**37, math.inf), 1),
        case("V6", "over 2^37 with its weight", 2.0**36 + 1, 2),
        case("V6", "under −2^37", -(2.0**36) - 1, 2),
        case("V6", "infinite with its weight", 1e308, 2**32 - 1),
    ],
)
def test_v6_metrics_that_do_not_fit(rule: str, value: float, weight: int) -> None:
    with refused(rule) as caught:
        metric_to_integer("loss", value, weight)
    assert "'loss'" in str(caught.value)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_greatest_metric_is_a_63_bit_integer(sign: int) -> None:
    assert 0 <= metric_to_integer("loss", sign * 2.0**37, 1) < 2**63
