"""DP-SGD's clipped sums from one backward pass. `attach` is where to begin."""

from __future__ import annotations

from securefed.dp.clipping.engine import Engine, attach
from securefed.dp.clipping.modes import Flat, Layerwise, Quantile
from securefed.dp.clipping.rules import Rule, register_rule
from securefed.dp.clipping.verify import verify

__all__ = ["Engine", "Flat", "Layerwise", "Quantile", "Rule", "attach", "register_rule", "verify"]
