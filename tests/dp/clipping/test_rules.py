"""Every rule of the base layers against a loop over samples, in both modes and under what training does to a model."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from securefed.dp.clipping import Flat, Layerwise, attach
from securefed.dp.clipping.primitives import linear
from tests.dp.clipping import oracle, small

EXACT = 1e-5
BFLOAT16 = 2e-2
"""The oracle's weight gradients are products rounded to bfloat16 (2^-9 each); the engine's are float32."""

MODES = {"layerwise": Layerwise(0.5), "flat": Flat(0.5)}
CONDITIONS = ("plain", "ghost", "tied", "tied ghost", "checkpointed", "reentrant", "accumulated", "padded", "bfloat16")


def engine_sums(model: Any, mode: Layerwise | Flat, batches: list[dict[str, Any]], autocast: Any) -> tuple[Any, Any]:
    """Bounds, and the clipped sum over all micro-batches."""
    engine = attach(model, mode)
    bounds = engine.bounds if isinstance(mode, Layerwise) else mode.total
    for batch in batches:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        with autocast:
            loss = engine.loss(model(**inputs).logits, batch["labels"])
        loss.backward()
    got = {name: None if g is None else g.clone() for name, g in oracle.gradients(model).items()}
    engine.detach()
    return bounds, got


def set_up(condition: str) -> tuple[dict[str, Any], list[dict[str, Any]], Any]:
    """Arguments of the model, micro-batches, and the context that forward passes run in."""
    batches = [small.batch(1)]
    settings: dict[str, Any] = {}
    autocast: Any = nullcontext()
    if condition.startswith("tied"):
        settings["tie"] = True
    elif condition in ("checkpointed", "reentrant"):
        settings["reentrant"] = condition == "reentrant"
    elif condition == "accumulated":
        batches.append(small.batch(2, samples=3))
    elif condition == "padded":
        for row, length in enumerate((6, 3, 2, 1)):
            batches[0]["input_ids"][row, length:] = 0
            batches[0]["labels"][row, length:] = -100
    elif condition == "bfloat16":
        autocast = torch.autocast("cpu", torch.bfloat16)
    return settings, batches, autocast


def only_ghost(monkeypatch: pytest.MonkeyPatch) -> None:
    """At these widths the direct way is always the cheaper one."""
    monkeypatch.setattr(linear, "DIRECT_COST", 1e9)
    monkeypatch.setattr(linear, "KEPT_FROM", 1e9)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", small.LAYERS)
def test_clipped_sum_is_that_of_a_loop(kind: str, mode: str, condition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "ghost" in condition:
        only_ghost(monkeypatch)
    settings, batches, autocast = set_up(condition)
    torch.manual_seed(0)
    model = small.OneLayer(kind, **settings).train()
    bounds, got = engine_sums(model, MODES[mode], batches, autocast)
    with autocast:
        samples = [one for batch in batches for one in oracle.split(batch)]
        expected = oracle.clipped_sum(model, samples, bounds)
        plain = oracle.clipped_sum(model, samples, 1e9)
    assert oracle.error(got, expected) <= (BFLOAT16 if condition == "bfloat16" else EXACT)
    assert oracle.error(expected, plain) > 0.1  # the bounds do cut


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["linear", "conv1d", "layer norm", "rms norm of llama"])
@pytest.mark.parametrize("only", ["weight", "bias"])
def test_a_part_of_a_layer_can_be_frozen(kind: str, mode: str, only: str) -> None:
    torch.manual_seed(0)
    model = small.OneLayer(kind)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(only)
    if not any(one.requires_grad for one in model.layer.parameters()):
        pytest.skip("there is no such parameter")
    batch = small.batch(1)
    bounds, got = engine_sums(model, MODES[mode], [batch], nullcontext())
    assert oracle.error(got, oracle.clipped_sum(model, oracle.split(batch), bounds)) <= EXACT


@pytest.mark.parametrize("kind", small.LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_is_that_of_the_module_bit_for_bit(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = small.OneLayer(kind).to(dtype)
    batch = small.batch(1)
    expected = model(batch["input_ids"]).logits
    engine = attach(model)
    got = model(batch["input_ids"]).logits
    engine.detach()
    assert got.requires_grad
    assert torch.equal(got, expected)


@pytest.mark.parametrize("kind", small.LAYERS)
def test_forward_under_autocast_is_that_of_the_module_bit_for_bit(kind: str) -> None:
    torch.manual_seed(0)
    model = small.OneLayer(kind)
    batch = small.batch(1)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(batch["input_ids"]).logits
        engine = attach(model)
        got = model(batch["input_ids"]).logits
    engine.detach()
    assert got.dtype == expected.dtype
    assert torch.equal(got, expected)


@pytest.mark.parametrize("mode", MODES)
def test_parameters_of_16_bits_have_their_sums_in_float32(mode: str) -> None:
    torch.manual_seed(0)
    model = small.OneLayer("linear").to(torch.bfloat16)
    batch = small.batch(1)
    engine = attach(model, MODES[mode])
    engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    sums = {name: engine.clipper.sums.buffer(one).clone() for name, one in model.named_parameters()}
    assert all(one.dtype == torch.float32 for one in sums.values())
    bounds = engine.bounds if mode == "layerwise" else MODES[mode].total
    engine.step(torch.optim.SGD(model.parameters(), lr=0.0))
    engine.detach()
    expected = oracle.clipped_sum(model, oracle.split(batch), bounds)
    assert oracle.error(sums, expected) <= BFLOAT16


@pytest.mark.parametrize("tokens", [1, 2, 40])
@pytest.mark.parametrize("mode", MODES)
def test_short_and_long_sequences(tokens: int, mode: str) -> None:
    """One token, few, and so many that a sample's gradient is smaller than what it is made of."""
    torch.manual_seed(0)
    model = small.OneLayer("linear")
    batch = small.batch(1, samples=3, tokens=tokens + 1)
    bounds, got = engine_sums(model, MODES[mode], [batch], nullcontext())
    assert oracle.error(got, oracle.clipped_sum(model, oracle.split(batch), bounds)) <= EXACT


def test_blocks_smaller_than_the_batch_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securefed.dp.clipping.group.SCRATCH_ON_CPU", 2 * small.WIDTH**2)
    torch.manual_seed(0)
    model = small.OneLayer("linear")
    batch = small.batch(1, samples=5, tokens=9)
    bounds, got = engine_sums(model, Layerwise(1.0), [batch], nullcontext())
    assert oracle.error(got, oracle.clipped_sum(model, oracle.split(batch), bounds)) <= EXACT


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("condition", ["bfloat16", "tied"])
def test_products_of_16_bits_that_a_device_gives_in_32(
    mode: str, condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a device that has them, here made up; the sums must be as near as those of float32 products."""
    torch.manual_seed(0)
    model = small.OneLayer("wide linear", tie=condition == "tied")
    batch, autocast = small.batch(1), torch.autocast("cpu", torch.bfloat16)
    _, expected = engine_sums(model, MODES[mode], [batch], autocast)
    monkeypatch.setattr(linear, "_native", lambda tensor: tensor.dtype == torch.bfloat16)
    monkeypatch.setattr(linear, "_native_bmm", lambda left, right: torch.bmm(left.float(), right.float()))
    only_ghost(monkeypatch)
    _, got = engine_sums(model, MODES[mode], [batch], autocast)
    assert oracle.error(got, {name: g.double() for name, g in expected.items()}) <= 2**-14


def test_weights_set_the_bounds_and_the_total_stays() -> None:
    model = small.OneLayer("linear", tie=True)
    engine = attach(model, Layerwise(2.0, weights={"layer*": 3.0}))
    bounds = engine.bounds
    engine.detach()
    assert bounds["layer"] == pytest.approx(3 * bounds["head"])
    assert (bounds["embedding"] + bounds["head"]) ** 2 + bounds["layer"] ** 2 == pytest.approx(4.0)
    batch = small.batch(1)
    _, got = engine_sums(model, Layerwise(2.0, weights={"layer*": 3.0}), [batch], nullcontext())
    assert oracle.error(got, oracle.clipped_sum(model, oracle.split(batch), bounds)) <= EXACT
