"""What is in clear in the messages: nothing of a node's training, in no message that it sends."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import ArrayRecord, ConfigRecord, Context, Message

from securefed.integrations.flower.records import BYTES, RECORD
from tests.integrations.flower.inproc import shift_of, start_arrays, train
from tests.integrations.flower.jobs import ANY_SCHEME, client_files, secured, start, strategy_of


@pytest.mark.parametrize("scheme", ["masks", "bfv"])
def test_what_clients_send(scheme: str, tmp_path: Path) -> None:
    replied: list[bytes] = []

    def remembering(message: Message, context: Context) -> Message:
        reply = train(message, context)
        for array in reply.content["arrays"].values():
            replied.append(array.numpy().tobytes())
        return reply

    inner, grid = secured(remembering, policy=ANY_SCHEME, configs=client_files(tmp_path), scheme=scheme)
    start(strategy_of(), grid)
    assert len(inner.received) == len(inner.sent) > 9
    for reply, objects in inner.received:
        assert not reply.has_error()
        (name,) = reply.content
        if name == RECORD:
            assert dict(reply.content[RECORD]) == {"client": reply.metadata.src_node_id - 9}
            continue
        assert name == BYTES
        assert list(reply.content[BYTES]) == ["bytes"]
        assert reply.content[BYTES]["bytes"].dtype == "uint8"
        everything = b"".join(objects.values())
        for word in (b"num-examples", b"loss", b"metrics", b"float"):
            assert word not in everything
        for values in replied:
            assert len(values) < 4 or values not in everything


def test_masked_answers_do_not_tell_the_update_s_size() -> None:
    def of(scale: float) -> list[int]:
        def scaled(message: Message, context: Context) -> Message:
            reply = train(message, context)
            old = message.content["arrays"]
            arrays = {name: scale * (one.numpy() - old[name].numpy()) for name, one in reply.content["arrays"].items()}
            for name, delta in arrays.items():
                reply.content["arrays"][name].data = type(old[name])(np.asarray(old[name].numpy() + delta)).data
            return reply

        inner, grid = secured(scaled)
        start(strategy_of(), grid, 1)
        return [sum(map(len, objects.values())) for _, objects in inner.received]

    assert of(0.0) == of(1.0)


def test_the_model_travels_with_the_request_that_trains_alone() -> None:
    inner, grid = secured()
    start(strategy_of(), grid, 2)
    with_model = [message for message, _ in inner.sent if "arrays" in message.content]
    assert len(with_model) == 2 * 3
    assert len(inner.sent) == 3 * (1 + 4 + 2)
    model = start_arrays()["w"].data
    assert (
        sum(model in b"".join(objects.values()) for _, objects in inner.sent) == 3
    )  # the second round has another one
    for message, _ in inner.sent:
        assert RECORD in message.content
        assert ("config" in message.content) == ("arrays" in message.content)


def test_a_request_that_is_of_another_model_or_configuration_is_refused() -> None:
    """What reaches a node is bound: a link that gives one node something else to train from loses it for the round."""
    for name in ("arrays", "config", RECORD):
        inner, grid = secured(nodes=5)
        forged: list[int] = []

        def forge(message: Message, node: int, name: str = name, forged: list[int] = forged) -> None:
            if node != 12 or "arrays" not in message.content:
                return
            record = message.content[name]
            if isinstance(record, ArrayRecord):
                record["b"] = type(record["b"])(record["b"].numpy() + 1)
            elif name == "config":
                record["lr"] = 0.5
            else:
                assert isinstance(record, ConfigRecord)
                record["options"] = str(record["options"]).replace('"clip": 1.0', '"clip": 0.001')
            forged.append(node)

        inner.loses = forge  # type: ignore[assignment]
        start(strategy_of(nodes=5), grid, 1)
        assert forged == [12]
        assert grid.report is not None
        assert grid.report.aggregate.survivors == (1, 3, 4, 5)
        assert "[V9]" in grid.report.refused[2]


def test_damaged_requests_and_answers() -> None:
    inner, grid = secured(nodes=5)

    def damage(message: Message, node: int) -> None:
        if "arrays" not in message.content:
            return
        if node == 11:
            message.content[RECORD] = ConfigRecord({"terms": "{}"})
        if node == 12:
            message.content[RECORD]["terms"] = "{}"  # type: ignore[index]

    inner.loses = damage  # type: ignore[assignment]
    start(strategy_of(nodes=5), grid, 1)
    assert grid.report is not None
    assert all("[O2]" in grid.report.refused[client] for client in (1, 2))


def test_shifts_are_what_the_test_thinks() -> None:
    like = np.zeros(3)
    assert hashlib.sha256(shift_of(11, 1, like).tobytes()) != hashlib.sha256(shift_of(12, 1, like).tobytes())
    assert (shift_of(11, 1, like) == shift_of(11, 1, like)).all()
