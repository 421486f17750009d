"""An ordinary Flower client."""

from __future__ import annotations

from flwr.clientapp import ClientApp

from bench.flower_job.training import train

app = ClientApp()
app.train()(train)
