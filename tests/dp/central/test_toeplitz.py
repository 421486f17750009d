"""Toeplitz arithmetic and sensitivities against matrices that are written out."""

from __future__ import annotations

from math import comb, log, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.central.banded import Banded
from securefed.dp.central.participation import Schema
from securefed.dp.central.toeplitz import (
    error_weights,
    inverse,
    momentum,
    pattern_sum,
    prefix_sums,
    product,
    sensitivity,
    square_root,
)
from securefed.errors import ConfigError
from tests.dp.central.dense import greatest_norm, toeplitz
from tests.rules import case, refused

Coefficients = st.lists(st.floats(-1, 1), min_size=1, max_size=7)
Schemas = st.builds(lambda n, b, k: Schema(n, min(b, n), k), st.integers(1, 8), st.integers(1, 8), st.integers(0, 4))


def test_the_square_root_has_the_published_coefficients() -> None:
    assert square_root(5).tolist() == [1, 1 / 2, 3 / 8, 5 / 16, 35 / 128]
    np.testing.assert_allclose(square_root(300), [comb(2 * t, t) / 4**t for t in range(300)], rtol=1e-12)


@pytest.mark.parametrize("rounds", [1, 2, 7, 100])
def test_the_square_root_squared_is_the_prefix_sums(rounds: int) -> None:
    np.testing.assert_allclose(product(square_root(rounds), square_root(rounds)), prefix_sums(rounds), rtol=1e-12)


def test_its_error_grows_as_published() -> None:
    """Σ f_t² = (ln n + γ + ln 16)/π + o(1) (Henzinger, Upadhyay 2022; Dvijotham et al. 2024, section 1)."""
    n = 10**5
    assert square_root(n) @ square_root(n) == pytest.approx((log(n) + np.euler_gamma + log(16)) / pi, abs=1e-5)


def test_momentum_is_the_product_of_two_sums() -> None:
    beta = 0.9
    np.testing.assert_allclose(momentum(20, beta), product(prefix_sums(20), beta ** np.arange(20)))
    assert momentum(6, 0.0).tolist() == [1] * 6


@given(Coefficients, st.integers(1, 12))
def test_inverse_and_product_are_those_of_matrices(tail: list[float], rounds: int) -> None:
    column = np.zeros(rounds)
    column[: len(tail) + 1] = [1.5, *tail][:rounds]
    found = inverse(column, len(tail) + 1)
    scale = np.abs(found).max()
    np.testing.assert_allclose(toeplitz(column) @ toeplitz(found), np.eye(rounds), atol=1e-9 * scale)
    np.testing.assert_allclose(toeplitz(product(column, found)), toeplitz(column) @ toeplitz(found), atol=1e-9 * scale)


@given(Schemas, st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_sensitivity_of_falling_coefficients_is_the_greatest_over_all_patterns(
    schema: Schema, steps: list[float]
) -> None:
    n = schema.rounds
    column = np.array([1.0, *np.cumprod(steps)])[:n]
    exact = greatest_norm(toeplitz(column), schema.separation, schema.participations)
    found = sensitivity(column, n, schema)
    assert exact * (1 - 1e-9) <= found <= exact * (1 + 1e-8)


@given(Schemas, Coefficients)
def test_sensitivity_of_few_bands_is_the_greatest_over_all_patterns_and_signs(
    schema: Schema, tail: list[float]
) -> None:
    bands = min(len(tail) + 1, schema.separation)
    column = np.zeros(schema.rounds)
    column[:bands] = [1.0, *tail][:bands]
    exact = greatest_norm(toeplitz(column), schema.separation, schema.participations)
    found = sensitivity(column, bands, schema)
    assert exact * (1 - 1e-9) <= found <= exact * (1 + 1e-8)


@given(Schemas, st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_pattern_sum_is_the_sum_of_the_columns(schema: Schema, values: list[float]) -> None:
    column = np.array(values[: schema.rounds])
    at = [j * schema.separation for j in range(schema.participations)]
    np.testing.assert_allclose(pattern_sum(column, schema), toeplitz(column)[:, at].sum(axis=1), atol=1e-12)


def test_more_columns_than_the_schema_names_would_show() -> None:
    """The reason for k: a client that took part once more moves the release by more."""
    once, twice = Schema(8, 4, 1), Schema(8, 4, 2)
    column = square_root(8)
    assert sensitivity(column, 8, twice) > 1.3 * sensitivity(column, 8, once)


@pytest.mark.parametrize("error", ["max", "mean"])
def test_error_weights_are_those_of_the_dense_product(error: str) -> None:
    rows = (toeplitz(square_root(9)) ** 2).sum(axis=1)
    wanted = rows.max() if error == "max" else rows.mean()
    assert error_weights(9, error) @ square_root(9) ** 2 == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("rule", "bands", "separation"),
    [
        case("M1", "nan", (1.0, float("nan")), 8),
        case("M1", "infinite first", (float("inf"),), 8),
        case("M1", "first zero", (0.0, 1.0), 8),
        case("M1", "first negative", (-1.0, 0.5), 8),
        case("M1", "growing beyond the separation", (1.0, 0.2, 0.3), 2),
        case("M1", "negative beyond the separation", (1.0, 0.2, -0.1), 2),
        case("M1", "falling below zero", (1.0, 0.2, *[-0.1] * 6), 2),
        case("M2", "no band", (), 8),
        case("M2", "more bands than rounds", (1.0,) * 9, 8),
    ],
)
def test_strategies_refused(rule: str, bands: tuple[float, ...], separation: int) -> None:
    with refused(rule):
        Banded(Schema(8, separation), bands)


def test_growing_coefficients_are_allowed_within_the_separation() -> None:
    assert Banded(Schema(8, 3), (1.0, 0.2, 0.3)).sensitivity == pytest.approx(np.sqrt(1.13 * 2 + 1.04), rel=1e-6)


@pytest.mark.parametrize(
    ("rule", "rounds", "separation", "participations"),
    [
        case("M2", "no rounds", 0, 1, 1),
        case("M2", "too many rounds", 10**5 + 1, 1, 1),
        case("M2", "no separation", 5, 0, 1),
        case("M2", "more separation than rounds", 5, 6, 1),
        case("M2", "negative participations", 5, 2, -1),
    ],
)
def test_schemas_refused(rule: str, rounds: int, separation: int, participations: int) -> None:
    with refused(rule):
        Schema(rounds, separation, participations)


def test_a_schema_allows_as_often_as_the_separation_does() -> None:
    assert Schema(10, 3).participations == Schema(10, 3, 9).participations == 4
    assert Schema.once(10).participations == 1


def test_an_unknown_error_is_refused() -> None:
    with pytest.raises(ConfigError, match="M2"):
        error_weights(5, "median")
