"""Flower without processes and network.

Nodes are called when a message is pushed. Every message is written to bytes and read again, as between machines, and
all that clients send is kept, to be looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 0

Trains = Callable[[Message, Context], Message]
Loses = Callable[[Message, int], str | None]


def over_the_wire(message: Message) -> tuple[Message, dict[str, bytes]]:
    """What arrives, and every object that was sent for it."""
    objects = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
    name = message.object_id
    arrived = inflate_object_from_contents(name, dict(objects))
    assert isinstance(arrived, Message)
    arrived.metadata.__dict__["_message_id"] = name
    return arrived, objects


class InProcessGrid(Grid):
    """Nodes 11, 12 … of one app.

    Args:
        loses: of a message on its way to a node: "silent" for no reply, "error" for an error reply, else None.
    """

    def __init__(
        self,
        app: ClientApp | Mapping[int, ClientApp],
        nodes: int = 3,
        configs: Mapping[int, dict[str, Any]] | None = None,
    ) -> None:
        self.nodes = [11 + at for at in range(nodes)]
        self.apps = dict(app) if isinstance(app, Mapping) else dict.fromkeys(self.nodes, app)
        configs = configs or {}
        self.contexts = {
            node: Context(
                run_id=1, node_id=node, node_config={"partition-id": at, **configs.get(node, {})}, state=RecordDict(),
                run_config={},
            )
            for at, node in enumerate(self.nodes)
        }  # fmt: skip
        self.loses: Loses = lambda message, node: None
        self.sent: list[tuple[Message, dict[str, bytes]]] = []
        self.received: list[tuple[Message, dict[str, bytes]]] = []
        self._replies: dict[str, Message] = {}

    def set_run(self, run: object) -> None:
        pass

    @property
    def run(self) -> Any:
        return None

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> list[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._deliver(message) for message in messages]

    def _deliver(self, message: Message) -> str:
        node = message.metadata.dst_node_id
        arrived, objects = over_the_wire(message)
        self.sent.append((over_the_wire(message)[0], objects))
        how = self.loses(arrived, node)
        name = arrived.metadata.message_id
        if how == "silent":
            return name
        # A process of its own: the context it gets is a copy, and comes back when it is through.
        context = copy.deepcopy(self.contexts[node])
        try:
            if how == "error":
                raise RuntimeError("the node crashed")
            reply = self.apps[node](arrived, context)
        except Exception as error:  # as Flower does
            reply = Message(Error(code=2, reason=f"{type(error)}:<'{error}'>"), reply_to=arrived)
        self.contexts[node] = context
        back, objects = over_the_wire(reply)
        self.received.append((back, objects))
        self._replies[name] = back
        return name

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(name) for name in list(message_ids) if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))


def shift_of(node: int, number: int, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What a node's training adds to a tensor: the same every time."""
    rng = np.random.default_rng([node, number, like.size])
    return rng.normal(0, 0.1, like.shape).astype(like.dtype)


def train(message: Message, context: Context) -> Message:
    """A train function as users write them."""
    assert set(message.content) == {"arrays", "config"}
    number = message.content["config"]["server-round"]
    arrays = {
        name: array.numpy() + shift_of(context.node_id, number, array.numpy())
        for name, array in message.content["arrays"].items()
    }
    metrics = MetricRecord({"num-examples": 10 * (context.node_id - 9), "loss": context.node_id / 8})
    content = RecordDict({"arrays": ArrayRecord(arrays_of(arrays)), "metrics": metrics})
    return Message(content, reply_to=message)


def arrays_of(tensors: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    from flwr.app import Array

    return {name: Array(np.asarray(tensor)) for name, tensor in tensors.items()}


def start_arrays() -> ArrayRecord:
    rng = np.random.default_rng(7)
    tensors = {
        "w": rng.normal(size=(5, 3)).astype(np.float32), "b": rng.normal(size=4), "h": rng.normal(size=2).astype("f2"),
        "s": np.asarray(0.5, np.float32),
    }  # fmt: skip
    return ArrayRecord(arrays_of(tensors))


def plain_app(function: Trains = train) -> ClientApp:
    app = ClientApp()
    app.train()(function)
    return app
