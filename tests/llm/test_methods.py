"""What is trained of a model: every architecture goes through attach, weights, assign, fit and save."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from securefed.errors import ConfigError
from securefed.llm.blocks import Blocks
from securefed.llm.methods import LoraOptions, Method, assign, attach, linear_layers, save, weights
from securefed.llm.models import from_configuration
from securefed.llm.runtime import quiet
from securefed.llm.training import fit

from .architectures import CONFIGURATIONS, CONTEXT, VOCABULARY


def some_blocks(examples: int = 12, seed: int = 0) -> Blocks:
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, (examples, CONTEXT))
    return Blocks(tokens, tokens.copy())


def logits(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(input_ids=torch.from_numpy(some_blocks(3, seed=9).tokens)).logits


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_architecture_trains_and_takes_its_weights_back(name: str, method: str, tmp_path: Path) -> None:
    module = attach(from_configuration(CONFIGURATIONS[name], 1), method, lora=LoraOptions(rank=2), seed=3)
    before = weights(module)
    start = logits(module)
    assert all(value.dtype == np.float32 for value in before.values())

    fitted = fit(module, some_blocks(), steps=4, batch=4, learning_rate=1e-2, seed=5)
    after = weights(module)
    trained = logits(module)
    assert np.isfinite(fitted.loss)
    assert list(after) == list(before)
    assert not torch.allclose(start, trained, atol=1e-4)
    # All that a method trains moves: LoRA's A from its second step on.
    assert [key for key in before if np.array_equal(before[key], after[key])] == []

    assign(module, before)
    assert torch.equal(logits(module), start)
    assign(module, dict(reversed(after.items())))
    assert torch.equal(logits(module), trained)

    save(module, tmp_path)
    if method == "lora":
        with quiet():  # peft 0.21 uses what transformers 5.23 deprecates
            again: torch.nn.Module = PeftModel.from_pretrained(from_configuration(CONFIGURATIONS[name], 1), tmp_path)
    else:
        again = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    torch.testing.assert_close(logits(again), trained)
    assert list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt")) == []


def test_weights_are_copies() -> None:
    module = attach(from_configuration(CONFIGURATIONS["llama"], 1), "full")
    values = weights(module)
    next(iter(values.values()))[:] = 7.0
    assert not np.array_equal(next(iter(weights(module).values())), next(iter(values.values())))
    start = weights(module)
    assign(module, start)
    fit(module, some_blocks(), steps=1, batch=2, learning_rate=1e-2, seed=0)
    assert not np.array_equal(next(iter(weights(module).values())), next(iter(start.values())))


def test_a_tied_weight_comes_once() -> None:
    tied = weights(attach(from_configuration(CONFIGURATIONS["llama"], 1), "full"))
    untied = weights(attach(from_configuration(CONFIGURATIONS["llama-untied"], 1), "full"))
    assert set(untied) - set(tied) == {"lm_head.weight"}
    assert sum("embed_tokens" in name for name in tied) == 1


def test_lora_trains_two_factors_of_every_linear_layer_but_the_head() -> None:
    model = from_configuration(CONFIGURATIONS["llama-untied"], 1)
    layers = set(linear_layers(model))
    assert "lm_head" not in layers
    assert len(layers) == 2 * 7
    values = weights(attach(model, "lora", lora=LoraOptions(rank=3)))
    assert set(values) == {f"{layer}.lora_{factor}.weight" for layer in layers for factor in "AB"}
    assert values["model.layers.0.mlp.down_proj.lora_A.weight"].shape == (3, 32)
    assert values["model.layers.0.mlp.down_proj.lora_B.weight"].shape == (16, 3)


def test_gpt2_conv1d_layers_are_found() -> None:
    values = weights(attach(from_configuration(CONFIGURATIONS["gpt2"], 1), "lora", lora=LoraOptions(rank=2)))
    assert {name.split(".")[-3] for name in values} == {"c_attn", "c_proj", "c_fc"}
    assert values["transformer.h.0.attn.c_attn.lora_B.weight"].shape == (48, 2)


def test_an_untrained_adapter_changes_nothing() -> None:
    bare = logits(from_configuration(CONFIGURATIONS["qwen3"], 1))
    adapted = logits(attach(from_configuration(CONFIGURATIONS["qwen3"], 1), "lora"))
    assert torch.equal(bare, adapted)


def test_initial_weights_follow_from_the_seed_alone() -> None:
    def factors(seed: int) -> dict[str, np.ndarray]:
        return weights(attach(from_configuration(CONFIGURATIONS["llama"], 1), "lora", seed=seed))

    first = factors(4)
    torch.rand(7)  # what else draws from the global generator does not matter
    again, other = factors(4), factors(5)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not any(np.array_equal(first[name], other[name]) for name in first if "lora_A" in name)
    state = torch.get_rng_state()
    factors(6)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_adapter_file_holds_the_same_arrays(tmp_path: Path) -> None:
    module = attach(from_configuration(CONFIGURATIONS["llama"], 1), Method.LORA)
    save(module, tmp_path, base="some/base")
    stored = load_file(tmp_path / "adapter_model.safetensors")
    values = weights(module)
    assert {name.removeprefix("base_model.model.") for name in stored} == set(values)
    assert all(np.array_equal(stored[f"base_model.model.{name}"], value) for name, value in values.items())
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "some/base"


def test_chosen_targets_alone_are_adapted() -> None:
    lora = LoraOptions(rank=2, targets=("q_proj", "v_proj"))
    values = weights(attach(from_configuration(CONFIGURATIONS["llama"], 1), "lora", lora=lora))
    assert {name.split(".")[-3] for name in values} == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (LoraOptions(rank=0), "method.rank"),
        (LoraOptions(alpha=0.0), "method.alpha"),
        (LoraOptions(alpha=float("nan")), "method.alpha"),
        (LoraOptions(alpha=float("inf")), "method.alpha"),
        (LoraOptions(dropout=1.0), "method.dropout"),
        (LoraOptions(targets=("q_proj", "nowhere")), "method.targets"),
        (LoraOptions(targets=("proj",)), "method.targets"),
        (LoraOptions(targets=()), "method.targets"),
    ],
)
def test_impossible_adapters_are_refused(options: LoraOptions, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        attach(from_configuration(CONFIGURATIONS["llama"], 1), "lora", lora=options)
    assert caught.value.key == key


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="lora, full, pretrain"):
        attach(from_configuration(CONFIGURATIONS["llama"], 1), "prompt")


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_weights_that_are_not_the_models_are_refused_and_nothing_is_written(fault: str) -> None:
    module = attach(from_configuration(CONFIGURATIONS["llama"], 1), "full")
    before = weights(module)
    wrong = {name: value + 1 for name, value in before.items()}
    last = list(wrong)[-1]
    if fault == "missing":
        del wrong[last]
    elif fault == "unknown":
        wrong["other"] = wrong[last]
    else:
        wrong[last] = wrong[last].reshape(1, -1)
    with pytest.raises(ConfigError, match="other" if fault == "unknown" else last):
        assign(module, wrong)
    assert all(np.array_equal(before[name], value) for name, value in weights(module).items())
