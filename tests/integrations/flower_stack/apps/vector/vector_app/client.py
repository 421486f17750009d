"""Each client moves the vector by a step of its own, and sends more than it should where its node config says so."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from securefed.integrations.flower import secure, to_arrays
from tests.integrations.flower_stack.signals import signal
from tests.integrations.flower_stack.steps import STEPS


class Faulty(ClientApp):
    """An app around another one; a node with `swollen` in its config sends so many bytes more where it has trained."""

    def __init__(self, inner: ClientApp) -> None:
        super().__init__()
        self._inner = inner

    def __call__(self, message: Message, context: Context) -> Message:
        reply = self._inner(message, context)
        swollen = int(context.node_config.get("swollen", 0))
        if not swollen or "arrays" not in message.content or reply.has_error():
            return reply
        content = RecordDict()
        for name, record in reply.content.items():
            content[name] = ArrayRecord({key: _longer(array, swollen) for key, array in record.items()})
        return Message(content, reply_to=message)


def _longer(array: Array, swollen: int) -> Array:
    data = array.data + bytes(swollen)
    return Array(array.dtype, (len(data),), array.stype, data)


_protected = secure(ClientApp())
app = Faulty(_protected)


@_protected.train()
def train(message: Message, context: Context) -> Message:
    partition, folder = int(context.node_config["partition-id"]), str(context.run_config["folder"])
    round_number = int(message.content["config"]["server-round"])
    signal(folder, f"training-{partition}-{round_number}")
    (array,) = message.content["arrays"].values()
    moved = (array.numpy() + STEPS[partition]).astype(np.float32)
    metrics = MetricRecord({"num-examples": 1, "loss": float(partition)})
    return Message(RecordDict({"arrays": to_arrays({"vector": moved}), "metrics": metrics}), reply_to=message)
