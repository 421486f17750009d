"""Schemes that are broken on purpose: the suite finds each, by exactly the property that is there for it."""

from __future__ import annotations

import pytest

from securefed.audit.protocol import AggregationProperties, Verdict, verdicts
from tests.audit.broken import answered_too_often, told_too_much, wrong_sums
from tests.audit.broken.wrapping import Broken

BROKEN = [
    scheme
    for module in (wrong_sums, told_too_much, answered_too_often)
    for scheme in vars(module).values()
    if isinstance(scheme, type) and issubclass(scheme, Broken) and scheme.fails
]


@pytest.mark.parametrize("scheme", BROKEN, ids=lambda scheme: scheme.__name__)
def test_a_broken_scheme_fails_in_its_own_property_alone(scheme: type[Broken]) -> None:
    found = verdicts(scheme())
    assert {name: why for name, (verdict, why) in found.items() if verdict is Verdict.VIOLATED}.keys() == {scheme.fails}


def test_every_property_has_a_scheme_that_breaks_it() -> None:
    assert {scheme.fails for scheme in BROKEN} == AggregationProperties.properties().keys()
