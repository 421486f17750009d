"""The engine against the definition, on a user's own model and batch: one sample at a time, by plain autograd.

It shows a wrong rule, a model that mixes samples, and a parameter whose gradient bypasses its rule. It costs some
three passes a sample. What it finds out about samples stays here: it is reported by parameter, never by sample.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from securefed.dp.clipping.group import Group
from securefed.dp.clipping.loss import token_losses
from securefed.dp.clipping.modes import Flat, Layerwise
from securefed.errors import ConfigError, LocalProtocolError

if TYPE_CHECKING:
    from securefed.dp.clipping.engine import Engine

__all__ = ["verify", "verify_engine"]

Losses = Callable[[Module, Mapping[str, Any]], Tensor]
_HUGE = 1e30
_LEAST = 1e-12


def verify(
    model: Module,
    batch: Mapping[str, Any],
    clip: Layerwise | Flat | None = None,
    *,
    losses: Losses | None = None,
    tolerance: float = 1e-3,
) -> None:
    """Compare the engine's clipped sums for a model and a batch with those of a loop over samples.

    Args:
        model: without an engine; it is left as it was.
        batch: what the model takes by name, tensors with the sample first, and `labels`. Two samples at least, which
            differ, as many tokens as in training.
        clip: that will be used.
        losses: (model, batch) → [B], the loss of each sample; by default the tokens' mean cross-entropy.
        tolerance: relative, in ℓ₂ of a parameter's gradient; more is needed in 16 bits.

    Raises:
        ConfigError: the parameter that is wrong, by name; and whatever `attach` refuses.
        LocalProtocolError: what training would refuse.
    """
    from securefed.dp.clipping.engine import attach

    engine = attach(model, clip)
    try:
        verify_engine(engine, batch, losses=losses, tolerance=tolerance)
    finally:
        engine.detach()


def verify_engine(
    engine: Engine, batch: Mapping[str, Any], *, losses: Losses | None = None, tolerance: float = 1e-3
) -> None:
    """See `verify`; between steps of an engine, with its bounds."""
    if engine.busy:
        raise LocalProtocolError("D6", "a step was begun; verify between steps")
    losses = losses or _token_losses
    model, clipper = engine.model, engine.clipper
    training = [module for module in model.modules() if module.training]
    held = {group: (group.bound, group.threshold) for group in engine.groups}, clipper.bound, clipper.counting
    model.eval()  # dropout would be drawn anew for each pass
    try:
        clipper.counting = ()
        for group in engine.groups:
            group.threshold = None
        _Check(engine, batch, losses, tolerance).run()
    finally:
        for group, (bound, threshold) in held[0].items():
            group.bound, group.threshold = bound, threshold
        clipper.bound, clipper.counting, clipper.off = held[1], held[2], False
        engine.discard()
        for module in training:
            module.training = True


def _token_losses(model: Module, batch: Mapping[str, Any]) -> Tensor:
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    return token_losses(model(**inputs).logits, batch["labels"], shift=True)


class _Check:
    def __init__(self, engine: Engine, batch: Mapping[str, Any], losses: Losses, tolerance: float) -> None:
        self.engine = engine
        self.batch = batch
        self.losses = losses
        self.tolerance = tolerance
        sizes = [value.shape[0] for value in batch.values() if isinstance(value, Tensor) and value.dim() > 0]
        self.size = max(sizes, default=0)
        if self.size < 2:
            raise ConfigError("", "verify needs a batch of at least two samples")

    def run(self) -> None:
        engine = self.engine
        alone, norms, plain = self._norms()
        self._compare_losses(alone)
        self._set(dict.fromkeys(norms, _HUGE), _HUGE)
        self._compare(plain, "without clipping")
        real = dict(zip(norms, self._real(norms), strict=True))
        # Bounds that nearly every sample passes: with those of training the batch may not be clipped at all.
        tight = {group: 0.5 * statistics.median(found) or 1.0 for group, found in norms.items()}
        for bounds, when in ((tight, "with bounds below the norms"), (real, "with the bounds of training")):
            total = next(iter(bounds.values()))
            expected = self._clipped(norms, bounds)
            self._set(bounds, total)
            self._compare(expected, when)
        engine.discard()

    def _real(self, norms: Mapping[Group | None, list[float]]) -> list[float]:
        return [self.engine.mode.total if group is None else self._bounds[group] for group in norms]

    def _norms(self) -> tuple[list[float], dict[Group | None, list[float]], dict[Parameter, Tensor]]:
        """Each sample's loss, its norms by group (None: of all, flat), and the sum of all gradients."""
        alone: list[float] = []
        norms: dict[Group | None, list[float]] = {}
        plain: dict[Parameter, Tensor] = {}
        self._bounds = {group: group.bound for group in self.engine.groups}
        for loss, groups in self._samples():
            alone.append(loss)
            for group, gradients in groups.items():
                norms.setdefault(group, []).append(_norm(gradients.values()))
                for parameter, gradient in gradients.items():
                    _add(plain, parameter, gradient)
        return alone, norms, plain

    def _clipped(
        self, norms: Mapping[Group | None, list[float]], bounds: Mapping[Group | None, float]
    ) -> dict[Parameter, Tensor]:
        total: dict[Parameter, Tensor] = {}
        for at, (_, groups) in enumerate(self._samples()):
            for group, gradients in groups.items():
                factor = min(1.0, bounds[group] / max(norms[group][at], _LEAST))
                for parameter, gradient in gradients.items():
                    _add(total, parameter, gradient * factor)
        return total

    def _samples(self) -> Iterator[tuple[float, dict[Group | None, dict[Parameter, Tensor]]]]:
        """Each sample's loss alone and its gradients: by group and use, or (flat) all together under None."""
        engine = self.engine
        for at in range(self.size):
            sample = {
                key: value[at : at + 1] if isinstance(value, Tensor) and value.shape[:1] == (self.size,) else value
                for key, value in self.batch.items()
            }
            engine.clipper.off = True
            try:
                if isinstance(engine.mode, Flat):
                    loss, gradients = self._gradients(sample, list(engine.parameters))
                    yield loss, {None: dict(zip(engine.parameters, gradients, strict=True))}
                    continue
                with _untied(engine) as uses:
                    loss, gradients = self._gradients(sample, [leaf for _, _, leaf in uses])
                groups: dict[Group | None, dict[Parameter, Tensor]] = {}
                for (group, parameter, _), gradient in zip(uses, gradients, strict=True):
                    groups.setdefault(group, {})[parameter] = gradient
                yield loss, groups
            finally:
                engine.clipper.off = False

    def _gradients(self, sample: Mapping[str, Any], leaves: list[Parameter]) -> tuple[float, list[Tensor]]:
        loss = self.losses(self.engine.model, sample).sum()
        found = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else [None for _ in leaves]
        return float(loss.detach()), [
            torch.zeros_like(leaf, dtype=torch.float64) if one is None else one.double()
            for leaf, one in zip(leaves, found, strict=True)
        ]

    def _compare_losses(self, alone: list[float]) -> None:
        self.engine.clipper.off = True
        try:
            with torch.no_grad():
                together = self.losses(self.engine.model, self.batch)
        finally:
            self.engine.clipper.off = False
        if together.shape != (self.size,):
            raise ConfigError(
                "", f"[D4] the losses have the shape {tuple(together.shape)}, not one for each of {self.size}"
            )
        for one, other in zip(alone, together.tolist(), strict=True):
            if abs(one - other) > self.tolerance * max(1.0, abs(one)):
                raise ConfigError(
                    "", "[D3] a sample's loss alone is not its loss in the batch: samples are mixed, or padding is seen"
                )

    def _set(self, bounds: Mapping[Group | None, float], total: float) -> None:
        self.engine.clipper.bound = total
        for group, bound in bounds.items():
            if group is not None:
                group.bound = bound

    def _compare(self, expected: Mapping[Parameter, Tensor], when: str) -> None:
        engine = self.engine
        engine.discard()
        engine.sum(self.losses(engine.model, self.batch)).backward()
        largest = max(float(one.norm()) for one in expected.values())
        for parameter in engine.parameters:
            held = engine.clipper.sums.buffer(parameter)
            want = expected[parameter]
            got = torch.zeros_like(want) if held is None else held.double()
            error = float((got - want).norm())
            if not error <= self.tolerance * max(float(want.norm()), self.tolerance * largest, _LEAST):
                raise ConfigError(
                    engine.name_of(parameter),
                    f"[D1] its clipped sum {when} is not that of a loop over samples: its rule is wrong for this model",
                )


def _norm(gradients: Any) -> float:
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())


def _add(into: dict[Parameter, Tensor], parameter: Parameter, gradient: Tensor) -> None:
    into[parameter] = into[parameter] + gradient if parameter in into else gradient


@contextmanager
def _untied(engine: Engine) -> Iterator[list[tuple[Group, Parameter, Parameter]]]:
    """(group, parameter, leaf) for each use of each parameter: uses of a tied one get leaves of their own."""
    uses: list[tuple[Group, Parameter, Parameter]] = []
    kept: list[tuple[Module, str, Parameter]] = []
    for covered in engine.covered:
        for group, held in covered.parameters.items():
            for name, parameter in held.items():
                place, _, key = name.rpartition(".")
                owner = covered.module.get_submodule(place)
                kept.append((owner, key, parameter))
                leaf = Parameter(parameter.detach().clone())
                uses.append((group, parameter, leaf))
    for (owner, key, _), (_, _, leaf) in zip(kept, uses, strict=True):
        owner._parameters[key] = leaf
    try:
        yield uses
    finally:
        for owner, key, parameter in kept:
            owner._parameters[key] = parameter
