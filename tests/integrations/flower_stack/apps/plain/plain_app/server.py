"""Flower's own FedAvg; how long each round took is printed, the vector is written to a file."""

import time

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    nodes = int(config["nodes"])
    began = time.monotonic()

    def after_round(number: int, arrays: ArrayRecord) -> None:
        print(f"round {number} over after {time.monotonic() - began:.2f} s", flush=True)

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(4, np.float32)]),
        num_rounds=int(config["rounds"]),
        timeout=60,
        evaluate_fn=after_round,
    )
    np.save(str(config["result"]), result.arrays.to_numpy_ndarrays()[0])
