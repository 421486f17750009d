"""The server of the protected test apps: Flower's FedAvg on a `SecureGrid`, and what came of each round in files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from securefed.aggregation import Adversary
from securefed.integrations.flower import SecureGrid, run_rounds, to_arrays
from tests.integrations.flower_stack.signals import SignallingGrid, signal


def federate(grid: Grid, context: Context, initial: Mapping[str, Any]) -> None:
    """All rounds. After each the folder gets `round-N.npz`, the arrays, and a line of `reports.jsonl`."""
    settings: dict[str, Any] = dict(context.run_config)
    folder, nodes = Path(settings["folder"]), settings["nodes"]
    secured = SecureGrid(
        SignallingGrid(grid, folder),
        adversary=Adversary(settings["server"], corrupt=settings["corrupt"], dropouts=settings["dropouts"]),
        bits=settings["bits"],
        greatest_weight=settings["greatest-weight"],
        metrics=("loss",),
        identities=settings["identities"] or None,
        checkpoint=folder / "checkpoint" if settings["checkpoint"] else None,
        stage_timeout=settings["stage-timeout"],
        prepare=settings["prepare"],
        attempts=settings["attempts"],
    )

    def after_round(server_round: int, arrays: ArrayRecord) -> None:
        np.savez(folder / f"round-{server_round}.npz", **{name: array.numpy() for name, array in arrays.items()})
        report = secured.report
        if server_round and report is not None:
            line = {
                "round": server_round,
                "number": report.spec.round,
                "session": report.spec.session.hex(),
                "weight": report.aggregate.weight,
                "loss": report.aggregate.metrics["loss"],
                "survivors": report.aggregate.survivors,
                "exchanges": report.exchanges,
                "seconds": round(report.seconds, 2),
                "lost": report.lost,
                "refused": report.refused,
            }
            with (folder / "reports.jsonl").open("a") as out:
                out.write(json.dumps(line) + "\n")
            signal(folder, f"over-{server_round}")

    least = settings["least-nodes"] or nodes
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=least, min_available_nodes=least)
    arguments = {"num_rounds": settings["rounds"], "timeout": settings["train-timeout"], "evaluate_fn": after_round}
    if not settings["protected"]:
        strategy.start(grid=grid, initial_arrays=to_arrays(initial), **arguments)
    elif secured.checkpoint is not None:
        run_rounds(strategy, secured, to_arrays(initial), **arguments)
    else:
        strategy.start(grid=secured, initial_arrays=to_arrays(initial), **arguments)
    (folder / "done").touch()
