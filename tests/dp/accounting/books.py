"""A small ledger in a file, for the tests of ledgers."""

from __future__ import annotations

from pathlib import Path

from securefed.dp.accounting import Gaussian, Ledger, PoissonSampled, Unit

__all__ = ["DELTA", "STEP", "UNIT", "written"]

STEP = PoissonSampled(0.01, 1.0)
UNIT = Unit("sequence")
DELTA = 1e-5


def written(path: Path, steps: int = 3, budget: float | None = None) -> list[bytes]:
    """A ledger of so many steps and one release more; gives its lines."""
    with Ledger(UNIT, DELTA, budget, path) as ledger:
        for _ in range(steps):
            ledger.spend(STEP)
        ledger.spend(Gaussian(10.0))
    return path.read_bytes().splitlines(keepends=True)
