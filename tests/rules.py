"""Negative tests: one parameter and one marker from the rule's number, and one way to expect a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from securefed.errors import LocalProtocolError, RemoteProtocolError, SecurefedError

_UNCHECKED = -1


def case(rule: str, name: str, *values: Any) -> ParameterSet:
    """A case of `@pytest.mark.parametrize("rule, …")`: the test expects the very rule that its marker names."""
    return pytest.param(rule, *values, id=f"{rule} {name}", marks=pytest.mark.rule(rule))


@contextmanager
def refused(rule: str, peer: int | None = _UNCHECKED) -> Iterator[pytest.ExceptionInfo[SecurefedError]]:
    """Expect an error that names this rule, and this peer where one is given."""
    with pytest.raises(SecurefedError) as caught:
        yield caught
    error = caught.value
    if isinstance(error, RemoteProtocolError | LocalProtocolError):
        assert error.rule == rule, error
    assert f"[{rule}]" in str(error)
    if peer != _UNCHECKED:
        assert isinstance(error, RemoteProtocolError)
        assert error.peer == peer
