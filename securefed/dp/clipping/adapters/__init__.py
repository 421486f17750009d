"""Rules for what is added to a model to adapt it, and for mixtures of experts; what of it is refused."""

from __future__ import annotations

from typing import Final

from securefed.dp.clipping.adapters import core, dora, ia3, lora_embedding, moe, prompts, trainable_tokens
from securefed.dp.clipping.adapters.refused import refuse
from securefed.dp.clipping.rules import Rule

__all__ = ["RULES", "refuse"]

RULES: Final[tuple[Rule, ...]] = (
    core.RULE,
    dora.RULE,
    ia3.RULE,
    lora_embedding.RULE,
    moe.RULE,
    prompts.ENCODER_RULE,
    prompts.MODEL_RULE,
    trainable_tokens.RULE,
)
"""LoRA on linear layers, bottleneck adapters, LN tuning and prefix tuning are made of base layers and need none."""
