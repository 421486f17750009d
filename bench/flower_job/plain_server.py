"""FedAvg as Flower has it."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from bench.flower_job.serving import federate

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run."""
    federate(grid, context)
