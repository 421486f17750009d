"""Tiny models, and what a server sees of a client that trains them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from securefed.audit.leakage import HuggingFaceDecoder, TokenRecovery, recover_from_update, token_recovery

pytest.importorskip("transformers", reason="the llm extra is not installed")
VOCABULARY = 160
WIDTH = 48


def model_of(kind: str) -> Any:
    """A causal language model with random weights, always the same."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    if kind == "gpt2":
        sizes = {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 32}
        config = GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=kind == "llama-tied",
    )
    return LlamaForCausalLM(config).eval()


def with_lora(model: Any, rank: int, *, frozen: bool, started: bool = False) -> Any:
    """Adapters on queries and values, as in a first round, or with a B that is no longer zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    targets = ["c_attn"] if hasattr(model, "transformer") else ["q_proj", "v_proj"]
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, task_type="CAUSAL_LM", lora_dropout=0.0)
    config.fan_in_fan_out = "c_attn" in targets
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(not frozen)
        if "lora_B" in name and started:
            torch.nn.init.normal_(parameter.data, 0.0, 0.02)
    return adapted.eval()


@dataclass
class Trained:
    """A client's update, and the truth about it."""

    decoder: HuggingFaceDecoder
    before: dict[str, np.ndarray]
    update: dict[str, np.ndarray]
    batches: list[np.ndarray]

    @property
    def present(self) -> set[int]:
        """Input tokens: the last of a text is only a label."""
        return {int(token) for batch in self.batches for token in batch[:, :-1].ravel()}

    @property
    def texts(self) -> set[tuple[int, ...]]:
        return {tuple(text[:-1].tolist()) for batch in self.batches for text in batch}

    @property
    def embedding(self) -> str:
        return next(name for name in self.before if "embed_tokens" in name or "wte" in name)


def train(
    model: Any, texts: int, length: int, *, steps: int = 1, optimizer: str = "SGD", rate: float = 0.1, seed: int = 0
) -> Trained:
    """Local training on random texts, one batch a step."""
    import torch

    decoder = HuggingFaceDecoder(copy.deepcopy(model))
    rng = np.random.default_rng(seed)
    batches = [rng.integers(0, VOCABULARY, (texts, length)) for _ in range(steps)]
    before = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    trained = [value for value in model.parameters() if value.requires_grad]
    stepper = getattr(torch.optim, optimizer)(trained, lr=rate)
    for batch in batches:
        stepper.zero_grad()
        tokens = torch.from_numpy(batch)
        logits = model(input_ids=tokens).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), tokens[:, 1:].reshape(-1)).backward()
        stepper.step()
    update = {
        name: value.detach().numpy() - before[name] for name, value in model.named_parameters() if value.requires_grad
    }
    return Trained(decoder, before, update, batches)


def attack(seen: Trained, update: dict[str, np.ndarray] | None = None, *, noise: float = 0.0) -> TokenRecovery:
    """Both layers, and the truth."""
    changes = seen.update if update is None else update
    longest = seen.batches[0].shape[1]
    found = recover_from_update(seen.decoder, changes, seen.before, longest=longest, noise=noise)
    return token_recovery(
        [found.tokens], [seen.present], VOCABULARY, scores=[found.scores], texts=[(found.texts, seen.texts)]
    )
