"""The clipped sum by definition: one backward pass of plain autograd for each sample, nothing of the engine in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

Batch = dict[str, Any]
Loss = Callable[[Module, Batch], Tensor]
"""The loss of a batch of one sample."""


def token_loss(model: Module, sample: Batch) -> Tensor:
    """The mean cross-entropy of one sample's own targets, as a causal language model has it."""
    labels = sample["labels"]
    logits = model(**{key: value for key, value in sample.items() if key != "labels"}).logits
    targets = labels[0, 1:]
    if not bool((targets != -100).any()):
        return logits.sum() * 0.0
    return torch.nn.functional.cross_entropy(logits[0, :-1].float(), targets)


def split(batch: Batch) -> list[Batch]:
    """The batch's samples, each a batch of one."""
    size = len(next(iter(batch.values())))
    return [
        {
            key: value[i : i + 1] if isinstance(value, Tensor) and len(value) == size else value
            for key, value in batch.items()
        }
        for i in range(size)
    ]


def uses(model: Module) -> dict[str, list[str]]:
    """By module, the full names of its own trainable parameters: the groups of the base layers."""
    found: dict[str, list[str]] = {}
    for module_name, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                found.setdefault(module_name, []).append(f"{module_name}.{key}")
    return found


@contextmanager
def untied(model: Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Each use of a parameter gets a leaf of its own, so that tied uses have separate gradients."""
    leaves: dict[str, Tensor] = {}
    kept = []
    for name in names:
        place, _, key = name.rpartition(".")
        module = model.get_submodule(place)
        kept.append((module, key, module._parameters[key]))
        leaves[name] = torch.nn.Parameter(module._parameters[key].detach().clone())  # type: ignore[union-attr]
    for name in names:
        place, _, key = name.rpartition(".")
        model.get_submodule(place)._parameters[key] = leaves[name]  # type: ignore[assignment]
    try:
        yield leaves
    finally:
        for module, key, parameter in kept:
            module._parameters[key] = parameter


def sample_gradients(
    model: Module, samples: Sequence[Batch], loss: Loss = token_loss, groups: Mapping[str, Sequence[str]] | None = None
) -> list[dict[str, Tensor]]:
    """For each sample, the gradient of each use of each parameter, by full name; 0 where there is none."""
    groups = groups or uses(model)
    found = []
    with untied(model, [name for names in groups.values() for name in names]) as leaves:
        for sample in samples:
            one = loss(model, sample)
            if one.requires_grad:
                one.backward()
            found.append({name: _taken(leaf) for name, leaf in leaves.items()})
    return found


def _taken(leaf: Tensor) -> Tensor:
    gradient, leaf.grad = leaf.grad, None
    return torch.zeros(leaf.shape, dtype=torch.float64) if gradient is None else gradient.double()


def _canonical(model: Module) -> dict[str, str]:
    first: dict[int, str] = {}
    return {name: first.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}


def clipped_sum(
    model: Module,
    samples: Sequence[Batch],
    bounds: Mapping[str, float] | float,
    loss: Loss = token_loss,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Tensor]:
    """`Σ_i Σ_k min(1, c_k/‖g_ik‖)·g_ik` by parameter name, in float64.

    Args:
        model: without an engine.
        samples: each a batch of one.
        bounds: by group (layerwise), or one number (flat: tied uses are added before the norm is taken).
        loss: of one sample.
        groups: by name, the full names of their parameters; by default each module's own.
    """
    groups = groups or uses(model)
    canonical = _canonical(model)
    total: dict[str, Tensor] = {}
    for gradients in sample_gradients(model, samples, loss, groups):
        if isinstance(bounds, Mapping):
            for group, names in groups.items():
                norm = torch.stack([gradients[name].square().sum() for name in names]).sum().sqrt()
                factor = 1.0 if norm <= bounds[group] else bounds[group] / norm
                for name in names:
                    _add(total, canonical[name], factor * gradients[name])
            continue
        merged: dict[str, Tensor] = {}
        for name, gradient in gradients.items():
            _add(merged, canonical[name], gradient)
        norm = torch.stack([gradient.square().sum() for gradient in merged.values()]).sum().sqrt()
        for name, gradient in merged.items():
            _add(total, name, gradient * (1.0 if norm <= bounds else bounds / norm))
    return total


def _add(into: dict[str, Tensor], name: str, gradient: Tensor | Any) -> None:
    into[name] = into[name] + gradient if name in into else gradient


def error(got: Mapping[str, Tensor | None], expected: Mapping[str, Tensor]) -> float:
    """The greatest relative error of a parameter's sum, in ℓ₂. A missing gradient is zero; NaN is infinitely wrong."""
    worst = 0.0
    largest = max(float(value.norm()) for value in expected.values())
    for name, value in expected.items():
        found = got.get(name)
        found = torch.zeros_like(value) if found is None else found.detach().double()
        one = float((found - value).norm()) / max(float(value.norm()), 1e-6 * largest)
        worst = max(worst, one if math.isfinite(one) else math.inf)
    return worst


def gradients(model: Module) -> dict[str, Tensor | None]:
    """By name, what a model's trainable parameters hold."""
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
