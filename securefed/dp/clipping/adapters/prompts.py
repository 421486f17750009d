"""Prompts of peft that are computed once and repeated for the batch: prompt tuning, and P-tuning with its MLP.

Repeated, a prompt's gradient is that of the whole batch as soon as it reaches the parameters, and can no longer be
clipped by sample. Here each sample has a copy of the prompt's rows, and the encoder works on each copy. Prefix tuning
does so already: it is made of base layers.

peft computes the prompt in `get_prompt`, a method of the model. The rule therefore stands for the model's forward pass,
and puts its own in that method's place while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import Module, Parameter

from securefed.dp.clipping.adapters.kinds import type_name
from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives import clip_broadcast, clip_linear
from securefed.dp.clipping.rules import Rule

__all__ = ["ENCODER_RULE", "MODEL_RULE", "prompt_kind"]


def prompt_kind(module: Module) -> str | None:
    """Which kind of prompts a model of peft learns, by peft's name for it; None where it learns none."""
    if not type(module).__module__.startswith("peft.") or not hasattr(module, "prompt_encoder"):
        return None
    config = module.peft_config[module.active_adapter]
    return str(config.peft_type.value) if config.is_prompt_learning else None


def _is_encoder(module: Module) -> bool:
    if type_name(module) == "peft.tuners.prompt_tuning.model.PromptEmbedding":
        return True
    # An LSTM's gradients have no rule: its encoder is left to the rules of base layers, which refuse it by name.
    return type_name(module) == "peft.tuners.p_tuning.model.PromptEncoder" and not hasattr(module, "lstm_head")


def _repeats_prompts(module: Any) -> bool:
    return prompt_kind(module) in ("PROMPT_TUNING", "P_TUNING") and _is_encoder(_encoder(module))


def _encoder(module: Any) -> Any:
    return module.prompt_encoder[module.active_adapter]


def _parameters(module: Any) -> dict[str, Parameter]:
    prefix = f"prompt_encoder.{module.active_adapter}"
    return {f"{prefix}.{name}": one for name, one in _encoder(module).named_parameters()}


def _parts(module: Any) -> Mapping[str, tuple[str, ...]]:
    """The rows, and each linear layer with its bias."""
    parts: dict[str, tuple[str, ...]] = {}
    for name in _parameters(module):
        holder = name.rpartition(".")[0]
        parts[holder] = (*parts.get(holder, ()), name)
    return parts


def _forward(module: Any, group: Group, *args: Any, **kwargs: Any) -> Any:
    with _one_for_each_sample(module, group):
        return type(module).forward(module, *args, **kwargs)


@contextmanager
def _one_for_each_sample(module: Any, group: Group) -> Iterator[None]:
    encoder, prefix = _encoder(module), f"prompt_encoder.{module.active_adapter}"

    def get_prompt(batch_size: int, task_ids: Tensor | None = None, max_cache_len: int | None = None) -> Tensor:
        prompts = clip_broadcast(encoder.embedding.weight, batch_size, group.part(f"{prefix}.embedding"))
        for index, layer in enumerate(getattr(encoder, "mlp_head", ())):
            if isinstance(layer, nn.Linear):
                part = group.part(f"{prefix}.mlp_head.{index}")
                prompts = clip_linear(prompts, layer.weight, layer.bias, part)
            else:
                prompts = layer(prompts)
        return prompts

    module.get_prompt = get_prompt
    try:
        yield
    finally:
        del module.get_prompt


def _not_called(module: Any, group: Group, *args: Any, **kwargs: Any) -> Any:
    raise AssertionError("the rule of the model computes its prompts")


MODEL_RULE = Rule(_repeats_prompts, _parameters, _forward, "prompt tuning and P-tuning (peft)", parts=_parts)
ENCODER_RULE = Rule(_is_encoder, lambda module: {}, _not_called, "the encoder of a prompt (peft)", exclusive=True)
"""The model's rule has its parameters: no other is sought below it."""
