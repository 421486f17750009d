"""The bounds that settle comparisons: they contain the true weights, and they close in."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.dp.noise.bessel import LARGE, by_hankel, by_recurrence, saddle_point
from securefed.dp.noise.bounds import exponential
from securefed.dp.noise.discrete_gaussian import DiscreteGaussian
from securefed.dp.noise.law import Law
from securefed.dp.noise.skellam import Skellam

mpmath = pytest.importorskip("mpmath", reason="mpmath is the independent judge here")


@pytest.fixture(autouse=True)
def many_digits() -> Iterator[None]:
    with mpmath.workdps(700):
        yield


def scaled(number: Any, bits: int) -> Any:
    return mpmath.ldexp(number, bits)


@given(
    exponent=st.one_of(st.fractions(0, 2000), st.fractions(0, Fraction(1, 10**6)), st.integers(0, 1500).map(Fraction)),
    bits=st.integers(8, 1200),
)
def test_exponential(exponent: Fraction, bits: int) -> None:
    low, high = exponential(exponent, bits)
    true = scaled(mpmath.exp(-mpmath.mpf(exponent.numerator) / exponent.denominator), bits)
    assert low <= true <= high
    assert high - low <= 2


@pytest.mark.parametrize("bits", [8, 100, 300])
def test_exponential_a_hair_below_a_whole_number(bits: int) -> None:
    """2^bits·exp(−2^(−bits − 70)) is 2^bits less 2^-70: a bound that is rounded the wrong way shows here."""
    low, high = exponential(Fraction(1, 2 ** (bits + 70)), bits)
    assert low == 2**bits - 1
    assert high in (2**bits, 2**bits + 1)


def test_exponential_of_anything_large_is_nearly_zero() -> None:
    for exponent in (Fraction(10**9), Fraction(10**30), Fraction(10**400)):
        low, high = exponential(exponent, 512)
        assert (low, high) == (0, 1)


@pytest.mark.parametrize("v", [Fraction(1, 2**20), Fraction(1, 3), Fraction(7), Fraction(1000, 7), Fraction(16383)])
def test_recurrence(v: Fraction) -> None:
    bits = 200
    table = by_recurrence(v, bits)
    with mpmath.workdps(100):
        argument = mpmath.mpf(v.numerator) / v.denominator
        zero = mpmath.besseli(0, argument)
        for k in (0, 1, 2, 7, len(table) // 4, len(table) // 2, len(table) - 1):
            low, high = table[k]
            true = scaled(mpmath.besseli(k, argument) / zero, bits)
            assert low <= true <= high, k
            assert high - low <= 2
    assert table[-1][1] <= 2, "beyond the table weights are nearly zero"


@pytest.mark.parametrize("v", [Fraction(LARGE), Fraction(10**5, 3), Fraction(2**26)])
@pytest.mark.parametrize("deviations", [0, 0.01, 1, 3, 6, 12])
@pytest.mark.parametrize("bits", [256])
def test_hankel(v: Fraction, deviations: float, bits: int) -> None:
    k = int(deviations * float(v) ** 0.5)
    with mpmath.workdps(120):
        argument = mpmath.mpf(v.numerator) / v.denominator
        low, high = by_hankel(k, v, bits)
        true = scaled(mpmath.sqrt(2 * mpmath.pi * argument) * scaled_bessel(k, argument), bits)
        assert low <= true <= high
        assert high - low <= 4
        low, high = Skellam(v).bounds(k, bits)
        true = scaled(scaled_bessel(k, argument) / scaled_bessel(0, argument), bits)
        assert low <= true <= high
        assert high - low <= 4


def test_hankel_against_the_recurrence() -> None:
    """At many orders and precisions, so that an interval a hundredth too short shows."""
    v, fine = Fraction(LARGE), 320
    table = by_recurrence(v, fine)
    low_zero, high_zero = by_hankel(0, v, fine)
    for bits in range(12, 44):
        for k in range(bits % 7, 700, 7):
            low, high = by_hankel(k, v, bits)
            drop = 2 * fine - bits
            assert low << drop <= table[k][0] * low_zero, (k, bits)
            assert table[k][1] * high_zero <= high << drop, (k, bits)


def scaled_bessel(k: int, v: Any) -> Any:
    """e^(−v)·I_k(v) by the trapezoidal rule, which converges geometrically: independent of any expansion.

    With steps of a quarter of 1/√v its error is about e^(−(8π)²/2), relative; what is cut off, beyond 30/√v, e^(−450).
    """
    spread = mpmath.sqrt(v)
    with mpmath.extradps(30):
        alpha = mpmath.asinh(k / v)
        s = mpmath.sqrt(v * v + k * k)
        step = 1 / (4 * spread)
        half = 30 * 4
        total = mpmath.mpf(0)
        for j in range(-half, half + 1):
            t = j * step
            total += mpmath.exp(-s * (1 - mpmath.cos(t))) * mpmath.cos(k * (t - mpmath.sin(t)))
        return mpmath.exp(s - v - k * alpha) * total * step / (2 * mpmath.pi)


def test_hankel_says_where_it_is_not_sharp_enough() -> None:
    with pytest.raises(ArithmeticError, match="not sharp enough"):
        by_hankel(0, Fraction(16), 512)


@given(
    v=st.builds(Fraction, st.integers(LARGE, 2**60), st.integers(1, 9)).filter(lambda v: v >= LARGE),
    deviations=st.floats(0, 15),
)
@settings(max_examples=60)
def test_saddle_point_holds_what_it_promises(v: Fraction, deviations: float) -> None:
    law = Skellam(v)
    k = int(deviations * float(v) ** 0.5)
    check_doubles(law, k)


@given(variance=st.fractions(Fraction(1, 2**8), 2**60), deviations=st.floats(0, 20))
def test_exponential_in_doubles_holds_what_it_promises(variance: Fraction, deviations: float) -> None:
    check_doubles(DiscreteGaussian(variance), int(deviations * float(variance) ** 0.5))


@given(v=st.fractions(Fraction(1, 2**20), LARGE - 1), deviations=st.floats(0, 20))
@settings(max_examples=20)
def test_recurrence_in_doubles_holds_what_it_promises(v: Fraction, deviations: float) -> None:
    check_doubles(Skellam(v), int(deviations * float(v) ** 0.5))


def check_doubles(law: Law, k: int) -> None:
    value, error = law.weights(np.array([k, -k]))
    assert value[0] == value[1]
    assert error[0] == error[1]
    bits = 600
    low, high = law.bounds(k, bits)
    centre, slack = Fraction(value[0]), Fraction(error[0])
    assert centre - slack <= Fraction(high, 2**bits)
    assert Fraction(low, 2**bits) <= centre + slack
    assert centre - slack <= Fraction(low, 2**bits), "the whole interval"
    assert Fraction(high, 2**bits) <= centre + slack
    assert error[0] <= 1e-6 * value[0] + 1e-6, "and it says something"


def test_saddle_point_gives_up_far_out() -> None:
    """Beyond v/8 it says only that the weight is nearly nothing, which is true."""
    v = Fraction(LARGE)
    value, error = saddle_point(np.array([LARGE // 8 + 1, LARGE]), v)
    assert (value - error <= 0).all()
    for k, top in zip((LARGE // 8 + 1, LARGE), value + error, strict=True):
        low, _ = Skellam(v).bounds(k, 1024) if k < LARGE else (0, 0)
        assert Fraction(low, 2**1024) <= Fraction(top)
