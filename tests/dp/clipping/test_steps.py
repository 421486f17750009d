"""What a step does after the sums: accounting first, then noise, the divisor, the optimiser and the bounds."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from securefed.dp.accounting import Gaussian, Ledger, Unit
from securefed.dp.clipping import Flat, Layerwise, Quantile, attach
from securefed.dp.clipping.contributions import clip
from securefed.dp.noise import Source
from securefed.dp.sampling import FixedBatches, Poisson
from securefed.errors import BudgetExceeded, ConfigError, LocalProtocolError, PersistenceError
from tests.dp.clipping import oracle, small
from tests.dp.clipping.test_refusals import Free
from tests.dp.clipping.test_rules import EXACT, only_ghost

MODES = {"layerwise": Layerwise(0.5), "flat": Flat(0.5)}
KEY = bytes(range(32))


def model_of(kind: str = "linear", **settings: Any) -> Any:
    torch.manual_seed(0)
    return small.OneLayer(kind, **settings)


def weights(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])


class Sampler:
    """Draws of the size that is asked for; the divisor is always 4."""

    expected_batch = 4.0

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes

    def event(self, noise_multiplier: float) -> Any:
        return Gaussian(noise_multiplier)

    def draws(self, steps: int, source: Any = None) -> Any:
        for size in self.sizes[:steps]:
            yield Drawn(self, size)


class Drawn:
    def __init__(self, sampler: Sampler, size: int) -> None:
        self.sampler = sampler
        self.indices = range(size)

    def use(self, sampler: Any) -> None:
        assert sampler is self.sampler

    def event(self, noise_multiplier: float) -> Any:
        return self.sampler.event(noise_multiplier)


def run(model: Any, engine: Any, ledger: Any = None, lr: float = 1.0) -> None:
    """The steps of all draws, by plain gradient descent, which shows the gradients in the weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for draw in engine.draws(100):
        if len(draw.indices):
            batch = small.batch(1, samples=len(draw.indices))
            engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
        engine.step(optimizer, ledger)


@pytest.mark.parametrize("mode", MODES)
def test_the_divisor_is_the_expected_batch_and_not_the_drawn_one(mode: str) -> None:
    model = model_of()
    batch = small.batch(1, samples=3)
    engine = attach(model, MODES[mode], sampler=Sampler(3))
    bounds = engine.bounds if mode == "layerwise" else MODES[mode].total
    expected = oracle.clipped_sum(copy.deepcopy(model_of()), oracle.split(batch), bounds)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run(model, engine)
    moved = {name: (before[name] - p.detach()) * 4.0 for name, p in model.named_parameters()}
    assert oracle.error(moved, expected) <= EXACT
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("noise", ["gaussian", "discrete"])
@pytest.mark.parametrize("size", [0, 4])
def test_noise_of_the_right_size_is_on_every_parameter(mode: str, noise: Any, size: int) -> None:
    """Also on a step without samples, and on parameters that no sample reached."""
    settings: dict[str, Any] = {"noise": noise, "source": Source(KEY)}
    quiet, loud = model_of("wide linear", tie=True), model_of("wide linear", tie=True)
    run(quiet, attach(quiet, MODES[mode], sampler=Sampler(size)))
    run(loud, attach(loud, MODES[mode], noise_multiplier=2.0, sampler=Sampler(size), **settings), Free())
    noise_of = (weights(loud) - weights(quiet)).double() * 4.0 / (2.0 * 0.5)
    assert len(noise_of) > 1900
    assert int((noise_of == 0).sum()) <= len(noise_of) // 1000
    # Five deviations of the estimators: a false alarm in 10^6 keys, and this key is fixed.
    assert abs(float(noise_of.mean())) < 5 / math.sqrt(len(noise_of))
    assert abs(float(noise_of.square().mean()) - 1.0) < 5 * math.sqrt(2 / len(noise_of))
    assert abs(float(noise_of.pow(4).mean()) - 3.0) < 5 * math.sqrt(96 / len(noise_of))


def test_the_same_key_gives_the_same_noise_and_another_step_other_noise() -> None:
    results = []
    for _ in range(2):
        model = model_of()
        run(model, attach(model, noise_multiplier=1.0, sampler=Sampler(0, 0), source=Source(KEY)), Free())
        results.append(weights(model))
    once = model_of()
    run(once, attach(once, noise_multiplier=1.0, sampler=Sampler(0), source=Source(KEY)), Free())
    start = weights(model_of())
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[0] - start, 2 * (weights(once) - start), atol=1e-2)


@pytest.mark.rule("D9")
def test_a_step_past_the_budget_changes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(Unit("sequence"), delta=1e-5, budget=1.0, file=tmp_path / "ledger.jsonl")
    sampler = FixedBatches(4, 4)
    model = model_of()
    engine = attach(model, noise_multiplier=10.0, sampler=sampler)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batch = small.batch(1)
    taken = 0
    with pytest.raises(BudgetExceeded):  # noqa: PT012 - how many steps there are is the ledger's matter
        for _ in engine.draws(100):
            engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
            before = weights(model)
            engine.step(optimizer, ledger)
            taken += 1
    assert taken >= 1
    assert taken == sum(times for _, times in ledger.events)
    assert torch.equal(weights(model), before)
    assert all(p.grad is None for p in model.parameters())


class Watching(Free):
    """A ledger that looks at the model while it is told of a step."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Any] = []

    def spend(self, event: Any) -> None:
        super().spend(event)
        self.seen.append((weights(self.model), self.model.head.weight.grad.clone()))


def test_spending_comes_before_the_noise() -> None:
    model = model_of()
    batch = small.batch(1)
    engine = attach(model, noise_multiplier=3.0, sampler=Sampler(4))
    expected = oracle.clipped_sum(model_of(), oracle.split(batch), engine.bounds)["head.weight"]
    ledger = Watching(model)
    before = weights(model)
    run(model, engine, ledger)
    (at, gradient), (event,) = ledger.seen[0], ledger.spent
    assert torch.equal(at, before)
    assert float((gradient - expected).norm()) <= EXACT * float(expected.norm())
    assert event == Gaussian(3.0)


@pytest.mark.rule("D7")
def test_a_step_of_the_optimizer_that_is_not_the_engines() -> None:
    model = model_of()
    engine = attach(model, noise_multiplier=1.0, sampler=Sampler(4))
    engine.begin(next(engine.sampler.draws(1)))
    batch = small.batch(1)
    engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = weights(model)
    with pytest.raises(LocalProtocolError, match=r"\[D7\]"):
        optimizer.step()
    assert torch.equal(weights(model), before)
    other = torch.nn.Parameter(torch.ones(1))
    other.grad = torch.ones(1)
    torch.optim.SGD([other], lr=1.0).step()
    engine.detach()
    optimizer.step()


BAD = (float("nan"), float("inf"), -float("inf"))


def plain_gradients(model: Any, mode: Any, keep: list[int], spoil: Any = None) -> dict[str, torch.Tensor]:
    batch = small.batch(1, samples=5)
    engine = attach(model, mode)
    logits = model(batch["input_ids"][keep]).logits
    if spoil is not None:
        logits = spoil(logits)
    engine.loss(logits, batch["labels"][keep]).backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    engine.detach()
    return got


@pytest.mark.rule("D8")
@pytest.mark.parametrize("ghost", [False, True])
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["linear", "wide linear", "conv1d", "layer norm", "rms norm of llama", "positions"])
def test_a_sample_that_is_not_finite_contributes_zero(
    kind: str, mode: str, value: float, ghost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ghost:
        only_ghost(monkeypatch)

    def spoil(logits: torch.Tensor) -> torch.Tensor:
        factor = torch.ones(5, 1, 1)
        factor[2] = value
        return logits * factor

    got = plain_gradients(model_of(kind), MODES[mode], [0, 1, 2, 3, 4], spoil)
    expected = plain_gradients(model_of(kind), MODES[mode], [0, 1, 3, 4])
    assert oracle.error(got, {name: g.double() for name, g in expected.items()}) <= EXACT


class Spoiling(torch.nn.Module):
    """Multiplies one sample's activations, forwards or backwards only."""

    def __init__(self, layer: torch.nn.Module, value: float, backwards: bool) -> None:
        super().__init__()
        self.layer, self.value, self.backwards = layer, value, backwards

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        factor = torch.ones(x.shape[0], 1, 1)
        if x.shape[0] == 5:
            factor[2] = self.value
        if self.backwards:
            x = x * 1.0
            x.register_hook(lambda g: g * factor)
            return self.layer(x)
        return self.layer(x * factor)


@pytest.mark.rule("D8")
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backwards", [False, True])
def test_activations_and_gradients_that_are_not_finite(mode: str, value: float, backwards: bool) -> None:
    """Where a sample turns bad half way down, groups above it may still hold its clipped gradient (layerwise)."""
    first, second = model_of(), model_of()
    first.layer = Spoiling(first.layer, value, backwards)
    second.layer = Spoiling(second.layer, value, backwards)
    got = plain_gradients(first, MODES[mode], [0, 1, 2, 3, 4])
    expected = plain_gradients(second, MODES[mode], [0, 1, 3, 4])
    below = ["embedding.weight"] if mode == "layerwise" and backwards else list(expected)
    assert all(bool(torch.isfinite(g).all()) for g in got.values())
    assert oracle.error(got, {name: expected[name].double() for name in below}) <= EXACT


def quantile_of_norms(model: Any, batch: Any, share: float) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for gradients in oracle.sample_gradients(model, oracle.split(batch)):
        for group, names in oracle.uses(model).items():
            norm = torch.stack([gradients[name].square().sum() for name in names]).sum().sqrt()
            found.setdefault(group, []).append(float(norm))
    return {group: float(torch.tensor(norms).quantile(share)) for group, norms in found.items()}


def test_bounds_follow_the_quantile_of_the_norms_and_the_total_stays() -> None:
    model = model_of("layer norm")
    engine = attach(model, Layerwise(0.7, adapt=Quantile(0.5, rate=0.3)), sampler=Sampler(*[8] * 60))
    run(model, engine, lr=0.0)
    bounds = engine.bounds
    assert sum(bound**2 for bound in bounds.values()) == pytest.approx(0.7**2)
    wanted = quantile_of_norms(model_of("layer norm"), small.batch(1, samples=8), 0.5)
    scale = 0.7 / math.sqrt(sum(value**2 for value in wanted.values()))
    for group, bound in bounds.items():
        assert bound == pytest.approx(wanted[group] * scale, rel=0.2)


def test_what_the_quantile_costs_is_in_the_event() -> None:
    model = model_of()
    mode = Layerwise(1.0, adapt=Quantile(deviation=10.0))
    engine = attach(model, mode, noise_multiplier=1.0, sampler=Sampler(4))
    ledger = Free()
    run(model, engine, ledger)
    (event,) = ledger.spent
    assert event.noise_multiplier == pytest.approx((1.0 + 3 / (4 * 100.0)) ** -0.5)
    usual = Quantile().effective_noise_multiplier(1.0, 50)
    assert usual == pytest.approx(1.01**-0.5)


def test_an_unused_group_counts_every_sample() -> None:
    """Otherwise the counts of all samples would depend on whether one of them used the group."""
    model = model_of()
    engine = attach(model, Layerwise(1.0, adapt=Quantile()))
    model(small.batch(1)["input_ids"])
    inner = torch.zeros(4, small.WIDTH, requires_grad=True)
    engine.sum(model.head(inner.unsqueeze(1)).sum((1, 2))).backward()
    counts = {group.name: int(group.count) for group in engine.groups}
    assert counts["embedding"] == counts["layer"] == 4


def test_sensitivity_is_the_total_for_tied_groups() -> None:
    engine = attach(model_of(tie=True), Layerwise(1.0))
    bounds = engine.bounds
    assert engine.sensitivity == pytest.approx(1.0)
    assert bounds["embedding"] + bounds["head"] == pytest.approx(math.sqrt(1 - bounds["layer"] ** 2))


@pytest.mark.rule("D11")
def test_state_goes_through_json_and_a_ledger_that_forgot_is_refused(tmp_path: Path) -> None:
    def begin(file: Path) -> tuple[Any, Any]:
        engine = attach(model_of(), Layerwise(1.0, adapt=Quantile()), noise_multiplier=5.0, sampler=Poisson(100, 0.04))
        return engine, Ledger(Unit("sequence"), delta=1e-5, file=file)

    engine, ledger = begin(tmp_path / "first.jsonl")
    optimizer = torch.optim.SGD(engine.model.parameters(), lr=0.1)
    for draw in engine.draws(2):
        if len(draw.indices):
            batch = small.batch(1, samples=len(draw.indices))
            engine.loss(engine.model(batch["input_ids"]).logits, batch["labels"]).backward()
        engine.step(optimizer, ledger)
    state = json.loads(json.dumps(engine.state_dict()))
    again, other = begin(tmp_path / "second.jsonl")
    again.load_state_dict(state, ledger)
    assert again.bounds == engine.bounds
    assert again.steps == 2
    assert again.state_dict() == engine.state_dict()
    with pytest.raises(PersistenceError, match=r"\[D11\]"):
        again.load_state_dict(state, other)
    with pytest.raises(PersistenceError, match=r"\[P"):
        again.load_state_dict({**state, "version": 2})
    with pytest.raises(PersistenceError, match=r"\[P"):
        attach(model_of("layer norm"), Layerwise(2.0)).load_state_dict(state)


def test_nothing_private_is_shown() -> None:
    model = model_of()
    engine = attach(
        model, Layerwise(1.0, adapt=Quantile()), noise_multiplier=1.0, sampler=Sampler(4), source=Source(KEY)
    )
    run(model, engine, Free())
    assert KEY.hex() not in repr(engine)
    assert all(group.count is None for group in engine.groups)
    assert not engine.clipper.kept


def test_detach_gives_the_model_back() -> None:
    model = model_of()
    batch = small.batch(1)
    attach(model, Flat(1.0)).detach()
    model(batch["input_ids"]).logits.mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    attach(model_of()).detach()


def test_verify_catches_a_planted_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    from securefed.dp.clipping.primitives import linear

    batch = small.batch(1)
    attach(model_of()).verify(batch)

    def halved(self: Any) -> torch.Tensor:
        return torch.linalg.vector_norm(self.g.sum(1), dim=1).square()  # as if the bias were all there is

    for mode, name in (("layerwise", "layer.weight"), ("flat", "embedding.weight")):
        with monkeypatch.context() as patched:
            patched.setattr(linear.LinearContribution, "_ghost_squares", halved)
            only_ghost(patched)
            with pytest.raises(ConfigError, match=r"\[D1\]") as caught:
                attach(model_of(), MODES[mode]).verify(batch)
            assert caught.value.key == name


class Mixing(torch.nn.Module):
    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) - 0.1 * x.mean(0, keepdim=True)


def test_verify_catches_a_model_that_mixes_samples() -> None:
    model = model_of()
    model.layer = Mixing(model.layer)
    with pytest.raises(ConfigError, match=r"\[D3\]"):
        attach(model).verify(small.batch(1))


@pytest.mark.rule("D8")
def test_coefficients() -> None:
    norms = torch.tensor([0.0, 0.5, 2.0, float("inf"), float("nan")])
    found = clip(norms, 1.0)
    assert found.values.tolist() == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert found.dropped is not None
    assert found.dropped.tolist() == [False, False, False, True, True]
    rows = torch.stack([torch.full((2,), value) for value in (1.0, 1.0, 2.0, float("inf"), float("nan"))])
    assert found.weighted_sum(rows).tolist() == [3.0, 3.0]
    assert found.scale(rows).sum(0).tolist() == [3.0, 3.0]
    assert clip(norms[:3], 1.0).dropped is None


def test_the_oracle_does_not_overlook_what_is_not_a_number() -> None:
    assert oracle.error({"weight": torch.tensor([float("nan")])}, {"weight": torch.ones(1).double()}) == math.inf
