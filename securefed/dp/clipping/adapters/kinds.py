"""What adapter modules look like: recognised by module and class name, so that peft need not be imported to say no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Module, Parameter

__all__ = ["below", "embed_scale", "is_class", "trains", "type_name"]


def is_class(*names: str) -> Callable[[Module], bool]:
    """A `matches` for exactly the classes of these full names, and none of their subclasses."""
    return lambda module: type_name(module) in names


def type_name(module: Module) -> str:
    """Full name of a module's class, such as `peft.tuners.lora.layer.Linear`."""
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}"


def below(module: Module, *holders: str) -> dict[str, Parameter]:
    """The parameters that a module's children of these names hold, by their names within the module."""
    found = {}
    for holder in holders:
        child = getattr(module, holder, None)
        if isinstance(child, Module):
            found.update({f"{holder}.{name}": one for name, one in child.named_parameters(remove_duplicate=False)})
    return found


def embed_scale(module: Any) -> Tensor | None:
    """By what Gemma's tables multiply in their forward pass, as peft has it for what it adds; None for other tables."""
    known = getattr(module, "_get_embed_scale", None)  # peft from 0.18 on
    scale: Tensor | None = None if known is None else known()
    return scale


def trains(module: Module) -> bool:
    """Whether anything in a module is trained."""
    return any(parameter.requires_grad for parameter in module.parameters())
