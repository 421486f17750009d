"""A property suite for anyone's secure aggregation, run by pytest.

    class TestMine(AggregationProperties):
        def make_round(self, contributions):
            return Round(...)

One test a property; its docstring is what is claimed. A property whose hook the adapter lacks is skipped with the
reason, never passed. `docs/how-to/audit-your-aggregation.md` shows an adapter from the first line to the last.
"""

from __future__ import annotations

from enum import StrEnum
from unittest import SkipTest

from securefed.audit.answers import AnswerProperties
from securefed.audit.audited import Audited, PropertyViolated
from securefed.audit.round import Client, ClientId, Contribution, Round, Server, Sum, Words, sum_of
from securefed.audit.secrecy import SecrecyProperties
from securefed.audit.sums import SumProperties
from securefed.audit.views import ViewProperties

__all__ = [
    "AggregationProperties", "Client", "ClientId", "Contribution", "PropertyViolated", "Round", "Server", "Sum",
    "Verdict", "Words", "sum_of", "verdicts",
]  # fmt: skip


class AggregationProperties(ViewProperties, AnswerProperties, SecrecyProperties, SumProperties):
    """All properties. A subclass says in `make_round` how a round of its protocol is made."""


class Verdict(StrEnum):
    """How a property came out."""

    HOLDS = "holds"
    VIOLATED = "violated"
    SKIPPED = "skipped"


def verdicts(suite: Audited) -> dict[str, tuple[Verdict, str]]:
    """All properties of a suite without pytest: by name, how each came out and why."""
    found: dict[str, tuple[Verdict, str]] = {}
    for name, check in type(suite).properties().items():
        try:
            check(suite)
        except PropertyViolated as problem:
            found[name] = (Verdict.VIOLATED, str(problem))
        except SkipTest as reason:
            found[name] = (Verdict.SKIPPED, str(reason))
        else:
            found[name] = (Verdict.HOLDS, "")
    return found
