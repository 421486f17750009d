"""Held-out loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from securefed.errors import ConfigError
from securefed.llm.blocks import Blocks
from securefed.llm.training import token_losses

__all__ = ["HeldOut", "evaluate"]


@dataclass(frozen=True)
class HeldOut:
    """A model's loss on text that it was not trained on.

    Attributes:
        loss: mean over all predicted tokens, in nats a token.
        tokens: number of them.
    """

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that is beyond a float."""
        return math.exp(self.loss) if self.loss < 700.0 else math.inf


def evaluate(module: torch.nn.Module, blocks: Blocks, *, batch: int = 64) -> HeldOut:
    """The loss of all blocks, every predicted token with the same weight.

    Args:
        module: a causal language model, with or without adapters; it is left as it was.
        blocks: with at least one token to predict.
        batch: blocks at a time: memory and speed; the result is the same up to rounding.

    Raises:
        ConfigError: there is no token to predict.
    """
    if blocks.targets < 1:
        raise ConfigError("data", "there is no held-out token to measure on")
    total, tokens = 0.0, 0
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            for first in range(0, blocks.examples, batch):
                part = slice(first, first + batch)
                losses, count = token_losses(module, blocks.tokens[part], blocks.labels[part])
                total += float(losses.sum(dtype=torch.float64))
                tokens += count
    finally:
        module.train(was_training)
    return HeldOut(total / tokens, tokens)
