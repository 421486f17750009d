"""The aggregator of these tests' own FedAvg job: it writes down what reaches the server, and what it gives."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel

from securefed.integrations.nvflare import ExactSum


class NotingSum(ExactSum):
    notes = 0

    def accept_model(self, model: FLModel) -> None:
        kept = {"params": sorted(model.params), "metrics": model.metrics, "meta": sorted(model.meta)}
        with (Path(os.environ["JOB_RESULTS"]) / "received.jsonl").open("a") as file:
            file.write(json.dumps(kept) + "\n")
        super().accept_model(model)

    def aggregate_model(self) -> FLModel:
        session = self._round.session
        model = super().aggregate_model()
        self.notes += 1
        name = Path(os.environ["JOB_RESULTS"]) / f"fedavg-{self.notes}.npz"
        metrics = {f"metric-{metric}": value for metric, value in model.metrics.items()}
        np.savez(name, words=session.aggregate.words, **model.params, **metrics)
        return model
