"""Adapters in every way of running them: padded, in micro-batches, checkpointed, in 16 bits, with dropout."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch.nn import Module

from securefed import dp
from securefed.dp.clipping.loss import token_losses
from tests.dp.adapters import exact, test_experts, test_lora, test_prompts, tiny
from tests.dp.clipping import oracle

CASES: dict[str, Callable[[], Module]] = {
    **{name: test_lora.CASES[name] for name in ("llama", "embedding", "dora gpt2", "dora embedding", "ia3")},
    **{name: test_prompts.CASES[name] for name in ("prompt", "encoder", "prefix projected", "tokens and lora")},
    "experts": test_experts.CASES["qwen2"],
}
PREFIXED = "prefix projected"  # transformers gives up its cache, and with it the prefix, when it checkpoints


@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("how", ["padded", "accumulated", "checkpointed"])
@pytest.mark.parametrize("case", CASES)
def test_clipped_sum_stays_exact(case: str, how: str, mode: str) -> None:
    if how == "checkpointed" and case == PREFIXED:
        pytest.skip("peft does not checkpoint prefix tuning")
    exact.assert_exact(CASES[case](), mode, how)


def largest_share(engine: Any) -> float:
    """Of its bound, what the sums in hand have, in the group (flat: in all) that has most."""
    sums = {id(one): engine.clipper.sums.buffer(one) for one in engine.parameters}
    assert all(one is None or one.dtype == torch.float32 for one in sums.values())
    squares = {key: 0.0 if one is None else float(one.double().square().sum()) for key, one in sums.items()}
    if isinstance(engine.mode, dp.Flat):
        return sum(squares.values()) ** 0.5 / engine.clipper.bound
    groups = {group: held.values() for covered in engine.covered for group, held in covered.parameters.items()}
    return max(sum(squares[id(one)] for one in held) ** 0.5 / group.bound for group, held in groups.items())


@pytest.mark.parametrize("inside", [False, True], ids=["forward", "backward too"])
@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("case", CASES)
def test_no_sample_passes_its_bound_under_autocast(case: str, mode: str, inside: bool) -> None:
    model = CASES[case]()
    plain = copy.deepcopy(model)
    engine = dp.attach(model, exact.clip(mode, 1e-3))
    bounds = engine.bounds if mode == "layerwise" else 1e-3
    for sample in oracle.split(tiny.batch()):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**exact.inputs(sample)).logits
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            engine.loss(logits, exact.lengthened(sample["labels"], logits)).backward()
        assert largest_share(engine) <= 1 + 1e-5
        with torch.autocast("cpu", torch.bfloat16):
            expected = oracle.clipped_sum(plain, [sample], bounds, exact.sample_loss, exact.groups(engine))
        assert exact.error(oracle.gradients(model), expected) < 0.05
        engine.discard()


@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("case", CASES)
def test_no_sample_passes_its_bound_with_weights_of_16_bits(case: str, mode: str) -> None:
    engine = dp.attach(CASES[case]().to(torch.bfloat16), exact.clip(mode, 1e-3))
    for sample in oracle.split(tiny.batch()):
        exact.backward(engine, sample)
        assert 0.9 < largest_share(engine) <= 1 + 1e-5
        engine.discard()


class Fixed(torch.nn.Module):
    """A dropout that drops the same entries of every sample, so that a loop over samples drops them too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(0)) > 0.3
        return x * kept / 0.7


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("mode", exact.MODES)
def test_dropout_before_an_adapter(mode: str, dora: bool) -> None:
    config = LoraConfig(r=2, target_modules=["v_proj", "down_proj"], lora_dropout=0.3, use_dora=dora)
    model = tiny.adapted(tiny.llama(), config).train()
    for module in model.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = Fixed()
    exact.assert_exact(model, mode)


@pytest.mark.rule("D8")
@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("case", ["llama", "dora gpt2", "ia3", "prompt", "encoder", "experts"])
def test_a_sample_that_is_not_finite_contributes_nothing(case: str, mode: str) -> None:
    model = CASES[case]()
    batch = tiny.batch()
    batch["inputs_embeds"] = model.get_input_embeddings()(batch.pop("input_ids")).detach()
    engine = dp.attach(model, exact.clip(mode, 0.01))
    exact.backward(engine, {key: value[[0, 1, 3]] for key, value in batch.items()})
    expected = {name: one.double().clone() for name, one in oracle.gradients(model).items() if one is not None}
    engine.discard()
    batch["inputs_embeds"][2, 3] = float("nan")
    exact.backward(engine, batch)
    assert exact.error(oracle.gradients(model), expected) < exact.LIMIT


@pytest.mark.rule("D8")
@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("case", CASES)
def test_a_loss_that_is_not_finite_contributes_nothing(case: str, mode: str) -> None:
    model = CASES[case]()
    batch = tiny.batch()
    engine = dp.attach(model, exact.clip(mode, 0.01))
    exact.backward(engine, {key: value[[0, 1, 3]] for key, value in batch.items()})
    expected = {name: one.double().clone() for name, one in oracle.gradients(model).items() if one is not None}
    engine.discard()
    logits = model(**exact.inputs(batch)).logits
    losses = token_losses(logits, exact.lengthened(batch["labels"], logits), shift=True)
    engine.sum(losses * torch.tensor([1.0, 1.0, float("nan"), 1.0])).backward()
    assert exact.error(oracle.gradients(model), expected) < exact.LIMIT
