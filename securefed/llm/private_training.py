"""Local steps with differential privacy of every block: DP-SGD with AdamW on clipped and noised sums."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from securefed import dp
from securefed.dp.accounting import Ledger
from securefed.errors import ConfigError
from securefed.llm.blocks import Blocks
from securefed.llm.training import BETAS

__all__ = ["LocalPrivacy", "fit_privately"]

MOST_AT_ONCE: Final = 64
"""Blocks in one forward and backward pass: a larger draw is taken in parts, whose sums add up."""


@dataclass
class LocalPrivacy:
    """What one client's training is noised with.

    Attributes:
        clip: of each block's gradient.
        noise_multiplier: z, over the clip's total.
        sampler: of the client's blocks, over the whole job.
        ledger: the client's own.
        bounds: for adaptive bounds, where the last round left them, by the set of trained tensors; released values.
    """

    clip: dp.Layerwise | dp.Flat
    noise_multiplier: float
    sampler: dp.Poisson
    ledger: Ledger
    bounds: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)


def fit_privately(
    module: torch.nn.Module,
    blocks: Blocks,
    privacy: LocalPrivacy,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
) -> float:
    """Train the tensors that need a gradient, with a fresh AdamW as in `training.fit`; gives the seconds it took.

    Blocks are sampled, and noise is drawn, from the operating system: the same arguments give other weights every time.
    No loss is returned, for that of the blocks is as private as they are.

    Args:
        module: of `methods.attach`.
        blocks: as many as the sampler's examples.
        privacy: of this client.
        steps: ≥ 1.
        learning_rate: of every step.
        seed: of dropout.

    Raises:
        BudgetExceeded: the ledger refuses a step; the module is left as the steps before made it.
        ConfigError: a trainable tensor is not one that can be clipped.
    """
    begin = time.perf_counter()
    trained = [tensor for tensor in module.parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=BETAS, weight_decay=0.0, fused=True)
    was_training = module.training
    module.train()
    engine = dp.attach(module, clip=privacy.clip, noise_multiplier=privacy.noise_multiplier, sampler=privacy.sampler)
    key = tuple(engine.bounds)
    if key in privacy.bounds:
        engine.load_state_dict(privacy.bounds[key])
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for draw in engine.draws(steps):
                for start in range(0, len(draw.indices), MOST_AT_ONCE):
                    rows = draw.indices[start : start + MOST_AT_ONCE]
                    logits = module(input_ids=torch.from_numpy(blocks.tokens[rows]), use_cache=False).logits
                    engine.loss(logits, torch.from_numpy(blocks.labels[rows])).backward()
                engine.step(optimizer, privacy.ledger)
        if isinstance(privacy.clip, dp.Layerwise) and privacy.clip.adapt is not None:
            privacy.bounds[key] = engine.state_dict()
    finally:
        engine.detach()
        module.train(was_training)
    for tensor in trained:
        if not bool(torch.isfinite(tensor).all()):
            raise ConfigError("training.learning_rate", f"weights are no longer finite: lower it ({learning_rate})")
    return time.perf_counter() - begin
