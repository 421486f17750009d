"""Real architectures in a tiny configuration, and a real small model, against the loop over samples."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from securefed.dp.clipping import Flat, Layerwise, attach, verify
from tests.dp.clipping import oracle, small
from tests.dp.clipping.test_rules import BFLOAT16, EXACT, engine_sums

MODES = {"layerwise": Layerwise(0.3), "flat": Flat(0.3)}


def compare(model: Any, mode: Layerwise | Flat, batch: dict[str, Any], autocast: Any, tolerance: float) -> None:
    bounds, got = engine_sums(model, mode, [batch], autocast)
    with autocast:
        expected = oracle.clipped_sum(model, oracle.split(batch), bounds)
    assert oracle.error(got, expected) <= tolerance


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", small.ARCHITECTURES)
def test_architecture(name: str, mode: str) -> None:
    compare(small.architecture(name), MODES[mode], small.batch(5, samples=3), nullcontext(), EXACT)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["gpt2", "llama tied", "gemma2"])
def test_checkpointed(name: str, mode: str, reentrant: bool) -> None:
    model = small.architecture(name)
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})
    compare(model, MODES[mode], small.batch(5, samples=3), nullcontext(), EXACT)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "phi"])
def test_padded(name: str, mode: str, side: str) -> None:
    batch = small.batch(5, samples=3)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    for row, padding in ((1, 2), (2, 4)):
        where = slice(0, padding) if side == "left" else slice(small.TOKENS - padding, None)
        batch["input_ids"][row, where] = 0
        batch["labels"][row, where] = -100
        batch["attention_mask"][row, where] = 0
    if side == "left":
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).masked_fill(batch["attention_mask"] == 0, 1)
    compare(small.architecture(name), MODES[mode], batch, nullcontext(), EXACT)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["gpt2", "llama tied", "gemma"])
def test_under_autocast(name: str, mode: str) -> None:
    """The oracle runs under the same autocast; its sums over tokens are rounded to bfloat16, the engine's are not."""
    autocast = torch.autocast("cpu", torch.bfloat16)
    compare(small.architecture(name), MODES[mode], small.batch(5, samples=3), autocast, 2 * BFLOAT16)


@pytest.mark.parametrize("mode", MODES)
def test_real_model(shared_data: Path, mode: str) -> None:
    place = shared_data / "models" / "stories260K-hf"
    if not place.is_dir():
        pytest.skip(f"no model at {place}")
    model = AutoModelForCausalLM.from_pretrained(place).train()
    tokenizer = AutoTokenizer.from_pretrained(place)
    texts = ["Once upon a time there was a little dog", "The sun was hot and Tim was sad because he"]
    rows = [tokenizer(text)["input_ids"][:12] for text in texts]
    ids = torch.tensor([row[: min(map(len, rows))] for row in rows])
    compare(model, MODES[mode], {"input_ids": ids, "labels": ids.clone()}, nullcontext(), EXACT)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["gpt2", "llama tied", "gemma3"])
def test_verify_agrees(name: str, mode: str) -> None:
    model = small.architecture(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    verify(model, small.batch(5, samples=3), MODES[mode])
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any("forward" in module.__dict__ for module in model.modules())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("mode", MODES)
def test_compiled(mode: str) -> None:
    """Each clipping operation is a break in the graph; what lies between is compiled, and the sums are the same."""
    torch.manual_seed(0)
    model = small.OneLayer("rms norm of llama", tie=True)
    batch = small.batch(1)
    expected_bounds, expected = engine_sums(model, MODES[mode], [batch], nullcontext())
    engine = attach(model, MODES[mode])
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(2):
        engine.loss(compiled(batch["input_ids"]).logits, batch["labels"]).backward()
        assert oracle.error(oracle.gradients(model), {k: v.double() for k, v in expected.items()}) <= EXACT
        engine.discard()
    assert expected_bounds == (engine.bounds if mode == "layerwise" else MODES[mode].total)


def test_generation_and_evaluation_are_as_before() -> None:
    model = small.architecture("llama").eval()
    ids = small.batch(5)["input_ids"]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        engine = attach(model)
        assert torch.equal(model(input_ids=ids).logits, before)
        model.generate(ids[:1], max_new_tokens=2, do_sample=False)
    engine.detach()
