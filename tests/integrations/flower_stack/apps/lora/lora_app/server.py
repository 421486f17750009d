"""FedAvg of the adapter under masks."""

from __future__ import annotations

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tests.integrations.flower_stack.serving import federate

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    with np.load(str(context.run_config["initial"])) as initial:
        federate(grid, context, dict(initial))
