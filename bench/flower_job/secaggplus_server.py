"""FedAvg under Flower's SecAgg+: its legacy workflow."""

from __future__ import annotations

from flwr.app import Context
from flwr.common import ndarrays_to_parameters
from flwr.server import LegacyContext, ServerApp, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid

from bench.flower_job.job import Arrays, initial, report

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run."""
    settings = context.run_config
    nodes, folder = int(settings["nodes"]), str(settings["facts"])

    def over(server_round: int, arrays: Arrays, config: object) -> tuple[float, dict[str, float]]:
        report(folder, "round", {"round": server_round, "exchanges": 4, "first": float(arrays[0][0])})
        return 0.0, {"first": float(arrays[0][0])}

    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=nodes,
        min_available_clients=nodes,
        evaluate_fn=over,
        initial_parameters=ndarrays_to_parameters(initial(int(settings["values"]))),
    )
    legacy = LegacyContext(context=context, config=ServerConfig(int(settings["rounds"])), strategy=strategy)
    masking = SecAggPlusWorkflow(num_shares=nodes, reconstruction_threshold=nodes - 1, timeout=120)
    DefaultWorkflow(fit_workflow=masking)(grid, legacy)
