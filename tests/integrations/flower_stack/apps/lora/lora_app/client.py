"""An ordinary client of a LoRA job; `secure` is all that the protection takes."""

from __future__ import annotations

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from securefed.integrations.flower import secure, to_arrays

app = secure(ClientApp())


@app.train()
def train(message: Message, context: Context) -> Message:
    # Each message starts a process: only the one that trains shall wait for torch.
    from lora_app import training

    partition = int(context.node_config["partition-id"])
    round_number = int(message.content["config"]["server-round"])
    old = {name: array.numpy() for name, array in message.content["arrays"].items()}
    new, examples, loss = training.train(old, partition, round_number)
    content = {"arrays": to_arrays(new), "metrics": MetricRecord({"num-examples": examples, "loss": loss})}
    return Message(RecordDict(content), reply_to=message)
