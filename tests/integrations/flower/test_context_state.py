"""A client's state in Flower's context."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import ConfigRecord, RecordDict

from securefed.errors import LocalProtocolError
from securefed.integrations.flower.context_state import ContextState

SESSION, OTHER = bytes(32), bytes([1]) * 32


def again(records: RecordDict) -> ContextState:
    """What another process takes up: the context, and nothing else."""
    return ContextState(RecordDict({name: ConfigRecord(dict(record)) for name, record in records.items()}))  # type: ignore[arg-type]


def test_a_step_is_given_once() -> None:
    records = RecordDict()
    record = ContextState(records).record
    assert record.last_round == -1
    record.claim("shares", 5, SESSION)
    record.claim("shares", 5, OTHER)
    assert record.last_round == -1
    record.claim("input", 5, SESSION)
    for state in (ContextState(records), again(records)):
        assert state.record.last_round == 5
        with pytest.raises(LocalProtocolError, match=r"\[R10\].*shares"):
            state.record.claim("shares", 5, SESSION)
        with pytest.raises(LocalProtocolError, match=r"\[R10\].*input"):
            state.record.claim("input", 5, OTHER)
        with pytest.raises(LocalProtocolError, match=r"\[R10\].*input"):
            state.record.claim("input", 4, OTHER)


def test_what_is_kept_does_not_grow() -> None:
    records = RecordDict()
    record = ContextState(records).record
    for number in range(200):
        session = number.to_bytes(32, "big")
        record.claim("shares", number, session)
        record.claim("input", number, session)
    assert record.last_round == 199
    assert len(str(records["securefed"]["claims"])) < 64 * 90
    with pytest.raises(LocalProtocolError, match=r"\[R10\]"):
        record.claim("shares", 199, (199).to_bytes(32, "big"))


def test_sessions_and_key() -> None:
    records = RecordDict()
    state = ContextState(records)
    assert state.sessions() is None
    key = state.rounding_key
    state.store(b"sessions", b"request", b"answer")
    other = again(records)
    assert (other.sessions(), other.rounding_key, len(key)) == (b"sessions", key, 32)
    assert other.answered(b"request") is None
    other.destroy()
    assert other.sessions() is None
    assert other.rounding_key == key
    assert not state.durable
    assert "sessions" not in repr(records["securefed"]).replace("'sessions': b'sessions'", "")
    assert key.hex() not in repr(state)
    with state.lock():
        pass
