"""Models of a few thousand parameters, of the kinds that are judged: loud ones, so that there is something to clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

VOCABULARY = 23
TOKENS = 6
"""More than the samples of any batch: which dimension is which is never in doubt."""


def gpt2(tied: bool = False) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=8, n_layer=1, n_head=2, n_positions=16, tie_word_embeddings=tied,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, use_cache=False,
    )  # fmt: skip
    return _loud(GPT2LMHeadModel(config))


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, bos_token_id=0, eos_token_id=0, use_cache=False,
    )  # fmt: skip
    return _loud(LlamaForCausalLM(config))


def lora() -> Any:
    from peft import LoraConfig, get_peft_model

    return _loud(get_peft_model(llama(), LoraConfig(r=2, target_modules="all-linear")))


def prompt() -> Any:
    from peft import PromptTuningConfig, TaskType, get_peft_model

    return _loud(get_peft_model(llama(), PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=5)))


def _loud(model: Any) -> Any:
    """All weights anew, far larger than a model's: B of LoRA is not zero, and gradients are large."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5)
    return model.train()


MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": gpt2,
    "tied gpt2": lambda: gpt2(tied=True),
    "llama": llama,
    "lora": lora,
    "prompt": prompt,
}
