"""Tiny models with adapters of every family, weights drawn so that nothing is zero by accident."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

VOCABULARY = 32
TOKENS = 7
SAMPLES = 4


def gpt2(**changes: object) -> PreTrainedModel:
    torch.manual_seed(1)
    dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    sizes = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(**(sizes | dropouts | ends | changes)))
    return shaken(model, by=0.05)  # biases are zero at first


WIDE: Mapping[str, object] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def llama(**changes: object) -> PreTrainedModel:
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**(dict(WIDE) | changes)))


def gemma(**changes: object) -> PreTrainedModel:
    torch.manual_seed(1)
    return Gemma3ForCausalLM(Gemma3TextConfig(**(dict(WIDE) | {"head_dim": 8, "pad_token_id": 0} | changes)))


def mixtral(**changes: object) -> PreTrainedModel:
    torch.manual_seed(1)
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "output_router_logits": False}
    return MixtralForCausalLM(MixtralConfig(**(dict(WIDE) | experts | changes)))


def adapted(model: PreTrainedModel, config: PeftConfig, *, by: float = 0.2) -> PeftModel:
    """The model with an adapter, whose parameters are moved off their first values: LoRA's B is zero there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what peft says of its choices is not what is tested
        return shaken(get_peft_model(model, config), by=by)


def shaken(module: torch.nn.Module, *, by: float = 0.2, seed: int = 2) -> torch.nn.Module:
    """Every trainable parameter moved by a Gaussian of that deviation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(by * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return module


def batch(*, samples: int = SAMPLES, padded: bool = False, seed: int = 3) -> dict[str, torch.Tensor]:
    """Token ids with repeats, the mask of what is no padding, and labels; 5 is among them, which some models pad with.

    Only the first sample keeps all its labels, the second keeps one: their losses then weigh differently.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (samples, TOKENS), generator=generator)
    ids[:, 2] = ids[:, 0]
    mask, labels = torch.ones_like(ids), ids.clone()
    if samples > 1:
        labels[1, :-1] = -100
    if padded:
        for sample in range(1, samples):
            length = TOKENS - 1 - sample % 3
            ids[sample, length:], mask[sample, length:] = 0, 0
            labels[sample] = ids[sample].masked_fill(mask[sample] == 0, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
