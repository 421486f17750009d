"""FedAvg of a vector under masks."""

from __future__ import annotations

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tests.integrations.flower_stack.serving import federate
from tests.integrations.flower_stack.steps import STEPS

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    federate(grid, context, {"vector": np.zeros(STEPS.shape[1], np.float32)})
