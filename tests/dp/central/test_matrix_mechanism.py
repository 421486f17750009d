"""Releases with correlated noise: what they are, who may take part, and that no row of noise covers two sums."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.accounting import Gaussian
from securefed.dp.central.banded import Banded
from securefed.dp.central.matrix_mechanism import MatrixMechanism
from securefed.dp.central.matrix_noise import MatrixNoise
from securefed.dp.central.participation import Attendance, Schema
from securefed.dp.central.strategy import Strategy
from securefed.errors import BudgetExceeded, PersistenceError
from tests.dp.central.dense import toeplitz
from tests.dp.central.spending import Charged
from tests.rules import case, refused

KEY = bytes(range(32))
STRATEGY = Banded.square_root(Schema(6, 2), 4)
SIZE = 50


class Stored:
    """Where a server keeps its state: a file that may fail to be written."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.states: list[bytes] = []
        self.full = False
        self.log = log if log is not None else []

    def __call__(self, state: bytes) -> None:
        if self.full:
            raise PersistenceError("P4", "the disk is full")
        self.states.append(state)
        self.log.append("written")


def mechanism(stored: Stored | None = None, ledger: Charged | None = None, **changes: Any) -> MatrixMechanism:
    arguments: dict[str, Any] = {
        "strategy": STRATEGY, "size": SIZE, "noise_multiplier": 1.5, "bound": 0.4, "cohort": 10.0, "key": KEY,
        "ledger": ledger or Charged(), "persist": stored or Stored(),
    }  # fmt: skip
    return MatrixMechanism(**(arguments | changes))


def total(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SIZE)


def run(at: MatrixMechanism, rows: range, seed: int = 0) -> list[np.ndarray]:
    return [at.mean(row, total(seed + row), [10 * row]) for row in rows]


def test_the_deviation_of_released_sums_is_that_of_the_matrices() -> None:
    """Many entries of one run: rows of A·(mean·m − x) have the covariance (z·C·sens)²·B·Bᵀ."""
    size = 60_000
    at = mechanism(size=size)
    noise = np.array([at.mean(row, np.zeros(size), []) for row in range(6)]) * 10
    B = np.tril(np.ones((6, 6))) @ np.linalg.inv(toeplitz(STRATEGY.coefficients))
    wanted = B @ B.T * (1.5 * 0.4 * STRATEGY.sensitivity) ** 2
    sums = np.cumsum(noise, axis=0)
    scale = np.sqrt(np.outer(wanted.diagonal(), wanted.diagonal()))
    np.testing.assert_allclose(sums @ sums.T / size / scale, wanted / scale, atol=0.02)


def test_uncorrelated_again_the_rows_are_independent_of_the_claimed_deviation() -> None:
    """What the guarantee stands on: C applied to the noise gives independent rows of z·C·sens(C)."""
    size = 60_000
    at = mechanism(size=size)
    noise = np.array([at.mean(row, np.zeros(size), []) for row in range(6)]) * 10
    rows = toeplitz(STRATEGY.coefficients) @ noise / (1.5 * 0.4 * STRATEGY.sensitivity)
    np.testing.assert_allclose(rows @ rows.T / size, np.eye(6), atol=0.025)


def test_the_sum_goes_through_and_one_event_is_charged_before_the_first_row() -> None:
    log: list[str] = []
    stored, ledger = Stored(log), Charged(log)
    at = mechanism(stored, ledger)
    huge = total(1) * 1e9
    mean = at.mean(0, huge, [1, 2])
    np.testing.assert_allclose(mean * 10, huge, atol=100)
    run(at, range(1, 6))
    assert ledger.events == [Gaussian(1.5)] == [at.event]
    assert log == ["charged"] + ["written"] * 6


def test_nothing_is_drawn_where_the_budget_is_used_up() -> None:
    stored = Stored()
    at = mechanism(stored, Charged(most=0))
    with pytest.raises(BudgetExceeded):
        at.mean(0, total(0), [1])
    assert (at.drawn, stored.states, at.attendance.seen) == (0, [], {})


@given(st.integers(0, 5))
def test_a_run_that_is_taken_up_goes_on_as_if_it_had_not_stopped(stop: int) -> None:
    whole = run(mechanism(), range(6))
    stored = Stored()
    first = run(mechanism(stored), range(stop + 1))
    # The last round is released again: its mean may not have come through.
    ledger = Charged()
    again = run(mechanism(ledger=ledger, state=stored.states[-1]), range(stop, 6))
    for wanted, found in zip(whole, [*first, *again[1:]], strict=True):
        assert np.array_equal(wanted, found)
    assert np.array_equal(first[-1], again[0])
    assert ledger.events == []


@pytest.mark.rule("M4")
def test_a_row_is_not_used_for_another_sum() -> None:
    stored = Stored()
    at = mechanism(stored)
    run(at, range(3))
    for server in (at, mechanism(state=stored.states[-1])):
        for other, clients in ((total(77), [20]), (total(2), [20, 21]), (total(2), [])):
            with refused("M4"):
                server.mean(2, other, clients)
        # It may be released as the next round, by clients that have not taken part.
        server.mean(3, total(77), [77])


def test_an_older_state_draws_other_noise_for_another_sum() -> None:
    """A copy of the state is taken up after the original went on: no difference of releases is free of noise."""
    stored = Stored()
    at = mechanism(stored, bound=1e-3)
    run(at, range(2))
    released = at.mean(2, total(2), [20])
    older = mechanism(state=stored.states[1], bound=1e-3)
    changed = total(2)
    changed[0] += 1e-9
    other = older.mean(2, changed, [20])
    noise = (released - total(2) / 10, other - changed / 10)
    assert not np.isclose(noise[0], noise[1], rtol=1e-6, atol=0).any()
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.9  # earlier rows are the same, and correlated with both
    assert np.array_equal(mechanism(state=stored.states[1], bound=1e-3).mean(2, total(2), [20]), released)


def test_a_row_that_was_not_written_is_not_released() -> None:
    stored = Stored()
    at = mechanism(stored)
    stored.full = True
    for _ in range(2):
        with pytest.raises(PersistenceError):
            at.mean(0, total(0), [0])
    stored.full = False
    assert np.array_equal(at.mean(0, total(0), [0]), mechanism().mean(0, total(0), [0]))
    assert len(stored.states) == 1


@pytest.mark.parametrize(
    ("rule", "row", "clients"),
    [
        case("M3", "too early", 3, [20]),
        case("M3", "one of several too early", 3, [7, 8, 20]),
        case("M3", "twice in one round", 3, [7, 7]),
        case("M4", "skipped row", 4, [7]),
        case("M4", "earlier row", 1, [10]),
        case("M4", "negative row", -1, [7]),
    ],
)
def test_rounds_refused(rule: str, row: int, clients: list[int]) -> None:
    stored = Stored()
    at = mechanism(stored)
    run(at, range(3))
    seen = dict(at.attendance.seen)
    for server in (at, mechanism(state=stored.states[-1])):
        with refused(rule):
            server.mean(row, total(abs(row)), clients)
        assert (server.drawn, server.attendance.seen) == (3, seen)


@pytest.mark.rule("M3")
def test_a_client_that_took_part_as_often_as_it_may_is_refused() -> None:
    at = mechanism(strategy=Banded.square_root(Schema(6, 2, 2), 2))
    for row in (0, 1, 2):
        at.mean(row, total(row), [row % 2])
    with refused("M3"):
        at.mean(3, total(3), [0])
    at.mean(3, total(3), [1])
    at.mean(4, total(4), [9])
    with refused("M3"):
        at.mean(5, total(5), [0])


@given(st.integers(1, 7), st.integers(0, 4), st.lists(st.booleans(), min_size=8, max_size=8))
def test_attendance_allows_exactly_the_patterns_of_the_schema(separation: int, most: int, taken: list[bool]) -> None:
    schema = Schema(8, separation, most)
    attendance, kept = Attendance(schema), list[int]()
    for row in itertools.compress(range(8), taken):
        allowed = len(kept) < schema.participations and (not kept or row - kept[-1] >= separation)
        assert attendance.eligible([5, 3], row) == ([5, 3] if allowed else [5])
        assert (attendance.why_not(3, row) is None) == allowed
        if allowed:
            attendance.record([3], row)
            kept.append(row)
    assert attendance.seen == ({3: (kept[-1], len(kept))} if kept else {})


@pytest.mark.rule("M4")
def test_there_is_no_row_after_the_last() -> None:
    at = mechanism()
    run(at, range(6))
    with refused("M4"):
        at.mean(6, total(6), [])
    noise = MatrixNoise(Banded.independent(Schema.once(1)), 3, KEY)
    noise.next(b"")
    with refused("M4"):
        noise.next(b"")


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        case("U6", "nan", np.full(SIZE, np.nan)),
        case("U6", "length", np.zeros(SIZE + 1)),
        case("U6", "float32", np.zeros(SIZE, np.float32)),
    ],
)
def test_sums_refused(rule: str, values: np.ndarray) -> None:
    at = mechanism()
    with refused(rule):
        at.mean(0, values, [1])
    assert at.drawn == 0


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        case("U4", "no noise", {"noise_multiplier": 0.0}),
        case("U4", "nan bound", {"bound": float("nan")}),
        case("U4", "no cohort", {"cohort": 0.0}),
    ],
)
def test_numbers_refused(rule: str, change: dict[str, Any]) -> None:
    with refused(rule):
        mechanism(**change)


def a_state() -> bytes:
    stored = Stored()
    run(mechanism(stored), range(2))
    return stored.states[-1]


@pytest.mark.parametrize("at", [0, 7, 8, 39, 40, 44, 60, -1])
def test_a_changed_state_is_refused(at: int) -> None:
    state = bytearray(a_state())
    state[at] ^= 1
    with pytest.raises(PersistenceError, match="P1"):
        mechanism(state=bytes(state))


def test_a_cut_state_is_refused() -> None:
    state = a_state()
    for length in (0, 7, 8, 39, 40, 43, 44, 100, len(state) - 1):
        with pytest.raises(PersistenceError, match="P1"):
            mechanism(state=state[:length])
    with pytest.raises(PersistenceError, match="P1"):
        mechanism(state=state + b"\0")


@pytest.mark.parametrize(
    "change",
    [
        {"key": bytes(32)},
        {"bound": 0.5},
        {"noise_multiplier": 1.6},
        {"cohort": 11.0},
        {"size": SIZE + 1},
        {"strategy": Banded.square_root(Schema(6, 2), 3)},
        {"strategy": Banded.square_root(Schema(6, 1), 4)},
    ],
    ids=lambda change: min(change),
)
def test_a_state_of_another_run_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PersistenceError, match="P3"):
        mechanism(state=a_state(), **change)


def test_a_state_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = a_state()
    monkeypatch.setattr("securefed.dp.central.matrix_state.VERSION", 2)
    with pytest.raises(PersistenceError, match="P2"):
        mechanism(state=state)


def test_nothing_shows_the_key_or_the_noise() -> None:
    at = mechanism()
    run(at, range(2))
    assert repr(at) == "MatrixMechanism(rounds=6, drawn=2)"
    noise = MatrixNoise(STRATEGY, 3, KEY)
    assert repr(noise) == "MatrixNoise(row=-1, size=3)"
    assert KEY not in at.snapshot()


def test_rows_depend_on_key_row_and_binding() -> None:
    strategy: Strategy = Banded.independent(Schema.once(3))
    first, second = MatrixNoise(strategy, 40, KEY), MatrixNoise(strategy, 40, KEY)
    assert np.array_equal(first.next(b"x"), second.next(b"x"))
    rows = [
        first.next(b"x"), second.next(b"y"), first.next(b"x"), MatrixNoise(strategy, 40, bytes(32)).next(b"x"),
    ]  # fmt: skip
    for one, other in itertools.combinations(rows, 2):
        assert not np.isclose(one, other, rtol=1e-6, atol=0).any()
