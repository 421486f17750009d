"""A ledger under any order of spending, crashing, checkpointing and resuming: nothing released is forgotten."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from securefed.dp.accounting import Event, Gaussian, Head, Ledger, PoissonSampled, Unit, epsilon, renyi
from securefed.errors import BudgetExceeded, PersistenceError

EVENTS = [Gaussian(40.0), Gaussian(60.0), PoissonSampled(0.5, 30.0)]
UNIT, DELTA, BUDGET = Unit("client"), 1e-5, 0.4


class Crash(Exception):
    """The process is gone."""


class Spending(RuleBasedStateMachine):
    """The model is what was released, for `spend` returned. The ledger holds that, and at most what crashed more."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger"
        self.released: Counter[Event] = Counter()
        self.crashed: Counter[Event] = Counter()
        self.kept: list[Head] = []

    @initialize()
    def begin(self) -> None:
        self.ledger = Ledger(UNIT, DELTA, BUDGET, self.path)

    @rule(event=st.sampled_from(EVENTS), times=st.integers(1, 3))
    def spend(self, event: Event, times: int) -> None:
        spent = Counter(dict(self.ledger.events))
        try:
            self.ledger.spend(event, times)
        except BudgetExceeded:
            assert epsilon(spent + Counter({event: times}), DELTA) > BUDGET
        else:
            self.released[event] += times

    @rule(event=st.sampled_from(EVENTS), arrived=st.integers(0, 400))
    def crash_in_mid_write(self, event: Event, arrived: int) -> None:
        write = os.write

        def torn(handle: int, data: bytes) -> int:
            write(handle, data[:arrived])
            raise Crash

        with mock.patch("securefed.dp.accounting.ledger_file.os.write", torn):
            try:
                self.ledger.spend(event)
            except Crash:
                self.crashed[event] += 1
            except BudgetExceeded:
                return
        self.reopen(event)

    @rule(event=st.sampled_from(EVENTS))
    def crash_after_the_write(self, event: Event) -> None:
        with mock.patch("securefed.dp.accounting.ledger_file.os.fsync", side_effect=Crash):
            try:
                self.ledger.spend(event)
            except Crash:
                self.crashed[event] += 1
            except BudgetExceeded:
                return
        self.reopen(event)

    def reopen(self, event: Event) -> None:
        self.ledger.close()
        self.ledger = Ledger.load(self.path, torn=event)

    @rule()
    def checkpoint(self) -> None:
        self.kept.append(self.ledger.head)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """The file is cut at a line before the checkpoint: refused; and put back."""
        head = data.draw(st.sampled_from(self.kept))
        self.ledger.close()
        whole = self.path.read_bytes()
        if head.count:
            lines = whole.splitlines(keepends=True)
            kept = data.draw(st.integers(1, head.count))
            self.path.write_bytes(b"".join(lines[:kept]))
            with Ledger.load(self.path) as older, pytest.raises(PersistenceError, match="D11"):
                older.require(head)
            self.path.write_bytes(whole)
        self.ledger = Ledger.load(self.path)
        self.ledger.require(head)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if not hasattr(self, "ledger"):
            return
        held = Counter(dict(self.ledger.events))
        assert held >= self.released
        assert held <= self.released + self.crashed
        total = renyi.epsilon_of(
            sum(count * renyi.curve(event) for event, count in held.items()) + 0 * renyi.ORDERS, DELTA
        )
        assert min(total, self.ledger.epsilon()) <= BUDGET
        for head in self.kept:
            self.ledger.require(head)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
        self.folder.cleanup()


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
