"""The one loss that is sound: a sum over samples of each sample's own loss.

Its backward pass arms the engine. A gradient that comes in from anything after it, a mean or a scale, is refused, for
it would change what a sample contributes; and the operations that clip refuse a backward pass that was not armed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from securefed.errors import LocalProtocolError

if TYPE_CHECKING:
    from securefed.dp.clipping.engine import Engine

__all__ = ["sum_of_losses", "token_losses"]


def token_losses(logits: Tensor, labels: Tensor, shift: bool, ignore_index: int = -100) -> Tensor:
    """Each sample's mean cross-entropy over its own targets.

    Args:
        logits: [B, T, V] or, without `shift`, [B, V].
        labels: integers [B, T] or [B]; `ignore_index` is no target.
        shift: position t predicts the label at t + 1.
        ignore_index: −100 by convention.

    Returns:
        float [B]; 0 for a sample without targets.

    Raises:
        LocalProtocolError: D4 for shapes that do not belong together.
    """
    if logits.dim() != labels.dim() + 1 or logits.shape[:-1] != labels.shape or labels.dim() > 2:
        raise LocalProtocolError(
            "D4",
            f"logits {tuple(logits.shape)} with labels {tuple(labels.shape)}: expected the shapes [B, T, V] and [B, T]",
        )
    if shift:
        if labels.dim() != 2:
            raise LocalProtocolError("D4", "labels of shape [B] cannot be shifted; say shift=False")
        labels = functional.pad(
            labels[:, 1:], (0, 1), value=ignore_index
        )  # rather than a copy of all logits but the last
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    each = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=ignore_index, reduction="none"
    ).view(labels.shape[0], -1)
    targets = (labels.reshape(labels.shape[0], -1) != ignore_index).sum(1)
    return each.sum(1) / targets.clamp_min(1)


def sum_of_losses(losses: Tensor, engine: Engine) -> Tensor:
    """`Σ_i losses_i`, whose backward pass arms the engine.

    Raises:
        LocalProtocolError: D4 where it is not one loss a sample; in the backward pass where it was scaled.
    """
    batch = engine.clipper.batch
    if not isinstance(losses, Tensor) or losses.dim() != 1 or not losses.is_floating_point():
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise LocalProtocolError(
            "D4", f"losses of shape {shape}: expected [B], one loss a sample; a mean over the batch is not sound"
        )
    if losses.shape[0] != batch:
        raise LocalProtocolError("D6", f"{losses.shape[0]} losses for the {batch} samples of the last forward pass")
    total: Tensor = _Sum.apply(losses, engine)
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, losses: Tensor, engine: Engine) -> Tensor:
        ctx.engine, ctx.spent = engine, False
        ctx.save_for_backward(torch.isfinite(losses))
        # A sample that is not finite must not hide what the others' losses are.
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (finite,) = ctx.saved_tensors
        if ctx.spent:
            raise LocalProtocolError("D6", "a second backward pass through one loss: its samples would count twice")
        if g.numel() != 1 or float(g) != 1.0:
            raise LocalProtocolError(
                "D4",
                "the engine's loss was scaled or averaged before backward; call backward on it as it is: "
                "the engine divides by the expected batch",
            )
        ctx.spent = True
        ctx.engine.arm(finite.shape[0])
        return finite.to(g.dtype), None
