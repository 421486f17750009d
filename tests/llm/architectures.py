"""Tiny configurations of the architectures that the tests go through."""

from __future__ import annotations

VOCABULARY = 64
CONTEXT = 16

_WIDE = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 32,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}

CONFIGURATIONS: dict[str, dict[str, object]] = {
    "llama": {"model_type": "llama", **_WIDE, "tie_word_embeddings": True},
    "llama-untied": {"model_type": "llama", **_WIDE, "tie_word_embeddings": False},
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": VOCABULARY,
        "n_positions": 32,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
    },
    "qwen2": {"model_type": "qwen2", **_WIDE},
    "qwen3": {"model_type": "qwen3", **_WIDE},
    "gemma": {"model_type": "gemma", **_WIDE},
    "gemma2": {"model_type": "gemma2", **_WIDE, "sliding_window": 8},
    "gemma3": {"model_type": "gemma3_text", **_WIDE, "sliding_window": 8},
}
