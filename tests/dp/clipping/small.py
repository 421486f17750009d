"""Models of a few hundred parameters, one for each kind of layer, and tiny configurations of real architectures."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.pytorch_utils import Conv1D

VOCABULARY = 37
WIDTH = 8
TOKENS = 6

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "linear without bias": lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    "wide linear": lambda: nn.Sequential(nn.Linear(WIDTH, 96), nn.Tanh(), nn.Linear(96, WIDTH)),
    "conv1d": lambda: Conv1D(WIDTH, WIDTH),
    "wide conv1d": lambda: nn.Sequential(Conv1D(96, WIDTH), nn.Tanh(), Conv1D(WIDTH, 96)),
    "layer norm": lambda: nn.LayerNorm(WIDTH),
    "layer norm without bias": lambda: nn.LayerNorm(WIDTH, bias=False),
    "rms norm of torch": lambda: nn.RMSNorm(WIDTH),
    "rms norm of llama": lambda: LlamaRMSNorm(WIDTH),
    "rms norm of gemma": lambda: GemmaRMSNorm(WIDTH),
    "positions": lambda: Positions(),
    "scaled embedding": lambda: nn.Identity(),
}


class Positions(nn.Module):
    """Learnt positions from one row of indices for the whole batch, as GPT-2 makes them by default."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(TOKENS + 2, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.table(torch.arange(x.shape[1]).unsqueeze(0))


class OneLayer(nn.Module):
    """Embedding, the layer, a head; all of it trained."""

    def __init__(self, kind: str, tie: bool = False, reentrant: bool | None = None) -> None:
        super().__init__()
        if kind == "scaled embedding":
            self.embedding: nn.Module = Gemma3TextScaledWordEmbedding(VOCABULARY, WIDTH, 0, embed_scale=WIDTH**0.5)
        else:
            self.embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        self.layer = LAYERS[kind]()
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        for parameter in self.parameters():
            nn.init.normal_(parameter)
        if tie:
            self.head.weight = self.embedding.weight
        self.reentrant = reentrant

    def _inner(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))

    def forward(self, input_ids: Tensor) -> Any:
        x = self.embedding(input_ids)
        if self.reentrant is None or not self.training:
            x = self._inner(x)
        else:
            x = checkpoint(self._inner, x, use_reentrant=self.reentrant)
        return SimpleNamespace(logits=self.head(x))


def batch(seed: int, samples: int = 4, tokens: int = TOKENS, vocabulary: int = VOCABULARY) -> dict[str, Tensor]:
    """Token ids, with repeated ones, and labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, vocabulary, (samples, tokens), generator=generator)
    ids[0, 1] = ids[0, 0]
    return {"input_ids": ids, "labels": ids.clone()}


_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_dropout": 0.0,
}

ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=1, eos_token_id=2,
    ),
    "llama": lambda: LlamaConfig(**_SHAPE),
    "llama tied": lambda: LlamaConfig(**_SHAPE, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**_SHAPE),
    "qwen3": lambda: Qwen3Config(**_SHAPE, head_dim=8),
    "mistral": lambda: MistralConfig(**_SHAPE, sliding_window=4, head_dim=8),
    "gemma": lambda: GemmaConfig(**_SHAPE, head_dim=8),
    "gemma2": lambda: Gemma2Config(**_SHAPE, head_dim=8),
    "gemma3": lambda: Gemma3TextConfig(**_SHAPE, head_dim=8),
    "phi": lambda: PhiConfig(**{**_SHAPE, "num_key_value_heads": 2}, resid_pdrop=0.0, embd_pdrop=0.0),
    "phi3": lambda: Phi3Config(**_SHAPE, resid_pdrop=0.0, embd_pdrop=0.0),
}  # fmt: skip


def architecture(name: str) -> Any:
    """A randomly initialised model of this architecture, in training mode and without dropout."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[name](), attn_implementation="eager")
    model.config.use_cache = False
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1:  # weights of norms begin at 0 or 1, biases at 0: all rules would be alike
                parameter.add_(torch.randn(parameter.shape) * 0.3)
            elif "embed" in key or "wte" in key:
                parameter.mul_(20.0)
    return model.train()
