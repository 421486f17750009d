"""Secure aggregation for Flower: two names in the user's app, and everything else stays as it is.

app = secure(ClientApp())                        # client: @app.train() as ever
strategy.start(grid=SecureGrid(grid), ...)       # server: FedAvg, FedAdam, FedProx … as ever
"""

from __future__ import annotations

try:
    import flwr  # noqa: F401
except ImportError:  # pragma: no cover - what a user without the extra reads
    raise ImportError("Flower is not installed: pip install 'securefed[flower]'") from None

from securefed.integrations.flower.arrays import to_arrays, to_state_dict
from securefed.integrations.flower.client import secure
from securefed.integrations.flower.grid import SecureGrid
from securefed.integrations.flower.resume import run_rounds

__all__ = ["SecureGrid", "run_rounds", "secure", "to_arrays", "to_state_dict"]
