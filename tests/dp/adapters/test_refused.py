"""Adapters, and uses of them, that are refused before training or as soon as they show."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import peft
import pytest
import torch
from peft import LoraConfig
from torch.nn import Module
from transformers import GptOssConfig, GptOssForCausalLM

from securefed import dp
from securefed.errors import ConfigError, LocalProtocolError
from tests.dp.adapters import exact, test_experts, test_lora, test_prompts, tiny

TARGETS = ["q_proj", "v_proj"]
PROMPT = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}

NO_RULE: dict[str, Callable[[], peft.PeftConfig]] = {
    "lora_A.default": lambda: peft.AdaLoraConfig(target_modules=TARGETS, init_r=2, target_r=1, total_step=10),
    "vera_lambda_b": lambda: peft.VeraConfig(target_modules=["v_proj"], r=2),
    "hada_w1_a": lambda: peft.LoHaConfig(target_modules=TARGETS, r=2),
    "lokr_w1": lambda: peft.LoKrConfig(target_modules=TARGETS, r=2),
    "oft_R.default.weight": lambda: peft.OFTConfig(target_modules=TARGETS, r=0, oft_block_size=4),
    "boft_R": lambda: peft.BOFTConfig(target_modules=TARGETS, boft_block_size=4),
    "fourierft_spectrum": lambda: peft.FourierFTConfig(target_modules=TARGETS, n_frequency=4),
    "prefix_task_cols": lambda: peft.MultitaskPromptTuningConfig(**PROMPT, num_tasks=2),
    "lstm_head.weight_ih_l0": lambda: peft.PromptEncoderConfig(
        **PROMPT, encoder_hidden_size=8, encoder_reparameterization_type="LSTM"
    ),
    # The next three are made of linear layers and embeddings, and use their weights in formulas of their own.
    "lora_A.default.weight": lambda: LoraConfig(r=2, target_modules=[], target_parameters=["mlp.down_proj.weight"]),
    "q_proj.lora_A.default": lambda: LoraConfig(
        r=2, target_modules=TARGETS, task_type="CAUSAL_LM", alora_invocation_tokens=[3, 4]
    ),
    "delta_embedding.weight": lambda: peft.CPTConfig(
        task_type="CAUSAL_LM", cpt_token_ids=[1, 2], cpt_mask=[1, 1], cpt_tokens_type_mask=[1, 2]
    ),
}


@pytest.mark.rule("D1")
@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("parameter", NO_RULE)
def test_no_rule_is_said_by_the_parameter_s_name(parameter: str, mode: str) -> None:
    model = tiny.adapted(tiny.llama(), NO_RULE[parameter]())
    with pytest.raises(ConfigError, match=rf"{parameter}.*: \[D1\] .*(freeze it|instead|use plain LoRA)"):
        dp.attach(model, exact.clip(mode, 1.0))


def merged() -> Module:
    model = test_lora.CASES["llama"]()
    model.merge_adapter()
    return model


def disabled() -> Module:
    model = test_lora.CASES["llama"]()
    model.base_model.disable_adapter_layers()
    return model.requires_grad_(True)


def with_trained_base(case: str, name: str) -> Module:
    model = test_lora.CASES[case]() if case in test_lora.CASES else test_prompts.CASES[case]()
    for key, parameter in model.named_parameters():
        if name in key:
            parameter.requires_grad_(True)
    return model


STATES: dict[str, tuple[Callable[[], Module], str]] = {
    "merged": (merged, "are merged"),
    "disabled": (disabled, "are disabled"),
    "dora, base bias": (lambda: with_trained_base("dora gpt2", "base_layer.bias"), "base_layer.bias.*freeze it"),
    "dora, base weight": (lambda: with_trained_base("dora", "base_layer.weight"), "base_layer.weight.*freeze it"),
    "dora embedding, base": (lambda: with_trained_base("dora embedding", "base_layer.weight"), "freeze it"),
    "tokens, base": (lambda: with_trained_base("tokens", "base_layer.weight"), "base_layer.weight.*freeze it"),
}


@pytest.mark.rule("D1")
@pytest.mark.parametrize("state", STATES)
def test_a_state_that_cannot_be_trained_is_refused(state: str) -> None:
    build, words = STATES[state]
    model = build()
    with pytest.raises(ConfigError, match=rf"\[D1\].*{words}|{words}"):
        dp.attach(model)


def test_an_embedding_that_renormalises_itself_is_refused() -> None:
    base = tiny.llama()
    base.model.embed_tokens.max_norm = 1.0
    with pytest.raises(ConfigError, match="max_norm"):
        dp.attach(tiny.adapted(base, LoraConfig(r=2, target_modules=["embed_tokens"])))


@pytest.mark.rule("D3")
@pytest.mark.parametrize("case", ["llama", "embedding"])
def test_a_batch_of_several_adapters_is_refused(case: str) -> None:
    model = test_lora.CASES[case]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"]))
    model.eval()
    dp.attach(model)
    names = ["default", "other", "other", "other"]
    with pytest.raises(LocalProtocolError, match=r"D3.*adapter_names"):
        model(input_ids=tiny.batch()["input_ids"], adapter_names=names)


@pytest.mark.rule("D14")
def test_experts_without_a_rule_are_refused_by_name() -> None:
    sizes = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    model = GptOssForCausalLM(GptOssConfig(**(dict(tiny.WIDE) | sizes))).requires_grad_(False)
    model.model.layers[0].mlp.experts.down_proj.requires_grad_(True)
    with pytest.raises(ConfigError, match=r"layers\.0\.mlp\.experts\.down_proj: \[D14\]"):
        dp.attach(model)


@pytest.mark.rule("D3")
def test_adapters_within_a_flattened_block_are_refused() -> None:
    """Its layers see tokens instead of samples; only a block whose experts are trained has a rule that changes that."""
    model = tiny.adapted(test_experts.qwen2(), LoraConfig(r=2, target_modules=["up_proj"]))
    dp.attach(model)
    with pytest.raises(LocalProtocolError, match=r"shared_expert\.up_proj.*D3|D3.*shared_expert\.up_proj"):
        model(input_ids=tiny.batch()["input_ids"])


@pytest.mark.rule("D4")
def test_a_load_balancing_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"output_router_logits.*D4"):
        dp.attach(tiny.mixtral(output_router_logits=True))
    model = tiny.mixtral()
    dp.attach(model)
    with pytest.raises(LocalProtocolError, match="D4"):
        model(input_ids=tiny.batch()["input_ids"], output_router_logits=True)


@pytest.mark.rule("D4")
def test_a_penalty_on_an_adapter_is_refused() -> None:
    model = test_lora.CASES["embedding"]()
    engine = dp.attach(model)
    batch = tiny.batch()
    penalty = sum(p.square().sum() for p in model.parameters() if p.requires_grad)
    with pytest.raises(LocalProtocolError, match="D4"):
        (engine.loss(model(**exact.inputs(batch)).logits, batch["labels"]) + penalty).backward()


def test_no_rule_calls_the_encoder_of_a_prompt() -> None:
    model = test_prompts.CASES["prompt"]()
    engine = dp.attach(model)
    assert [group.name for group in engine.groups] == ["PeftModelForCausalLM.prompt_encoder.default.embedding"]
    engine.detach()
    assert "get_prompt" not in vars(model)
    assert model.get_prompt(batch_size=2).shape == torch.Size([2, 3, 16])
