"""LoRA in its kinds: on linear layers, Conv1D and embeddings, with DoRA, and IA3."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from peft import IA3Config, LNTuningConfig, LoraConfig
from torch.nn import Module

from tests.dp.adapters import exact, tiny

LLAMA = ["q_proj", "v_proj", "down_proj"]
GPT2 = ["c_attn", "c_proj"]


def lora(base: Callable[..., Module], **options: object) -> Callable[[], Module]:
    options = {"r": 2, "lora_alpha": 4} | options
    return lambda: tiny.adapted(base(), LoraConfig(**options))


def frozen(part: str) -> Module:
    model = lora(tiny.llama, target_modules=LLAMA)()
    for name, parameter in model.named_parameters():
        if part in name:
            parameter.requires_grad_(False)
    return model


def several() -> Module:
    model = lora(tiny.llama, target_modules=LLAMA)()
    model.add_adapter("second", LoraConfig(r=3, target_modules=["v_proj", "o_proj"], use_rslora=True))
    model.base_model.set_adapter(["default", "second"])
    return tiny.shaken(model)


CASES: dict[str, Callable[[], Module]] = {
    "llama": lora(tiny.llama, target_modules=LLAMA),
    "gpt2": lora(tiny.gpt2, target_modules=GPT2, fan_in_fan_out=True),
    "head": lora(tiny.gpt2, target_modules=["c_attn", "lm_head"], fan_in_fan_out=False),
    "rslora": lora(tiny.llama, target_modules=LLAMA, use_rslora=True),
    "bias": lora(tiny.gpt2, target_modules=["c_attn"], fan_in_fan_out=True, lora_bias=True),
    "base bias": lora(tiny.gpt2, target_modules=["c_attn"], fan_in_fan_out=True, bias="lora_only"),
    "freeze A": lambda: frozen("lora_A"),
    "freeze B": lambda: frozen("lora_B"),
    "several": several,
    "embedding": lora(tiny.llama, target_modules=["embed_tokens", "q_proj"]),
    "embedding padding": lora(lambda: tiny.llama(pad_token_id=5), target_modules=["embed_tokens"]),
    "positions": lora(tiny.gpt2, target_modules=["wte", "c_attn"], fan_in_fan_out=True),
    "position table": lora(tiny.gpt2, target_modules=["wpe", "wte"], fan_in_fan_out=True, use_dora=True),
    "scaled embedding": lora(tiny.gemma, target_modules=["embed_tokens", "q_proj"]),
    "scaled embedding dora": lora(tiny.gemma, target_modules=["embed_tokens"], use_dora=True),
    "saved head": lora(tiny.llama, target_modules=LLAMA, modules_to_save=["lm_head"]),
    "saved embedding": lora(tiny.llama, target_modules=["v_proj"], modules_to_save=["embed_tokens"]),
    "saved and tied": lora(
        lambda: tiny.llama(tie_word_embeddings=True),
        target_modules=["v_proj"],
        modules_to_save=["embed_tokens", "lm_head"],
        ensure_weight_tying=True,
    ),
    "adapters tied": lora(
        lambda: tiny.llama(tie_word_embeddings=True),
        target_modules=["embed_tokens", "lm_head"],
        ensure_weight_tying=True,
    ),
    "tied": lora(lambda: tiny.llama(tie_word_embeddings=True), target_modules=["v_proj", "embed_tokens", "lm_head"]),
    "dora": lora(tiny.llama, target_modules=LLAMA, use_dora=True),
    "dora gpt2": lora(tiny.gpt2, target_modules=GPT2, fan_in_fan_out=True, use_dora=True),
    "dora embedding": lora(tiny.llama, target_modules=["embed_tokens", "v_proj"], use_dora=True),
    "dora rslora": lora(tiny.llama, target_modules=["v_proj"], use_dora=True, use_rslora=True),
    "mica": lora(tiny.llama, target_modules=["v_proj", "embed_tokens"], init_lora_weights="mica"),
    "ia3": lambda: tiny.adapted(
        tiny.llama(), IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])
    ),
    "ia3 gpt2": lambda: tiny.adapted(
        tiny.gpt2(),
        IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True),
    ),
    "layer norm": lambda: tiny.adapted(tiny.gpt2(), LNTuningConfig(target_modules=["ln_1", "ln_f"])),
    "rms norm": lambda: tiny.adapted(tiny.llama(), LNTuningConfig(target_modules=["input_layernorm", "norm"])),
}


@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("case", CASES)
def test_clipped_sum_is_that_of_a_loop_over_samples(case: str, mode: str) -> None:
    exact.assert_exact(CASES[case](), mode, plain=CASES[case]())
