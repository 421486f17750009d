"""The simulated adversary: our schemes withstand it, it does what it says, and it finds what is broken."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from securefed.audit.machine import adversary_machine
from securefed.audit.round import Round
from securefed.audit.schedule import FAULTS, Fault, schedule
from securefed.audit.simulation import MakeRound, own_round, replay, shortest, simulate
from securefed.audit.tally import simulate_many
from securefed.crypto.hashing import digest_in_domain
from tests.audit.broken.answered_too_often import CountsTwice, RollsBack, TwoFaced
from tests.audit.broken.wrapping import Broken, ClientInFront, ServerInFront
from tests.audit.broken.wrong_sums import DependsOnTheOrder
from tests.audit.rounds import Masks

SEEDS = 2000 if os.environ.get("SECUREFED_TEST_DEPTH") == "deep" else 120

TestAdversaryMachine = adversary_machine(own_round).TestCase


def test_no_seed_breaks_an_invariant() -> None:
    """Rounds of our own schemes; many of them end with a sum all the same."""
    for tally in simulate_many(SEEDS):
        last = tally
    assert not last.violations, last.violations[0].told()
    assert last.rounds == SEEDS
    assert last.ended["completed"] > SEEDS / 4
    assert last.ended["aborted"] > SEEDS / 10
    assert last.faults.keys() == FAULTS.keys()
    assert {"R3", "R4", "R5", "R6", "W8", "W12"} <= last.refused.keys()


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_a_seed_always_does_the_same(seed: int) -> None:
    assert replay(seed) == replay(seed)
    assert schedule(seed, own_round(seed)) == schedule(seed, own_round(seed))


def test_seeds_differ() -> None:
    assert len({replay(seed) for seed in range(30)}) == 30


def test_every_kind_of_fault_does_something() -> None:
    """Alone, and in some round: events that the same round without it does not have."""
    told: Counter[str] = Counter()
    for seed in range(3):
        quiet = simulate(seed, faults=())
        assert quiet.ended == "completed"
        for fault in _one_of_each(own_round(seed)):
            told[fault.kind] += simulate(seed, faults=(fault,)).events != quiet.events
    assert {kind for kind in FAULTS if told[kind]} == FAULTS.keys()


def _one_of_each(round_: Round) -> list[Fault]:
    """At the update, where requests differ, and behind it, where there is an earlier stage to replay or lie about."""
    stages = round_.stages[2:4] or round_.stages
    return [Fault(kind, stage, round_.cohort[1], 0xE468ACE1) for kind in FAULTS for stage in stages]


def made_by(suite: Masks, client: Any = None, server: Any = None) -> MakeRound:
    """Rounds of a broken scheme, the same for the same seed."""

    def make(seed: int) -> Round:
        suite.secret = digest_in_domain("broken", seed.to_bytes(8, "big"))
        if client is not None:
            suite.Client = client  # type: ignore[attr-defined]
        if server is not None:
            suite.Server = server  # type: ignore[attr-defined]
        return suite.make_round(suite.contributions(seed=seed))

    return make


class Escapes(ClientInFront):
    """Reads what it has not checked."""

    def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
        if len(request) % 8 == 1:
            raise IndexError("read beyond the end")
        return super().reply(request, update)


class SaysSo(ServerInFront):
    """Names a survivor that never sent anything."""

    @property
    def aggregate(self) -> Any:
        result = super().aggregate
        return result and replace(result, survivors=self.own.spec.cohort)


FOUND = [
    pytest.param(made_by(DependsOnTheOrder()), "drop request", "exact sum", id="a sum that depends on the order"),
    pytest.param(made_by(Broken(), server=SaysSo), "drop reply", "exact sum", id="a survivor that never sent anything"),
    pytest.param(made_by(Broken(), client=Escapes), "cut request", "closed errors", id="an exception that escapes"),
    pytest.param(made_by(TwoFaced()), "two stories", "one kind of share", id="two sets of survivors answered"),
    pytest.param(made_by(RollsBack()), "crash client", "one mask", id="masked again after a restart"),
]


@pytest.mark.parametrize(("make", "kind", "invariant"), FOUND)
def test_what_is_broken_is_found_and_told_in_few_faults(make: MakeRound, kind: str, invariant: str) -> None:
    """By seeds that hold the kind of fault that matters."""
    outcomes = (simulate(seed, make) for seed in range(3000) if any(f.kind == kind for f in schedule(seed, make(seed))))
    outcome = next(o for o in outcomes if o.violation is not None and o.violation.invariant == invariant)
    fewer = shortest(outcome, make)
    assert fewer.violation is not None
    assert fewer.violation.invariant == invariant
    assert len(fewer.faults) <= 2
    told = fewer.told()
    assert f"seed {outcome.seed}" in told
    assert f"VIOLATED  {invariant}" in told
    assert all(str(event) in told for event in fewer.events)


def test_a_repeated_answer_must_not_spoil_a_round() -> None:
    make = made_by(CountsTwice())
    repeated = Fault("duplicate reply", "input", make(0).cohort[0], 0)
    violation = simulate(0, make, (repeated,)).violation
    assert violation is not None
    assert violation.invariant == "a cause"
    lost = Fault("drop reply", "input", make(0).cohort[1], 0)
    assert simulate(0, make, (repeated, lost)).violation is None


def test_no_secret_is_told() -> None:
    """Events and faults hold names, ids, rules and lengths: no bytes of any message."""
    told = "\n".join(simulate(seed).told() for seed in range(20))
    assert "b'" not in told
    assert "\\x" not in told
