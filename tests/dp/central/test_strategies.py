"""Streams, errors and fitting of the strategies."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.central.banded import Banded
from securefed.dp.central.buffered import Buffered
from securefed.dp.central.participation import Schema
from securefed.dp.central.strategies import strategy_from_json
from securefed.dp.central.strategy import BLOCK, Strategy, expected_error
from securefed.dp.central.toeplitz import momentum, square_root
from securefed.errors import ConfigError
from tests.dp.central.dense import greatest_norm, toeplitz, tree_error
from tests.rules import case, refused

pytest.importorskip("scipy", reason="fitting needs scipy")

SCHEMA = Schema(24, 6)
STRATEGIES: list[tuple[str, Callable[[], Strategy]]] = [
    ("independent", lambda: Banded.independent(SCHEMA)),
    ("square root", lambda: Banded.square_root(SCHEMA, 24)),
    ("cut square root", lambda: Banded.square_root(SCHEMA, 5)),
    ("optimised bands", lambda: Banded.optimised(SCHEMA, 6)),
    ("optimised bands, momentum", lambda: Banded.optimised(SCHEMA, 6, "max", momentum(24, 0.9))),
    ("one buffer", lambda: Buffered.optimised(SCHEMA, 1)),
    ("three buffers", lambda: Buffered.optimised(SCHEMA, 3)),
    ("three buffers, momentum", lambda: Buffered.optimised(SCHEMA, 3, "max", momentum(24, 0.9))),
]
each = pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made in STRATEGIES])


def streamed(strategy: Strategy, noise: np.ndarray) -> np.ndarray:
    """C⁻¹·z row by row."""
    rows, buffers = [], np.zeros((strategy.buffers, noise.shape[1]), np.float32)
    for t, fresh in enumerate(noise.astype(np.float32)):
        row = fresh.copy()
        strategy.correlate(t, row, buffers)
        rows.append(row)
    return np.array(rows)


@each
def test_the_stream_is_the_product_with_the_dense_inverse(made: Callable[[], Strategy]) -> None:
    strategy = made()
    noise = np.random.default_rng(3).standard_normal((24, BLOCK + 3)).astype(np.float32)
    wanted = np.linalg.solve(toeplitz(strategy.coefficients), noise.astype(np.float64))
    np.testing.assert_allclose(streamed(strategy, noise), wanted, atol=3e-6)
    np.testing.assert_allclose(
        toeplitz(strategy.noise_coefficients) @ toeplitz(strategy.coefficients), np.eye(24), atol=1e-12
    )


@each
def test_sensitivity_and_error_are_those_of_the_dense_matrices(made: Callable[[], Strategy]) -> None:
    strategy = made()
    C, A = toeplitz(strategy.coefficients), np.tril(np.ones((24, 24)))
    sensitivity = greatest_norm(C, 6, 4, signs=False)
    assert strategy.sensitivity == pytest.approx(sensitivity, rel=1e-8)
    assert strategy.sensitivity >= sensitivity
    rows = ((A @ np.linalg.inv(C)) ** 2).sum(axis=1)
    assert expected_error(strategy) == pytest.approx(sensitivity * np.sqrt(rows.max()), rel=1e-6)
    assert expected_error(strategy, "mean") == pytest.approx(sensitivity * np.sqrt(rows.mean()), rel=1e-6)


@each
def test_the_covariance_of_released_sums_is_that_of_b(made: Callable[[], Strategy]) -> None:
    """Entries of one row are independent, so that rows over many entries show the covariance (A·C⁻¹)(A·C⁻¹)ᵀ."""
    strategy = made()
    noise = np.random.default_rng(5).standard_normal((24, 40_000))
    sums = np.cumsum(streamed(strategy, noise), axis=0, dtype=np.float64)
    B = np.tril(np.ones((24, 24))) @ np.linalg.inv(toeplitz(strategy.coefficients))
    wanted = B @ B.T
    scale = np.sqrt(np.outer(wanted.diagonal(), wanted.diagonal()))
    np.testing.assert_allclose(sums @ sums.T / 40_000 / scale, wanted / scale, atol=0.025)


@each
def test_a_strategy_comes_back_exactly(made: Callable[[], Strategy]) -> None:
    strategy = made()
    again = strategy_from_json(json.loads(json.dumps(strategy.to_json())))
    assert again.to_json() == strategy.to_json()
    assert np.array_equal(again.noise_coefficients, strategy.noise_coefficients)
    assert again.sensitivity == strategy.sensitivity


@pytest.mark.parametrize("stored", [{}, {"schema": [4, 2, 2], "kind": "dense"}, {"schema": [4], "kind": "banded"}])
@pytest.mark.rule("M2")
def test_what_is_no_strategy_is_refused(stored: dict[str, object]) -> None:
    with refused("M2"):
        strategy_from_json(stored)


def test_one_participation_reaches_the_optimum_and_beats_the_others() -> None:
    """Known optimum among Toeplitz matrices: the full square root, whose maximum error is Σ f_t²."""
    once = Schema.once(128)
    optimum = expected_error(Banded.square_root(once, 128))
    assert optimum == pytest.approx(square_root(128) @ square_root(128), rel=1e-6)
    assert expected_error(Buffered.optimised(once, 3, "max")) == pytest.approx(optimum, rel=2e-3)
    assert tree_error(128) > 2.5 * optimum
    assert expected_error(Banded.independent(once)) == pytest.approx(np.sqrt(128))


@pytest.mark.parametrize(("rounds", "separation"), [(96, 16), (200, 100)])
def test_correlated_noise_beats_independent_noise_with_several_participations(rounds: int, separation: int) -> None:
    schema = Schema(rounds, separation)
    errors = [
        expected_error(Banded.independent(schema), "mean"),
        expected_error(Banded.square_root(schema, 8), "mean"),
        expected_error(Banded.optimised(schema, 8), "mean"),
        expected_error(Buffered.optimised(schema, 3), "mean"),
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2.5 * errors[-1]


@pytest.mark.parametrize("error", ["max", "mean"])
def test_fitting_finds_no_worse_than_it_starts_from(error: str) -> None:
    schema, work = Schema(60, 20), momentum(60, 0.95)
    cut = expected_error(Banded.square_root(schema, 7), error, work)
    fitted = expected_error(Banded.optimised(schema, 7, error, work), error, work)
    assert fitted < cut
    for nearby in (0.98, 1.02):
        bands = Banded.optimised(schema, 7, error, work).bands
        moved = Banded(schema, (1.0, bands[1] * nearby, *bands[2:]))
        assert expected_error(moved, error, work) > fitted


@given(st.lists(st.floats(0.05, 0.95), min_size=6, max_size=6), st.integers(2, 30))
def test_interlaced_parameters_always_have_a_known_sensitivity(ratios: list[float], rounds: int) -> None:
    from securefed.dp.central.buffered import _interlaced, _residues

    poles, decays = _interlaced(np.log(np.array(ratios) / (1 - np.array(ratios))))
    schema = Schema(rounds, max(1, rounds // 3))
    strategy = Buffered(schema, tuple(decays), tuple(_residues(decays, poles)))
    column = strategy.coefficients
    assert (column >= 0).all()
    assert (np.diff(column) <= 0).all()
    np.testing.assert_allclose(toeplitz(column) @ toeplitz(strategy.noise_coefficients), np.eye(rounds), atol=1e-9)


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        case("M1", "decay of one", lambda: Buffered(SCHEMA, (1.0,), (-0.1,))),
        case("M1", "negative decay", lambda: Buffered(SCHEMA, (-0.5,), (-0.1,))),
        case("M1", "nan", lambda: Buffered(SCHEMA, (0.5,), (float("nan"),))),
        case("M1", "coefficients that grow", lambda: Buffered(SCHEMA, (0.5,), (0.3,))),
        case("M2", "no buffer", lambda: Buffered(SCHEMA, (), ())),
        case("M2", "unequal numbers", lambda: Buffered(SCHEMA, (0.5,), (-0.1, -0.2))),
        case("M2", "too many buffers", lambda: Buffered.optimised(SCHEMA, 17)),
        case("M2", "more bands than the separation", lambda: Banded.optimised(SCHEMA, 7)),
    ],
)
def test_refused(rule: str, make: Callable[[], Strategy]) -> None:
    with refused(rule):
        make()


def test_fitting_without_scipy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("securefed.dp.central.banded.import_module", missing)
    with pytest.raises(ConfigError, match="scipy"):
        Banded.optimised(SCHEMA, 4)
    assert Banded.square_root(SCHEMA, 4).buffers == 3


@pytest.mark.parametrize("rounds", [1, 2, 3, 500])
def test_fitting_works_for_any_number_of_rounds(rounds: int) -> None:
    for error in ("max", "mean"):
        fitted = Buffered.optimised(Schema.once(rounds), 2, error)
        independent = expected_error(Banded.independent(Schema.once(rounds)), error)
        assert expected_error(fitted, error) <= independent * (1 + 1e-3)
    assert Banded.optimised(Schema.once(rounds), 1).bands == (1.0,)
