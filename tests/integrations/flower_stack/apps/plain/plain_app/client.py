"""Each client moves the vector by its partition's number."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    partition = int(context.node_config["partition-id"])
    (vector,) = message.content["arrays"].to_numpy_ndarrays()
    content = {
        "arrays": ArrayRecord([vector + partition]),
        "metrics": MetricRecord({"num-examples": partition + 1, "loss": 1.0}),
    }
    return Message(RecordDict(content), reply_to=message)
