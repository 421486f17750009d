"""The ledger and its certificate: refusals at the very step, what is written, and what recomputes."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from securefed.dp.accounting import (
    Certificate,
    DiscreteGaussianSum,
    Event,
    Failure,
    Gaussian,
    Ledger,
    PoissonSampled,
    Skellam,
    TruncatedPoissonSampled,
    Unit,
    epsilon,
    event_from_json,
    recompute,
)
from securefed.dp.accounting.budget import Budget
from securefed.errors import BudgetExceeded, ConfigError
from tests.dp.accounting.books import DELTA, STEP, UNIT, written
from tests.rules import case, refused


@pytest.mark.rule("D9")
@pytest.mark.parametrize("event", [STEP, Gaussian(4.0), Skellam(100, 10.0, 1e4)])
def test_a_budget_is_refused_at_the_very_step(event: Event, path: Path) -> None:
    """With a budget of exactly n steps' ε, n are taken and the next is not; nothing of it is written."""
    n = 37
    with Ledger(UNIT, DELTA, epsilon({event: n}, DELTA), path) as ledger:
        for _ in range(n):
            ledger.spend(event)
        before = path.read_bytes()
        for _ in range(2):
            with pytest.raises(BudgetExceeded, match=r"\[D9\].*sequence"):
                ledger.spend(event)
        assert not ledger.affords(event)
        assert ledger.affords(Gaussian(1e6)) == (ledger.epsilon() < ledger.budget)  # type: ignore[operator]
        assert (path.read_bytes(), ledger.head.count) == (before, n)
        assert ledger.epsilon() == ledger.budget


@pytest.mark.rule("D9")
def test_many_at_once_are_refused_together(path: Path) -> None:
    with Ledger(UNIT, DELTA, epsilon({STEP: 100}, DELTA), path) as ledger:
        with pytest.raises(BudgetExceeded):
            ledger.spend(STEP, 101)
        ledger.spend(STEP, 60)
        with pytest.raises(BudgetExceeded):
            ledger.spend(STEP, 41)
        ledger.spend(STEP, 40)
        assert ledger.events == ((STEP, 100),)


@pytest.mark.rule("D9")
def test_no_noise_fits_no_budget() -> None:
    ledger = Ledger(UNIT, DELTA, 1e6)
    with pytest.raises(BudgetExceeded):
        ledger.spend(Gaussian(0.0))
    Ledger(UNIT, DELTA).spend(Gaussian(0.0))


def test_few_steps_need_the_exact_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine asks before every step: most answers must come without a composition of distributions."""
    asked = Counter[str]()
    exact = Budget._exact

    def counted(self: Budget, events: Counter[Event]) -> float:
        asked["exact"] += 1
        return exact(self, events)

    monkeypatch.setattr(Budget, "_exact", counted)
    ledger = Ledger(UNIT, DELTA, epsilon({STEP: 500}, DELTA))
    for _ in range(500):
        ledger.spend(STEP)
    with pytest.raises(BudgetExceeded):
        ledger.spend(STEP)
    assert 0 < asked["exact"] < 30


def test_a_ledger_goes_on_where_it_was(path: Path) -> None:
    written(path, budget=5.0)
    with Ledger.load(path) as ledger:
        assert (ledger.unit, ledger.delta, ledger.budget) == (UNIT, DELTA, 5.0)
        assert ledger.events == ((STEP, 3), (Gaussian(10.0), 1))
        assert ledger.epsilon() == epsilon({STEP: 3, Gaussian(10.0): 1}, DELTA)
        ledger.spend(STEP)
    with Ledger(UNIT, DELTA, 5.0, path) as again:
        assert list(again) == [(STEP, 1)] * 3 + [(Gaussian(10.0), 1), (STEP, 1)]


EVENTS = [
    STEP,
    Gaussian(1.0),
    TruncatedPoissonSampled(100, 0.1, 50, 1.0),
    Skellam(10, 4.0, 1e3),
    DiscreteGaussianSum(4.0, 10.0, 5, 100),
    DiscreteGaussianSum(4.0, 10.0, 5, 100, l1=5.0),
    Failure(1e-12),
]


@pytest.mark.parametrize("event", EVENTS)
def test_events_survive_json(event: Event) -> None:
    assert event_from_json(json.loads(json.dumps(event.to_json()))) == event


@pytest.mark.parametrize("events", [EVENTS[:3], EVENTS])
def test_a_certificate_recomputes_from_the_ledger_alone(path: Path, events: list[Event]) -> None:
    with Ledger(Unit("user", 1), DELTA, None, path) as ledger:
        for event in events:
            ledger.spend(event, 2)
        certificate = ledger.certificate()
        ledger.spend(STEP)  # it may have gone on since
    text = certificate.to_json()
    read = Certificate.from_json(text)
    assert read == certificate
    assert recompute(text) == certificate.epsilon == epsilon(events * 2, DELTA)
    assert certificate.epsilon_rdp == epsilon(events * 2, DELTA, "rdp")
    assert certificate.accountant == ("pld" if len(events) == 3 else "rdp")
    assert (certificate.neighbours, certificate.unit.name) == ("zero-out", "user")
    read.check(path)
    for changed in (
        text.replace(f'"epsilon": {certificate.epsilon}', '"epsilon": 0.5'),
        text.replace('"unit": "user"', '"unit": "example"'),
        text.replace('"times": 2', '"times": 1', 1),
        text.replace('"neighbours": "zero-out"', '"neighbours": "add-or-remove-one"'),
    ):
        assert changed != text
        with refused("D12"):
            Certificate.from_json(changed).check(path)


@pytest.mark.rule("D12")
def test_a_damaged_certificate_is_refused(path: Path) -> None:
    written(path)
    with Ledger.load(path) as ledger:
        text = ledger.certificate().to_json()
    for bad in ("", "{}", text[:-3], text.replace('"version": 1', '"version": 2'), text.replace("poisson", "fish")):
        with refused("D12"):
            Certificate.from_json(bad)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with refused("D11"):
        Certificate.from_json(text).check(path)


def test_no_noise_is_certified_as_such() -> None:
    ledger = Ledger(UNIT, DELTA)
    ledger.spend(Gaussian(0.0))
    read = Certificate.from_json(ledger.certificate().to_json())
    assert (read.epsilon, read.epsilon_rdp) == (math.inf, math.inf)


def test_the_unit_counts() -> None:
    one, eight = Ledger(UNIT, DELTA), Ledger(Unit("user", 8), DELTA)
    for ledger in (one, eight):
        ledger.spend(Gaussian(16.0))
    assert eight.epsilon() == pytest.approx(epsilon([Gaussian(2.0)], DELTA), rel=1e-4)
    assert eight.epsilon() > 8 * one.epsilon()


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        case("D10", "a budget of 0", lambda: Ledger(UNIT, DELTA, 0.0)),
        case("D10", "a negative budget", lambda: Ledger(UNIT, DELTA, -1.0)),
        case("D10", "an infinite budget", lambda: Ledger(UNIT, DELTA, math.inf)),
        case("D10", "a budget that is not a number", lambda: Ledger(UNIT, DELTA, math.nan)),
        case("D10", "delta of 1", lambda: Ledger(UNIT, 1.0)),
        case("D10", "delta of 0", lambda: Ledger(UNIT, 0.0)),
        case("D10", "a user of unknown size", lambda: Unit("user")),
        case("D10", "a user of no records", lambda: Unit("user", 0)),
        case("D10", "no name", lambda: Unit("")),
        case("D10", "less than no noise", lambda: Gaussian(-1.0)),
        case("D10", "noise that is not a number", lambda: Gaussian(math.nan)),
        case("D10", "a rate of 0", lambda: PoissonSampled(0.0, 1.0)),
        case("D10", "a rate over 1", lambda: PoissonSampled(1.5, 1.0)),
        case("D10", "a cap over all", lambda: TruncatedPoissonSampled(10, 0.1, 11, 1.0)),
        case("D10", "l1 below l2", lambda: Skellam(1, 2.0, 1.0)),
        case("D10", "no variance", lambda: Skellam(2, 1.0, 0.0)),
        case("D10", "sigma below a half", lambda: DiscreteGaussianSum(1.0, 0.4, 2, 1)),
        case("D10", "a probability of 1", lambda: Failure(1.0)),
        case("D10", "an unknown relation", lambda: Gaussian(1.0, "swap")),  # type: ignore[arg-type]
        case("D10", "an unknown event", lambda: event_from_json({"kind": "laplace"})),
        case("D10", "a field too many", lambda: event_from_json({"kind": "failure", "probability": 0.0, "x": 1})),
        case("D10", "zero times", lambda: Ledger(UNIT, DELTA).spend(STEP, 0)),
    ],
)
def test_out_of_range(rule: str, make: object) -> None:
    with refused(rule) as caught:
        make()  # type: ignore[operator]
    assert isinstance(caught.value, ConfigError)


@pytest.mark.rule("D10")
def test_events_of_another_relation_are_refused_and_not_written(path: Path) -> None:
    with Ledger(UNIT, DELTA, None, path) as ledger:
        ledger.spend(STEP)
        before = path.read_bytes()
        with refused("D10"):
            ledger.spend(Gaussian(1.0, "replace-one"))
        assert path.read_bytes() == before
        ledger.spend(Failure(1e-9))
