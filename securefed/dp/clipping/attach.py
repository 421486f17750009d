"""Finding a rule for every trainable parameter, and standing in for the modules' forward passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch.nn import Module, Parameter

from securefed.dp.clipping.group import Clipper, Group
from securefed.dp.clipping.rules import Rule, own_parameters, rule_for, rules
from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["Covered", "cover", "groups_of", "restore", "stand_in"]


@dataclass(frozen=True)
class Covered:
    """One module under one rule.

    Args:
        name: of the module.
        module: itself.
        rule: its rule.
        group: what is handed to the rule's forward pass.
        parameters: by leaf group, the trainable parameters by their name within the module.
    """

    name: str
    module: Module
    rule: Rule
    group: Group
    parameters: Mapping[Group, Mapping[str, Parameter]]


def cover(model: Module, clipper: Clipper) -> list[Covered]:
    """The rules under which a model's trainable parameters are clipped.

    Raises:
        ConfigError: D1 for a trainable parameter without a rule, D14 for expert layers, by name.
    """
    from securefed.dp.clipping.adapters import refuse

    refuse(model)
    registry = rules()
    found: list[Covered] = []
    closed: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(prefix) for prefix in closed):
            continue
        rule = rule_for(name or type(module).__name__, module, registry)
        if rule is None:
            continue
        trained = {key: one for key, one in rule.parameters(module).items() if one.requires_grad}
        if trained:
            found.append(_covered(name or type(module).__name__, module, rule, trained, clipper))
        if rule.exclusive:
            closed.append(f"{name}." if name else "")
    _refuse_uncovered(model, found)
    return found


def _covered(name: str, module: Module, rule: Rule, trained: Mapping[str, Parameter], clipper: Clipper) -> Covered:
    if "forward" in module.__dict__:
        raise ConfigError(name, "[D1] its forward pass was replaced already; attach the engine first, and only one")
    group = Group(name, clipper)
    if rule.parts is None:
        return Covered(name, module, rule, group, {group: dict(trained)})
    parameters: dict[Group, Mapping[str, Parameter]] = {}
    placed: set[str] = set()
    for part, keys in rule.parts(module).items():
        group.parts[part] = Group(f"{name}.{part}", clipper)
        own = {key: trained[key] for key in keys if key in trained}
        placed |= set(own)
        if own:
            parameters[group.parts[part]] = own
    if placed != set(trained):
        raise ConfigError(name, f"[D1] the rule for {rule.source} places no part of {sorted(set(trained) - placed)}")
    return Covered(name, module, rule, group, parameters)


def _refuse_uncovered(model: Module, found: list[Covered]) -> None:
    known = {id(one) for covered in found for held in covered.parameters.values() for one in held.values()}
    owners = {id(one): module for module in model.modules() for one in own_parameters(module).values()}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or id(parameter) in known:
            continue
        kind = type(owners[id(parameter)]).__name__
        rule = "D14" if parameter.dim() == 3 and "xpert" in f"{name}{kind}" else "D1"
        raise ConfigError(
            name, f"[{rule}] trainable, and there is no clipping rule for {kind}; freeze it, or register a rule for it"
        )


def groups_of(covered: list[Covered]) -> dict[Parameter, list[Group]]:
    """By parameter, the groups that it is in: more than one where it is tied."""
    uses: dict[Parameter, list[Group]] = {}
    for one in covered:
        for group, held in one.parameters.items():
            for parameter in held.values():
                uses.setdefault(parameter, []).append(group)
    return uses


def stand_in(covered: Covered) -> None:
    """Have the rule's forward pass stand for the module's own, where gradients are taken."""
    module, rule, group = covered.module, covered.rule, covered.group
    clipper = group.clipper

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if clipper.off or not torch.is_grad_enabled():
            return type(self).forward(self, *args, **kwargs)
        if self is not module:
            raise LocalProtocolError(
                "D1", f"{covered.name}: a copy of a model with an engine is not clipped; detach first"
            )
        return rule.forward(module, group, *args, **kwargs)

    # A method and no closure over the module: a deep copy of the model then evaluates its own weights.
    module.forward = MethodType(torch.compiler.disable(forward), module)


def restore(covered: Covered) -> None:
    """Give the module its own forward pass back."""
    covered.module.__dict__.pop("forward", None)
