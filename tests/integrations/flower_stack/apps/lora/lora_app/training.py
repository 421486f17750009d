"""A Llama of 30 000 parameters, LoRA on its attention, and a node's text; the same bits wherever it runs."""

from __future__ import annotations

import inspect
import json.decoder
import string
import textwrap
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import LlamaConfig, LlamaForCausalLM

Arrays = dict[str, npt.NDArray[np.float32]]

_TEXTS: tuple[ModuleType, ...] = (string, textwrap, json.decoder)
_VOCABULARY, _CONTEXT, _BATCH, _STEPS = 64, 32, 8, 4


def adapter() -> Arrays:
    """The LoRA tensors that a job begins with."""
    return _arrays(_model())


def train(arrays: Arrays, partition: int, round_number: int) -> tuple[Arrays, int, float]:
    """A few steps of AdamW on a node's text; gives the new tensors, how many examples and the last step's loss."""
    torch.set_num_threads(1)
    model = _model()
    set_peft_model_state_dict(model, {name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    windows = _windows(partition)
    order = torch.Generator().manual_seed(1000 * round_number + partition)
    loss = torch.zeros(())
    for _ in range(_STEPS):
        batch = windows[torch.randint(len(windows), (_BATCH,), generator=order)]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _arrays(model), _BATCH * _STEPS + partition, loss.item()


def _model() -> Any:
    torch.manual_seed(20)
    configuration = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=_CONTEXT,
        attn_implementation="eager",
    )
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    return get_peft_model(LlamaForCausalLM(configuration), lora)


def _arrays(model: Any) -> Arrays:
    state = get_peft_model_state_dict(model)
    return {name: tensor.detach().numpy().astype(np.float32) for name, tensor in sorted(state.items())}


def _windows(partition: int) -> torch.Tensor:
    """The source of a module of the standard library, a token a character, in windows."""
    text = inspect.getsource(_TEXTS[partition % len(_TEXTS)]).encode()
    tokens = torch.tensor([byte % _VOCABULARY for byte in text])
    return tokens[: len(tokens) // _CONTEXT * _CONTEXT].reshape(-1, _CONTEXT)
