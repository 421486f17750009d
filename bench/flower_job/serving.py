"""The server of the plain and of the secure variant: the same strategy, on another grid."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from bench.flower_job.job import initial, report

__all__ = ["federate"]


def federate(grid: Grid, context: Context) -> None:
    """All rounds of FedAvg over all nodes, with a line in the bench's file after each."""
    settings = context.run_config
    nodes, folder = int(settings["nodes"]), str(settings["facts"])

    def over(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        done = getattr(grid, "report", None)
        first = float(next(iter(arrays.values())).numpy()[0])
        exchanges = done.exchanges if done else 1
        report(folder, "round", {"round": server_round, "exchanges": exchanges, "first": first})
        return MetricRecord({"first": first})

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(initial(int(settings["values"]))),
        num_rounds=int(settings["rounds"]),
        evaluate_fn=over,
    )
