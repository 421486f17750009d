"""Learning rates: by step within one training, and by round over a federation."""

from __future__ import annotations

import math
from enum import StrEnum

__all__ = ["Schedule", "learning_rate_at"]


class Schedule(StrEnum):
    """How a learning rate goes from its peak to the end."""

    CONSTANT = "constant"
    COSINE = "cosine"
    """Half a cosine from the peak towards 0, which the step after the last would reach."""
    COSINE_WITH_WARMUP = "cosine-with-warmup"
    """A straight rise over the first tenth, then `COSINE`."""


def learning_rate_at(index: int, count: int, peak: float, schedule: Schedule | str) -> float:
    """The learning rate of step (or round) `index` of `count`, counted from 0."""
    schedule = Schedule(schedule)
    if schedule is Schedule.CONSTANT:
        return peak
    warmup = math.ceil(count / 10) if schedule is Schedule.COSINE_WITH_WARMUP else 0
    if index < warmup:
        return peak * (index + 1) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (index - warmup) / max(1, count - warmup))))
