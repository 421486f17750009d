"""What is clipped together, and what the groups of one engine share: the batch in hand and where clipped sums go.

A `Group` is the trainable parameters of one module (of one *use* of them). Its operations hand the group a
`Contribution` in the backward pass: what each sample adds to the parameters' gradients, in a form that knows its own
per-sample norms without having to hold a gradient per sample. Layerwise, the group settles it on the spot; flat, it is
kept until the backward pass ends and every norm is known. Norms, coefficients and contributions never leave this
package: they are not private.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import Parameter

from securefed.dp.clipping.contributions import (
    Coefficients,
    Contribution,
    PerSample,
    Sums,
    clip,
    wide,
    wide_dtype,
)
from securefed.errors import LocalProtocolError

__all__ = ["Clipper", "Coefficients", "Contribution", "Group", "PerSample", "Sums", "wide"]

SCRATCH_ON_CPU = 1 << 20
"""Floats of the block in which per-sample gradients are made: 4 MiB, which stay in the last cache."""
SCRATCH_ON_DEVICE = 1 << 25


class Group:
    """Parameters that are clipped together: those of one module, or of one part of it.

    Args:
        name: of the module in the model.
        clipper: what all groups of one engine share.

    `bound` is the group's own clip bound (layerwise). `parts` are the groups of a module whose rule has several.
    """

    __slots__ = ("bound", "clipper", "count", "established", "name", "parts", "threshold")

    def __init__(self, name: str, clipper: Clipper) -> None:
        self.name = name
        self.clipper = clipper
        self.bound = 1.0
        self.threshold: float | None = None
        self.count: Tensor | None = None
        self.established = False
        self.parts: dict[str, Group] = {}

    def __repr__(self) -> str:
        return f"Group({self.name!r})"

    def part(self, name: str) -> Group:
        """The group of one part of the module, as the rule named it."""
        return self.parts[name]

    def samples(self, x: Tensor, data: bool = False) -> int:
        """Check in the forward pass that the first dimension of an operation's input is the batch.

        Args:
            x: the input, [B, …].
            data: it is not computed from trainable parameters, so that it may be something else than the batch: an
                index of positions, say. Where a sequence has as many tokens as the batch has samples, it could be
                either, and is believed only after a batch where the two were different.

        Returns:
            B.

        Raises:
            LocalProtocolError: D3.
        """
        clipper = self.clipper
        batch = clipper.batch
        if batch is None:
            raise LocalProtocolError(
                "D6",
                f"{self.name}: no forward pass of the attached model is under way; call the model that was attached",
            )
        if x.dim() < 2 or x.shape[0] != batch:
            raise LocalProtocolError(
                "D3",
                f"{self.name}: its input has the shape {tuple(x.shape)}, the batch has {batch} samples; "
                "the first of at least two dimensions must be the sample",
            )
        if not self.established:
            if batch not in clipper.shape[1:]:
                self.established = batch > 1
            elif data and batch > 1 and x.dim() <= len(clipper.shape) and x.data_ptr() != clipper.pointer:
                raise LocalProtocolError(
                    "D3",
                    f"{self.name}: as many samples as tokens ({batch}), so that it cannot be told which of the two its "
                    "input has first; begin with a batch where the two are different",
                )
        return batch

    def enter(self, samples: int) -> None:
        """Check in the backward pass that the engine's own loss is behind it, and that this is the group's only use.

        Raises:
            LocalProtocolError: D4, D5, D6.
        """
        clipper = self.clipper
        if not clipper.armed:
            raise LocalProtocolError(
                "D4", f"{self.name}: backward without the engine's loss; call backward on engine.loss() or engine.sum()"
            )
        if samples != clipper.armed_samples:
            raise LocalProtocolError(
                "D6", f"{self.name}: {samples} samples in the forward pass, {clipper.armed_samples} losses"
            )
        if self in clipper.used:
            raise LocalProtocolError(
                "D5", f"{self.name}: used more than once in one backward pass, so that one sample would count twice"
            )
        clipper.used.add(self)

    def settle(self, contribution: Contribution) -> None:
        """Clip and add a contribution now (layerwise), or keep it until all norms are known (flat)."""
        clipper = self.clipper
        if not contribution.parameters:
            return
        with _without_autocast(contribution.parameters):
            if clipper.flat:
                clipper.kept.append((self, contribution, contribution.keep()))
            else:
                contribution.settle(self, clipper.sums)

    def coefficients(self, squares: Tensor) -> Coefficients:
        """`min(1, C/‖g_i‖)` from the squares of the norms, 0 where one is not finite; counts for the quantile."""
        norms = squares.clamp_min(0.0).sqrt_()
        if self.threshold is not None:
            self.count_up((norms <= self.threshold).sum())
        return clip(norms, self.bound)

    def count_up(self, number: Tensor) -> None:
        """Add to the number of samples whose norm is at most the threshold."""
        self.count = number if self.count is None else self.count + number


def _without_autocast(parameters: Sequence[Parameter]) -> AbstractContextManager[object]:
    """A backward pass may be called where autocast is on: sums of products in 16 bits could pass a bound."""
    device = parameters[0].device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


@dataclass(eq=False)
class Clipper:
    """What the groups of one engine share.

    Args:
        flat: one norm over all groups instead of one each.
        bound: of the flat norm.

    `batch` is the number of samples of the last forward pass, `shape` and `pointer` are its input's. `armed` says that
    a backward pass of the engine's own loss is under way, over `armed_samples`; `open` that one began and has not
    ended; `off` that the modules' own forward passes are taken; `releasing` that the engine's own optimizer step is
    under way. `counting` are the groups whose bounds adapt.
    """

    flat: bool
    bound: float
    sums: Sums = field(default_factory=Sums)
    batch: int | None = None
    shape: tuple[int, ...] = ()
    pointer: int = 0
    armed: bool = False
    armed_samples: int = 0
    open: bool = False
    off: bool = False
    releasing: bool = False
    counting: tuple[Group, ...] = ()
    used: set[Group] = field(default_factory=set)
    kept: list[tuple[Group, Contribution, Tensor]] = field(default_factory=list)
    _scratch: Tensor | None = None

    def scratch(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """Room for per-sample gradients, [k, columns] with 1 ≤ k ≤ `rows`; used by one operation at a time."""
        room = SCRATCH_ON_CPU if like.device.type == "cpu" else SCRATCH_ON_DEVICE
        size = max(1, min(rows, room // columns)) * columns
        held = self._scratch
        dtype = wide_dtype(like.dtype)
        if held is None or held.numel() < size or held.device != like.device or held.dtype != dtype:
            self._scratch = held = torch.empty(size, device=like.device, dtype=dtype)
        return held[:size].view(-1, columns)

    def finish(self) -> None:
        """End of a backward pass: flat contributions are clipped by their common norm, and the engine is disarmed."""
        kept, self.kept = self.kept, []
        self.armed = False
        for group in self.counting:
            # Whether a group was used must not show in the counts: a sample without a gradient has the norm 0.
            if group not in self.used:
                group.count_up(torch.tensor(self.armed_samples))
        self.used.clear()
        if kept:
            with _without_autocast(kept[0][1].parameters):
                self._finish_flat(kept)
        self.sums.seal()
        self.open = False

    def _finish_flat(self, kept: list[tuple[Group, Contribution, Tensor]]) -> None:
        squares = torch.stack([one.to(kept[0][2].dtype) for _, _, one in kept]).sum(0)
        by_parameter: dict[Parameter, list[tuple[Group, Contribution]]] = {}
        for group, contribution, _ in kept:
            for parameter in contribution.parameters:
                by_parameter.setdefault(parameter, []).append((group, contribution))
        for parameter, uses in by_parameter.items():
            for first in range(len(uses)):
                for second in range(first + 1, len(uses)):
                    squares = squares + 2.0 * self._cross(uses[first], uses[second], parameter)
        coefficients = clip(squares.clamp_min(0.0).sqrt_(), self.bound)
        kept.reverse()
        while kept:
            _, contribution, _ = kept.pop()  # what it holds is freed as soon as it is added
            contribution.add(coefficients, self.sums)

    def _cross(
        self, one: tuple[Group, Contribution], other: tuple[Group, Contribution], parameter: Parameter
    ) -> Tensor:
        product = one[1].cross(other[1], parameter)
        if product is None:
            product = other[1].cross(one[1], parameter)
        if product is None:
            raise LocalProtocolError(
                "D13",
                f"{one[0].name} and {other[0].name} share a parameter, and the inner product of their gradients has no "
                "exact form here; clip layerwise, or untie them",
            )
        return product

    def discard(self) -> None:
        """Drop everything that was gathered, as after a backward pass that failed."""
        self.kept.clear()
        self.used.clear()
        self.armed = self.open = False
        self.sums.clear()
