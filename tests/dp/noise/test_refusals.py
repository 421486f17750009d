"""Parameters that no sampler takes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from securefed.dp.noise import (
    Source,
    add_gaussian,
    bernoulli,
    discrete_gaussian,
    discrete_gaussian_of_variance,
    gaussian,
    skellam,
)
from securefed.errors import ConfigError
from tests.rules import case, refused

NUMBERS = [0, -1, -0.5, float("nan"), float("inf"), -float("inf"), 1e300, 5e-324, True, None, "1", 1j]
INTEGER_SAMPLERS = [discrete_gaussian, discrete_gaussian_of_variance, skellam]


@pytest.mark.parametrize(
    ("rule", "sampler", "number"),
    [case("N1", f"{s.__name__} {number!r}", s, number) for s in INTEGER_SAMPLERS for number in NUMBERS],
)
def test_parameters(rule: str, sampler: Callable[..., Any], number: Any) -> None:
    with refused(rule):
        sampler(Source.fresh(), number, 1)


@pytest.mark.parametrize(
    ("rule", "sampler"),
    [
        case("N1", "sigma just too small", lambda s: discrete_gaussian(s, 2.0**-4 * (1 - 2.0**-53), 1)),
        case("N1", "sigma just too large", lambda s: discrete_gaussian(s, 2.0**48 * (1 + 2.0**-52), 1)),
        case("N1", "v just too small", lambda s: skellam(s, Fraction(1, 2**20 + 1), 1)),
        case("N1", "v just too large", lambda s: skellam(s, 2**96 + 1, 1)),
        case("N1", "probability", lambda s: bernoulli(s, -1e-300, 1)),
        case("N1", "probability above", lambda s: bernoulli(s, 1 + 2.0**-52, 1)),
        case("N1", "probability nan", lambda s: bernoulli(s, float("nan"), 1)),
        case("N1", "deviation", lambda s: add_gaussian(s, np.zeros(3, np.float32), -1.0)),
        case("N1", "deviation nan", lambda s: add_gaussian(s, np.zeros(3, np.float32), float("nan"))),
        case("N1", "deviation inf", lambda s: add_gaussian(s, np.zeros(3, np.float32), float("inf"))),
    ],
)
def test_bounds(rule: str, sampler: Callable[[Source], Any]) -> None:
    with refused(rule):
        sampler(Source.fresh())


@pytest.mark.parametrize(
    ("rule", "size"), [case("N1", repr(size), size) for size in (-1, 1.5, "3", None, np.float64(2))]
)
def test_sizes(rule: str, size: Any) -> None:
    for sampler in (discrete_gaussian, skellam, bernoulli):
        with refused(rule):
            sampler(Source.fresh(), 1, size)
    with refused(rule):
        gaussian(Source.fresh(), size)


@pytest.mark.parametrize(
    "out",
    [np.zeros(4), np.zeros((2, 2), np.float32), np.zeros(8, np.float32)[::2], np.zeros(5, np.float32)],
    ids=["float64", "two dimensions", "strided", "another length"],
)
def test_vectors_that_are_not_filled(out: Any) -> None:
    with pytest.raises(ConfigError):
        gaussian(Source.fresh(), 4, out)
    if len(out) == 4:
        with pytest.raises(ConfigError):
            add_gaussian(Source.fresh(), out, 1.0)


def test_the_bounds_themselves_are_fine() -> None:
    source = Source.fresh()
    for sigma in (2.0**-4, 2.0**48):
        assert abs(discrete_gaussian(source, sigma, 100)).max() < 10 * sigma
    for variance in (Fraction(1, 2**20), Fraction(2**96)):
        assert abs(skellam(source, variance, 100)).max() < 10 * max(1, float(variance)) ** 0.5


def test_none_at_all() -> None:
    source = Source.fresh()
    for values in (discrete_gaussian(source, 3, 0), skellam(source, 3, 0), bernoulli(source, 0.5, 0)):
        assert len(values) == 0
    assert len(gaussian(source, 0)) == 0
    assert repr(source) == "Source(0 bytes used)", "no words are used for nothing"
