"""What is checked at each backward pass and each step, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.nn import Module, Parameter

from securefed.dp.clipping.contributions import Sums
from securefed.errors import LocalProtocolError

__all__ = ["refuse_altered", "refuse_strangers", "refuse_unfrozen", "refuse_unlike"]


def refuse_altered(sums: Sums, parameter: Parameter, name: str) -> None:
    """Raises:
    LocalProtocolError: D4, where a gradient holds more or other than the engine's sum.
    """
    if sums.altered(parameter):
        raise LocalProtocolError(
            "D4",
            f"{name}: its gradient holds something that was not clipped, or was changed; leave it to the engine, "
            "and begin without any (zero_grad(set_to_none=True))",
        )


def refuse_unfrozen(model: Module, parameters: Sequence[Parameter]) -> None:
    """Raises:
    LocalProtocolError: D1, where other parameters are trainable than when the engine was attached.
    """
    known = set(map(id, parameters))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad != (id(parameter) in known):
            raise LocalProtocolError("D1", f"{name}: requires_grad was changed; detach the engine and attach it again")


def refuse_strangers(optimizer: Any, parameters: Sequence[Parameter]) -> None:
    """Raises:
    LocalProtocolError: D1, where the optimizer trains what the engine does not clip.
    """
    known = set(map(id, parameters))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in known and parameter.requires_grad:
                raise LocalProtocolError(
                    "D1", "the optimizer holds a trainable parameter that the engine does not clip; take it out"
                )


def refuse_unlike(draw: Any, seen: int) -> None:
    """Raises:
    LocalProtocolError: D6, where the samples seen are not as many as were drawn.
    """
    if draw is None:
        raise LocalProtocolError("D6", "a step without a draw; use engine.draws(), or engine.begin(draw)")
    if seen != len(draw.indices):
        raise LocalProtocolError(
            "D6", f"{seen} samples were seen, {len(draw.indices)} were drawn; each of them must be one row, once"
        )
