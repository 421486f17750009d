"""One job on Flower's own simulation engine: its queues, its processes, its serialisation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")
if importlib.util.find_spec("ray") is None:
    pytest.skip("Flower's simulation engine is not installed: pip install 'flwr[simulation]'", allow_module_level=True)

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from securefed.integrations.flower import SecureGrid, secure

NODES = 3


@pytest.mark.filterwarnings("ignore")  # of Ray, its dashboard and its child processes
def test_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0", "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_HOME": str(tmp_path), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    from flwr.simulation import run_simulation

    # Functions of a function are sent to the engine's processes by value: those need not find this file.
    app = secure(ClientApp())

    @app.train()
    def train(message: Message, context: Context) -> Message:
        node = int(context.node_config["partition-id"]) + 1
        (w,) = message.content["arrays"].to_numpy_ndarrays()
        metrics = MetricRecord({"num-examples": 10 * node, "loss": 0.5 * node})
        content = RecordDict({"arrays": ArrayRecord([w + np.float32(0.1 * node)]), "metrics": metrics})
        return Message(content, reply_to=message)

    results: list[Any] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        protected = SecureGrid(grid, greatest_weight=32, metrics=("loss",))
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=NODES, min_available_nodes=NODES)
        arrays = ArrayRecord([np.zeros((100, 10), np.float32)])
        results.append((strategy.start(grid=protected, initial_arrays=arrays, num_rounds=2), protected.report))

    run_simulation(
        server_app=server,
        client_app=app,
        num_supernodes=NODES,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": 1, "include_dashboard": False, "logging_level": "ERROR"},
        },
    )
    ((result, report),) = results
    mean = sum(0.1 * node * 10 * node for node in (1, 2, 3)) / 60
    np.testing.assert_allclose(result.arrays.to_numpy_ndarrays()[0], 2 * mean, atol=1e-5)
    loss = sum(0.5 * node * 10 * node for node in (1, 2, 3)) / 60
    assert result.train_metrics_clientapp[2]["loss"] == pytest.approx(loss, abs=1e-6)
    assert len(report.aggregate.survivors) == NODES
    assert report.exchanges == 2
