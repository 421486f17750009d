"""The train function of the plain and of the secure client: the very same."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict

from bench.flower_job.job import EXAMPLES, report, trained


def train(message: Message, context: Context) -> Message:
    """One local step."""
    record = message.content["arrays"]
    client = int(context.node_config["partition-id"])
    arrays = trained(record.to_numpy_ndarrays(), client)
    new = {name: Array(array) for name, array in zip(record, arrays, strict=True)}
    content = RecordDict({"arrays": ArrayRecord(new), "metrics": MetricRecord({"num-examples": EXAMPLES, "loss": 1.0})})
    report(str(context.run_config["facts"]), f"client-{client}", {})
    return Message(content, reply_to=message)
