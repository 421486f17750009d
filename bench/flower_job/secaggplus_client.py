"""The same client in Flower's legacy API, which its SecAgg+ works with alone."""

from __future__ import annotations

from flwr.app import Context
from flwr.client import Client, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp

from bench.flower_job.job import EXAMPLES, Arrays, report, trained


class OneStep(NumPyClient):
    """One local step."""

    def __init__(self, client: int, folder: str) -> None:
        self._client, self._folder = client, folder

    def fit(self, parameters: Arrays, config: object) -> tuple[Arrays, int, dict[str, float]]:
        """New parameters."""
        new = trained(parameters, self._client)
        report(self._folder, f"client-{self._client}", {})
        return new, EXAMPLES, {"loss": 1.0}


def client_fn(context: Context) -> Client:
    """Of a node."""
    return OneStep(int(context.node_config["partition-id"]), str(context.run_config["facts"])).to_client()


app = ClientApp(client_fn=client_fn, mods=[secaggplus_mod])
