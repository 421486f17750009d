"""Local steps: AdamW on token blocks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from securefed.errors import ConfigError
from securefed.llm.blocks import IGNORED, Blocks
from securefed.llm.schedule import Schedule, learning_rate_at

__all__ = ["Fitted", "Progress", "fit", "token_losses"]

Progress = Callable[[int, int, float], None]
"""Called after each step with the number of steps done, of all steps, and the step's loss in nats a token."""

BETAS = (0.9, 0.95)
GREATEST_NORM = 1.0


@dataclass(frozen=True)
class Fitted:
    """What a training was.

    Attributes:
        loss: mean over the steps, each before its update, in nats a token.
        tokens: tokens that were predicted, with repetition.
        examples: blocks seen, with repetition.
        seconds: wall time.
    """

    loss: float
    tokens: int
    examples: int
    seconds: float


def fit(
    module: torch.nn.Module,
    blocks: Blocks,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    schedule: Schedule | str = Schedule.CONSTANT,
    seed: int,
    progress: Progress | None = None,
) -> Fitted:
    """Train the tensors that need a gradient, with a fresh AdamW (0.9, 0.95, no weight decay) and clipping at
    norm 1.

    Every block is seen once before any is seen twice. The same arguments give the same weights, bit for bit,
    on one machine with one number of threads.

    Args:
        module: of `methods.attach`.
        blocks: at least one.
        steps: ≥ 1.
        batch: blocks a step, ≥ 1.
        learning_rate: the schedule's peak.
        schedule: over these steps.
        seed: of the blocks' order and of dropout.
        progress: is told of every step.

    Raises:
        ConfigError: an argument is out of range, or the loss became infinite or NaN.
    """
    if steps < 1 or batch < 1:
        raise ConfigError("training.batch", f"{steps} steps of {batch} blocks: both must be at least 1")
    if blocks.examples < 1:
        raise ConfigError("data", "there is no block to train on")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ConfigError("training.learning_rate", f"{learning_rate} is not a finite number above 0")
    trained = [tensor for tensor in module.parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=BETAS, weight_decay=0.0, fused=True)
    rows = _batches(blocks.examples, batch, seed)
    total, targets = 0.0, 0
    begin = time.perf_counter()
    was_training = module.training
    module.train()
    try:
        with torch.random.fork_rng(devices=[]):  # a caller's own random numbers are not disturbed
            torch.manual_seed(seed)
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate_at(step, steps, learning_rate, schedule)
                chosen = next(rows)
                losses, count = token_losses(module, blocks.tokens[chosen], blocks.labels[chosen])
                loss = losses.sum() / count
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise ConfigError(
                        "training.learning_rate",
                        f"the loss is {value} at step {step + 1} of {steps}: lower it ({learning_rate})",
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, GREATEST_NORM)
                optimizer.step()
                total += value
                targets += count
                if progress is not None:
                    progress(step + 1, steps, value)
    finally:
        optimizer.zero_grad(set_to_none=True)
        module.train(was_training)
    return Fitted(total / steps, targets, steps * batch, time.perf_counter() - begin)


def token_losses(
    module: torch.nn.Module, tokens: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, int]:
    """Loss of each token, and how many tokens are predicted.

    Args:
        module: a causal language model.
        tokens: int64 [batch, context].
        labels: int64 [batch, context], IGNORED where nothing is predicted.

    Returns:
        float32 [batch, context] in nats, 0 where nothing is predicted (the last column always), and the
        number of tokens predicted. Padding lies behind the text, where a causal model's other positions do not look, so
        no attention mask is needed.
    """
    following = np.full_like(labels, IGNORED)
    following[:, :-1] = labels[:, 1:]
    logits = module(input_ids=torch.from_numpy(tokens), use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(),
        torch.from_numpy(following).reshape(-1),
        ignore_index=IGNORED,
        reduction="none",
    )
    return losses.reshape(tokens.shape), int(np.count_nonzero(following != IGNORED))


def _batches(examples: int, batch: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Row numbers of each step, without end: one random order of all rows after another."""
    generator = np.random.Generator(np.random.PCG64(seed))
    waiting = np.empty(0, dtype=np.int64)
    while True:
        while len(waiting) < batch:
            waiting = np.concatenate([waiting, generator.permutation(examples)])
        yield waiting[:batch]
        waiting = waiting[batch:]
