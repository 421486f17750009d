"""The same client, protected: one call more."""

from __future__ import annotations

from flwr.clientapp import ClientApp

from bench.flower_job.training import train
from securefed.aggregation import Adversary, Policy
from securefed.integrations.flower import secure

app = secure(ClientApp(), policy=Policy(adversary=Adversary("semi-honest"), least_cohort=3, least_sum=2))
app.train()(train)
