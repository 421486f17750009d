"""FedAvg on a grid under masks: one line more."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from bench.flower_job.serving import federate
from securefed.aggregation import Adversary
from securefed.integrations.flower import SecureGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run."""
    settings = context.run_config
    adversary = Adversary(str(settings["server"]), corrupt=0.1, dropouts=0.1)
    identities = str(settings["identities"]) or None
    secured = SecureGrid(
        grid,
        scheme="masks",
        adversary=adversary,
        bits=16,
        greatest_weight=32,
        metrics=("loss",),
        identities=identities,
        prepare=bool(settings["prepare"]),
    )
    federate(secured, context)
