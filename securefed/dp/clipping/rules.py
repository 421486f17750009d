"""Which modules can be clipped, and how: the registry that `attach` reads.

A rule stands for a module's forward pass. It covers trainable parameters that the module uses itself or, as an
adapter's rule may, that its children hold. A parameter that no rule covers is refused by name (D1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Module, Parameter

from securefed.errors import ConfigError

__all__ = ["Rule", "own_parameters", "register_rule", "rule_for", "rules"]

_REGISTERED: list[Rule] = []


@dataclass(frozen=True)
class Rule:
    """How one kind of module is clipped.

    Args:
        matches: whether a module is of this kind. Exact types: a subclass may compute something else.
        parameters: its parameters by name within the module (dotted where a child holds them), frozen ones too.
        forward: what stands for `module.forward`: takes (module, group, *args, **kwargs).
        source: where the formula is from, or what the module is, for messages and the docs.
        parts: for a module with several operations: the names of parameters that each is about. Each part is a group
            of its own (`group.part(name)`) and its operation is used once a forward pass.
        exclusive: whether the rule covers all that is below the module, so that no other rule is sought there.
    """

    matches: Callable[[Module], bool]
    parameters: Callable[[Module], Mapping[str, Parameter]]
    forward: Callable[..., Any]
    source: str
    parts: Callable[[Module], Mapping[str, tuple[str, ...]]] | None = None
    exclusive: bool = False


def own_parameters(module: Module) -> dict[str, Parameter]:
    """The parameters that a module holds itself."""
    return dict(module.named_parameters(recurse=False, remove_duplicate=False))


def register_rule(rule: Rule) -> None:
    """Add a rule for modules of your own. `verify` shows whether it is right; a wrong one means no privacy.

    Raises:
        ConfigError: it was registered before.
    """
    if rule in _REGISTERED:
        raise ConfigError("", f"the clipping rule for {rule.source} was registered before")
    _REGISTERED.append(rule)


def rules() -> tuple[Rule, ...]:
    """Those that were registered, those of adapters and experts, and those of base layers."""
    from securefed.dp.clipping.adapters import RULES
    from securefed.dp.clipping.layers import BASE_RULES

    return (*_REGISTERED, *RULES, *BASE_RULES)


def rule_for(name: str, module: Module, registry: tuple[Rule, ...]) -> Rule | None:
    """The one rule for a module, or None.

    Raises:
        ConfigError: D1 where two rules say that the module is theirs.
    """
    found = [rule for rule in registry if rule.matches(module)]
    if len(found) > 1:
        raise ConfigError(name, f"[D1] two clipping rules match: {', '.join(rule.source for rule in found)}")
    return found[0] if found else None


def same_output(module: Module, standing_in: Callable[[Module, Tensor], Tensor], width: int) -> bool:
    """Whether a stand-in computes what a norm computes, bit for bit, in float32 and bfloat16, on random input."""
    import copy

    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            trial = copy.deepcopy(module)
            trial.__dict__.pop("forward", None)
            trial.to(device="cpu", dtype=dtype)
            generator = torch.Generator().manual_seed(0)
            for parameter in trial.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            x = torch.randn(2, 3, width, generator=generator).to(dtype)
            expected, got = trial(x), standing_in(trial, x)
            if expected.dtype != got.dtype or not torch.equal(expected, got):
                return False
    return True


def is_exactly(*kinds: type[nn.Module]) -> Callable[[Module], bool]:
    """A `matches` for these types and none of their subclasses."""
    return lambda module: type(module) in kinds
