"""Hooks that see what bypasses the engine: gradients that no rule clipped, and steps without noise."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn import Parameter

from securefed.dp.clipping.group import Clipper
from securefed.errors import LocalProtocolError

__all__ = ["refuse_outside", "refuse_raw_steps"]


def refuse_outside(clipper: Clipper, name: str) -> Callable[[Tensor | None], None]:
    """A hook on a parameter: the rules add to sums themselves, so whatever autograd brings was not clipped."""

    def hook(gradient: Tensor | None) -> None:
        if gradient is not None and not clipper.off:
            raise LocalProtocolError(
                "D4",
                f"{name}: used in the loss outside of the module that holds it, so that its gradient would not be "
                "clipped: a penalty on weights, or a functional use of a tied one",
            )

    return hook


def refuse_raw_steps(clipper: Clipper, parameters: Sequence[Parameter]) -> Callable[..., None]:
    """A hook on all optimizers: a step that is not the engine's would release sums without noise.

    It holds neither the engine nor the model, so that both can be forgotten without `detach`.
    """
    known, held = set(map(id, parameters)), weakref.ref(clipper)

    def hook(optimizer: Any, args: Any, kwargs: Any) -> None:
        found = held()
        if found is None or found.releasing or not found.sums:
            return
        if any(id(one) in known for group in optimizer.param_groups for one in group["params"]):
            raise LocalProtocolError(
                "D7", "optimizer.step() on clipped sums without noise; call engine.step(optimizer, ledger)"
            )

    return hook
