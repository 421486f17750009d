"""Models of bfloat16 tensors, which Flower's own arrays cannot hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")
pytest.importorskip("torch", reason="the extra 'llm' is not installed")

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM

from securefed.encoding.tensors import BFloat16
from securefed.errors import LocalProtocolError
from securefed.integrations.flower import SecureGrid, secure, to_arrays, to_state_dict
from securefed.integrations.flower.arrays import Difference, as_array, as_tensor
from tests.integrations.flower.inproc import InProcessGrid, over_the_wire, plain_app
from tests.integrations.flower.jobs import NUMBERS, start, strategy_of, values


def state() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    return {
        "w": torch.randn(4, 3, generator=generator).to(torch.bfloat16),
        "b": torch.randn(3, generator=generator),
        "t": torch.randn(3, 4, generator=generator).to(torch.bfloat16).T,
    }


DELTAS = {11: 0.5, 12: -0.25, 13: 0.125}
MEAN = sum(delta * 10 * (node - 9) for node, delta in DELTAS.items()) / 90


def train(message: Message, context: Context) -> Message:
    tensors = to_state_dict(message.content["arrays"])
    assert [name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16] == ["w", "t"]
    new = {name: tensor + DELTAS[context.node_id] * (1 if name == "b" else 0.01) for name, tensor in tensors.items()}
    metrics = MetricRecord({"num-examples": 10 * (context.node_id - 9), "loss": 1.0})
    return Message(RecordDict({"arrays": to_arrays(new), "metrics": metrics}), reply_to=message)


def test_there_and_back() -> None:
    tensors = state() | {"f16": torch.ones(2, dtype=torch.float16), "n": torch.arange(3)}
    record = to_arrays(tensors | {"numpy": np.ones(2)})
    back = to_state_dict(record)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    assert back["numpy"].dtype == torch.float64
    assert [record[name].dtype for name in ("w", "b", "f16")] == ["bfloat16", "float32", "float16"]
    assert len(record["w"].data) == 2 * 12


def test_strategies_read_float32_and_the_wire_has_two_bytes() -> None:
    record = to_arrays(state())
    np.testing.assert_array_equal(record["w"].numpy(), state()["w"].float().numpy())
    sent = as_array(as_tensor("w", record["w"]), to_send=True)
    arrived, objects = over_the_wire(Message(RecordDict({"arrays": ArrayRecord({"w": sent})}), 11, "train"))
    assert torch.equal(to_state_dict(arrived.content["arrays"])["w"], state()["w"])
    assert sum(map(len, objects.values())) < 1200
    with pytest.raises(TypeError, match="Unsupported serialization"):
        arrived.content["arrays"]["w"].numpy()  # an error, and not the bits as integers


@pytest.mark.parametrize(("kind", "options"), [(FedAvg, {}), (FedAvgM, {"server_momentum": 0.5}), (FedAdam, {})])
def test_a_job(kind: Any, options: dict[str, Any]) -> None:
    seen: list[str] = []

    def evaluate(message: Message, context: Context) -> Message:
        seen.extend(array.dtype for array in message.content["arrays"].values())
        metrics = MetricRecord({"num-examples": 1, "accuracy": 0.5})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    app = plain_app(train)
    app.evaluate()(evaluate)
    grid = SecureGrid(InProcessGrid(secure(app)), **NUMBERS)
    strategy = strategy_of(kind, fraction_evaluate=1.0, min_evaluate_nodes=3, **options)
    result = start(strategy, grid, 2, to_arrays(state()))
    # Flower's FedAdam makes float64 of everything.
    assert {array.dtype for array in values(result).values()} == {np.dtype("f8" if kind is FedAdam else "f4")}
    assert seen.count("bfloat16") == 2 * 2 * 3
    if kind is FedAvg:
        expected = {
            name: tensor.float().numpy() + 2 * MEAN * (1 if name == "b" else 0.01) for name, tensor in state().items()
        }
        for name, tensor in expected.items():
            # A node rounds its sum to bfloat16: half a unit in the last place of numbers up to four.
            np.testing.assert_allclose(values(result)[name], tensor, atol=1e-6 if name == "b" else 2.0**-6)


def test_what_rounding_would_lose_is_kept() -> None:
    """The mean of small updates is below what bfloat16 can add to a weight of one; the strategy adds them up."""
    step = 2.0**-7  # one unit in the last place of 1.0: each node moves so far, in turn

    def one_node_moves(message: Message, context: Context) -> Message:
        w = to_state_dict(message.content["arrays"])["w"]
        number = message.content["config"]["server-round"]
        moved = w + step if context.node_id == 11 + number % 3 else w
        metrics = MetricRecord({"num-examples": 1, "loss": 1.0})
        return Message(RecordDict({"arrays": to_arrays({"w": moved}), "metrics": metrics}), reply_to=message)

    grid = SecureGrid(InProcessGrid(secure(plain_app(one_node_moves))), greatest_weight=1, metrics=("loss",))
    result = start(strategy_of(), grid, 3, to_arrays({"w": torch.ones(2, dtype=torch.bfloat16)}))
    np.testing.assert_allclose(values(result)["w"], 1 + step, atol=step / 100)


def test_a_difference_is_exact_and_in_pieces() -> None:
    new, old = (BFloat16.nearest(np.array(x)) for x in ([1.0, 2.0, 3.0], [2.0**-9, 2.0, -3.0]))
    difference = Difference("w", new, old)
    out = np.empty(2)
    difference.read(0, out)
    assert out.tolist() == [1 - 2.0**-9, 0.0]  # nine bits: more than bfloat16 has
    difference.read(1, out)
    assert out.tolist() == [0.0, 6.0]
    assert (difference.shape, difference.dtype) == ((3,), "bfloat16")
    with pytest.raises(LocalProtocolError, match=r"\[V3\]"):
        Difference("w", BFloat16.nearest(np.ones(4)), old)


def test_bits_that_are_not_of_the_shape() -> None:
    array = as_array(BFloat16.nearest(np.ones(3)), to_send=True)
    array.data = array.data[:-1]
    with pytest.raises(LocalProtocolError, match=r"\[V4\] tensor 'w'"):
        as_tensor("w", array)
