"""What a run's report says of its differential privacy."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.report.outcome import remarks
from securefed.report.page import html
from securefed.report.protection import protection
from securefed.report.summary import read_summary
from securefed.report.table import markdown
from securefed.report.units import bound_text

from .conftest import fake_events

PRIVACY = {
    "event": "privacy", "arm": "masks", "kind": "distributed", "unit": "client", "epsilon": 7.912, "delta": 1e-5,
    "planned": 8.0, "facts": [["Noise", "Skellam, <made> by clients."], ["Accountant", "RDP."]],
    "gaps": ["Held-out figures in this report."],
}  # fmt: skip


def test_a_private_run_says_so_everywhere(write: Callable[..., Path]) -> None:
    summary = read_summary(write([*fake_events(), PRIVACY]))
    page, text = html(summary, []), markdown(summary)
    assert "ε = 7.92" in page
    assert "δ = 1e-5, for every client" in page
    assert "Skellam, &lt;made&gt; by clients." in page
    assert "Held-out figures in this report." in page
    assert "- Accountant: RDP." in text
    assert any("ε = 7.92 at δ = 1e-5 for every client" in one for one in remarks(summary))
    assert any("Masking and privacy noise changed" in one for one in remarks(summary))
    assert not any("no differential privacy" in one for one in protection(summary).not_covered)


def test_a_run_without_promises_nothing(write: Callable[..., Path]) -> None:
    summary = read_summary(write(fake_events()))
    assert "Differential privacy</h2>" not in html(summary, [])
    assert "ifferential privacy:" not in markdown(summary)
    assert any("no differential privacy" in one for one in protection(summary).not_covered)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(8.0, "8"), (7.99, "7.99"), (7.9901, "8"), (0.1251, "0.126"), (1e-5, "1e-5"), (1.2301e-6, "1.24e-6"), (0, "0"),
     (123.4, "124"), (float("inf"), "∞")],
)  # fmt: skip
def test_bounds_are_rounded_up(value: float, shown: str) -> None:
    assert bound_text(value) == shown


@given(st.floats(1e-12, 1e6))
def test_a_shown_bound_is_never_below_the_true_one(value: float) -> None:
    assert (
        Fraction(value)
        <= Fraction(bound_text(value)) * (1 + Fraction(1, 10**15))
        <= Fraction(value) * Fraction(102, 100)
    )
