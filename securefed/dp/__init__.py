"""Differential privacy: clipping inside the backward pass, exact noise, and accounts that cannot be talked out of it.

    from securefed import dp

    sampler = dp.Poisson(examples=len(texts), rate=0.01)
    ledger = dp.Ledger(dp.Unit("sequence"), delta=1e-6, budget=8.0, file=Path("ledger.jsonl"))
    noise = dp.noise_multiplier(8.0, 1e-6, sampling=sampler, steps=1000)
    engine = dp.attach(model, clip=dp.Layerwise(total=1.0), noise_multiplier=noise, sampler=sampler)
    for draw in engine.draws(1000):
        if len(draw.indices):
            engine.loss(model(tokens[draw.indices]).logits, tokens[draw.indices]).backward()
        engine.step(optimizer, ledger)

Names are loaded when they are first used: noise, accounting and what clients do to whole updates need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from securefed.dp.accounting import Ledger as Ledger
    from securefed.dp.accounting import Unit as Unit
    from securefed.dp.accounting import epsilon as epsilon
    from securefed.dp.accounting import noise_multiplier as noise_multiplier
    from securefed.dp.clipping import Engine as Engine
    from securefed.dp.clipping import Flat as Flat
    from securefed.dp.clipping import Layerwise as Layerwise
    from securefed.dp.clipping import Quantile as Quantile
    from securefed.dp.clipping import attach as attach
    from securefed.dp.clipping import register_rule as register_rule
    from securefed.dp.clipping import verify as verify
    from securefed.dp.sampling import FixedBatches as FixedBatches
    from securefed.dp.sampling import Poisson as Poisson
    from securefed.dp.sampling import TruncatedPoisson as TruncatedPoisson

_ROOMS: Final = {
    "accounting": ("Ledger", "Unit", "epsilon", "noise_multiplier"),
    "clipping": ("Engine", "Flat", "Layerwise", "Quantile", "attach", "register_rule", "verify"),
    "sampling": ("FixedBatches", "Poisson", "TruncatedPoisson"),
}
_HOME: Final = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
