"""Adapters on a trained model: activations and gradients of real magnitudes."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, PrefixTuningConfig, PromptTuningConfig
from transformers import AutoModelForCausalLM

from securefed import dp
from tests.dp.adapters import exact, tiny
from tests.dp.clipping import oracle

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, PeftConfig] = {
    "lora": LoraConfig(r=8, target_modules=[*LINEAR, "embed_tokens"]),
    "dora": LoraConfig(r=4, target_modules=LINEAR, use_dora=True),
    "ia3": IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
}


@pytest.fixture
def stories(shared_data: Path) -> Path:
    place = shared_data / "models" / "stories260K-hf"
    if not place.is_dir():
        pytest.skip(f"no model at {place}")
    return place


@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_clipped_sum_is_that_of_a_loop_over_samples(stories: Path, kind: str, mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = AutoModelForCausalLM.from_pretrained(stories, dtype=torch.float32)
    model = tiny.adapted(base, copy.deepcopy(KINDS[kind]), by=0.02)
    ids = torch.randint(3, base.config.vocab_size, (5, 48), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    plain = copy.deepcopy(model)
    engine = dp.attach(model, exact.clip(mode, 1.0))
    got = exact.run(engine, batch, "plain")
    bounds = engine.bounds if mode == "layerwise" else 1.0
    expected = oracle.clipped_sum(plain, oracle.split(batch), bounds, exact.sample_loss, exact.groups(engine))
    assert exact.error(got, expected) < exact.LIMIT
