"""What fails closed: each refusal by name, before anything unclipped could be released."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from securefed.dp.clipping import Flat, Layerwise, attach
from securefed.dp.sampling import FixedBatches, Poisson
from securefed.errors import ConfigError, LocalProtocolError
from tests.dp.clipping import small

MODES = [Layerwise(1.0), Flat(1.0)]


class Odd(nn.Module):
    """A model with something between embedding and head."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(small.VOCABULARY, small.WIDTH)
        self.middle = middle
        self.head = nn.Linear(small.WIDTH, small.VOCABULARY)

    def forward(self, input_ids: Tensor, **kwargs: Any) -> Any:
        return SimpleNamespace(logits=self.head(self.middle(self.embedding(input_ids))))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(small.WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Subclassed(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2.0


class OverBatch(nn.Module):
    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = norm or nn.BatchNorm1d(small.WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


@pytest.mark.rule("D1")
@pytest.mark.parametrize(
    ("middle", "name"),
    [
        (Scaled(), "middle.scale"),
        (Subclassed(small.WIDTH, small.WIDTH), "middle.weight"),
        (nn.MultiheadAttention(small.WIDTH, 2), "middle.in_proj_weight"),
        (nn.Conv1d(small.WIDTH, small.WIDTH, 1), "middle.weight"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(small.WIDTH, small.WIDTH)), "middle.bias"),
    ],
)
def test_a_trainable_parameter_without_a_rule(middle: nn.Module, name: str) -> None:
    model = Odd(middle)
    with pytest.raises(ConfigError, match=r"\[D1\]") as caught:
        attach(model)
    assert caught.value.key == name
    assert not any("forward" in module.__dict__ for module in model.modules())


@pytest.mark.rule("D1")
@pytest.mark.parametrize("settings", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}])
def test_tables_that_depend_on_the_batch(settings: dict[str, Any]) -> None:
    model = Odd(nn.Identity())
    model.embedding = nn.Embedding(small.VOCABULARY, small.WIDTH, **settings)
    with pytest.raises(ConfigError, match=r"embedding.weight: \[D1\]"):
        attach(model)


@pytest.mark.rule("D1")
def test_what_is_unfrozen_later() -> None:
    model = Odd(Scaled())
    model.middle.scale.requires_grad = False
    engine = attach(model)
    model.middle.scale.requires_grad = True
    batch = small.batch(1)
    with pytest.raises(LocalProtocolError, match=r"\[D1\] middle.scale"):
        engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()


@pytest.mark.rule("D1")
def test_an_optimizer_of_other_parameters() -> None:
    model = Odd(nn.Identity())
    engine = attach(model)
    batch = small.batch(1)
    engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    other = nn.Parameter(torch.zeros(1))
    with pytest.raises(LocalProtocolError, match=r"\[D1\]"):
        engine.step(torch.optim.SGD([*model.parameters(), other], lr=0.1))


@pytest.mark.rule("D1")
def test_two_engines_on_one_model() -> None:
    model = Odd(nn.Identity())
    attach(model)
    with pytest.raises(ConfigError, match="replaced already"):
        attach(model)


@pytest.mark.rule("D1")
def test_a_copy_evaluates_its_own_weights_and_is_not_trained() -> None:
    model = Odd(nn.Identity())
    attach(model)
    ids = small.batch(1)["input_ids"]
    twin = copy.deepcopy(model)
    with torch.no_grad():
        model.head.weight.zero_()
        assert not torch.equal(twin(ids).logits, model(ids).logits)
    with pytest.raises(LocalProtocolError, match=r"\[D1\]"):
        twin(ids)


@pytest.mark.rule("D2")
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(small.WIDTH),
        nn.SyncBatchNorm(small.WIDTH),
        nn.BatchNorm1d(small.WIDTH, track_running_stats=False).eval(),
        nn.InstanceNorm1d(small.WIDTH, affine=True, track_running_stats=True),
    ],
)
def test_batch_statistics(norm: nn.Module, trained: bool) -> None:
    model = Odd(OverBatch(norm))
    for parameter in model.middle.parameters():
        parameter.requires_grad = trained
    with pytest.raises(ConfigError, match=r"middle.norm: \[D2\]"):
        attach(model)


@pytest.mark.rule("D2")
def test_batch_statistics_that_are_switched_on_later() -> None:
    model = Odd(OverBatch())
    for parameter in model.middle.parameters():
        parameter.requires_grad = False
    model.middle.eval()
    attach(model)
    model(small.batch(1)["input_ids"])
    model.train()
    with pytest.raises(ConfigError, match=r"middle.norm: \[D2\]"):
        model(small.batch(1)["input_ids"])


@pytest.mark.rule("D3")
@pytest.mark.parametrize(
    "packing",
    [
        {"position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]])},
        {"position_ids": torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 0, 1]])},
        {"cu_seqlens": torch.tensor([0, 3, 6])},
        {"cu_seq_lens_q": torch.tensor([0, 3, 6])},
        {"seq_idx": torch.tensor([[0, 0, 0, 1, 1, 1]])},
    ],
)
def test_packed_sequences(packing: dict[str, Tensor]) -> None:
    model = Odd(nn.Identity())
    attach(model)
    with pytest.raises(LocalProtocolError, match=r"\[D3\]"):
        model(small.batch(1, samples=2)["input_ids"], **packing)


@pytest.mark.parametrize("mask", [None, torch.tensor([[0, 0, 1, 1, 1, 1]])])
def test_positions_of_one_sequence_are_let_through(mask: Tensor | None) -> None:
    model = Odd(nn.Identity())
    attach(model)
    positions = torch.arange(6).unsqueeze(0) if mask is None else torch.tensor([[1, 1, 0, 1, 2, 3]])
    model(small.batch(1, samples=1)["input_ids"], position_ids=positions, attention_mask=mask)


class Joined(nn.Module):
    """Puts the tokens of all samples into one row."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, -1, x.shape[-1])


class Flattened(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1])


@pytest.mark.rule("D3")
@pytest.mark.parametrize("middle", [Joined(), Flattened()])
def test_an_operation_that_does_not_see_samples_apart(middle: nn.Module) -> None:
    model = Odd(middle)
    attach(model)
    with pytest.raises(LocalProtocolError, match=r"\[D3\] head"):
        model(small.batch(1)["input_ids"])


class BetweenPositions(nn.Module):
    """A table over pairs of positions, as T5 has it: its first dimension is no sample."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(small.TOKENS, 1)

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1])
        return self.table((at[:, None] - at[None, :]).abs()).squeeze(-1) @ x


@pytest.mark.rule("D3")
@pytest.mark.parametrize("samples", [4, small.TOKENS])
def test_a_table_over_pairs_of_positions(samples: int) -> None:
    """Also where there are as many samples as tokens, so that the shapes would do."""
    model = Odd(BetweenPositions())
    attach(model)
    with pytest.raises(LocalProtocolError, match=r"\[D3\] middle.table"):
        model(small.batch(1, samples=samples)["input_ids"])


@pytest.mark.rule("D4")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "wrong", [lambda loss: loss / 4, lambda loss: loss * 2.0, lambda loss: loss * 1.0000001, lambda loss: -loss]
)
def test_a_loss_that_is_scaled(mode: Any, wrong: Any) -> None:
    model = Odd(nn.Identity())
    engine = attach(model, mode)
    batch = small.batch(1)
    loss = wrong(engine.loss(model(batch["input_ids"]).logits, batch["labels"]))
    with pytest.raises(LocalProtocolError, match=r"\[D4\]"):
        loss.backward()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.rule("D4")
@pytest.mark.parametrize("mode", MODES)
def test_a_loss_that_is_not_the_engines(mode: Any) -> None:
    model = Odd(nn.Identity())
    attach(model, mode)
    batch = small.batch(1)
    logits = model(batch["input_ids"]).logits
    with pytest.raises(LocalProtocolError, match=r"\[D4\] head"):
        functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()).backward()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.rule("D4")
@pytest.mark.parametrize("reduce", [lambda x: x.mean(), lambda x: x.unsqueeze(1), lambda x: 1.0])
def test_losses_that_are_not_one_for_each_sample(reduce: Any) -> None:
    model = Odd(nn.Identity())
    engine = attach(model)
    losses = model(small.batch(1)["input_ids"]).logits.mean((1, 2))
    with pytest.raises(LocalProtocolError, match=r"\[D4\]"):
        engine.sum(reduce(losses))


@pytest.mark.rule("D4")
@pytest.mark.parametrize("mode", MODES)
def test_a_penalty_on_weights_is_not_clipped(mode: Any) -> None:
    model = Odd(nn.Identity())
    engine = attach(model, mode)
    batch = small.batch(1)
    loss = engine.loss(model(batch["input_ids"]).logits, batch["labels"]) + 0.1 * model.head.weight.square().sum()
    with pytest.raises(LocalProtocolError, match=r"\[D4\] head.weight"):
        loss.backward()
    with pytest.raises(LocalProtocolError, match=r"\[D6\]"):
        engine.step(torch.optim.SGD(model.parameters(), lr=0.1))


class SilentlyTied(nn.Module):
    """A tied head as a function of the embedding's weight: the classic leak."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(small.VOCABULARY, small.WIDTH)

    def forward(self, input_ids: Tensor) -> Any:
        return SimpleNamespace(logits=functional.linear(self.embedding(input_ids), self.embedding.weight))


@pytest.mark.rule("D4")
@pytest.mark.parametrize("mode", MODES)
def test_a_functional_use_of_a_tied_weight(mode: Any) -> None:
    model = SilentlyTied()
    engine = attach(model, mode)
    batch = small.batch(1)
    with pytest.raises(LocalProtocolError, match=r"\[D4\] embedding.weight"):
        engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()


@pytest.mark.rule("D4")
def test_gradients_that_someone_else_made_or_changed() -> None:
    model = Odd(nn.Identity())
    engine = attach(model)
    batch = small.batch(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.head.bias.grad = torch.zeros_like(model.head.bias)
    with pytest.raises(LocalProtocolError, match=r"\[D4\] head.bias"):
        engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    engine.discard()
    engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    with pytest.raises(LocalProtocolError, match=r"\[D4\]"):
        engine.step(optimizer)


@pytest.mark.rule("D4")
def test_a_routers_auxiliary_loss() -> None:
    model = Odd(nn.Identity())
    model.config = SimpleNamespace(output_router_logits=True)
    with pytest.raises(ConfigError, match=r"config.output_router_logits: \[D4\]"):
        attach(model)
    model.config.output_router_logits = False
    attach(model)
    with pytest.raises(LocalProtocolError, match=r"\[D4\]"):
        model(small.batch(1)["input_ids"], output_router_logits=True)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(small.WIDTH, small.WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(torch.tanh(self.inner(x)))


@pytest.mark.rule("D5")
@pytest.mark.parametrize("mode", MODES)
def test_a_module_used_twice(mode: Any) -> None:
    model = Odd(Twice())
    engine = attach(model, mode)
    batch = small.batch(1)
    with pytest.raises(LocalProtocolError, match=r"\[D5\] middle.inner"):
        engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()


@pytest.mark.rule("D6")
def test_two_losses_in_one_backward_pass() -> None:
    model = Odd(nn.Identity())
    engine = attach(model)
    first, second = small.batch(1), small.batch(2)
    total = sum(engine.loss(model(one["input_ids"]).logits, one["labels"]) for one in (first, second))
    with pytest.raises(LocalProtocolError, match=r"\[D6\]"):
        total.backward()


@pytest.mark.rule("D6")
def test_a_second_backward_pass_through_one_loss() -> None:
    model = Odd(nn.Identity())
    engine = attach(model)
    batch = small.batch(1)
    loss = engine.loss(model(batch["input_ids"]).logits, batch["labels"])
    loss.backward(retain_graph=True)
    with pytest.raises(LocalProtocolError, match=r"\[D6\]"):
        loss.backward()


@pytest.mark.rule("D6")
def test_losses_of_another_number_of_samples() -> None:
    model = Odd(nn.Identity())
    engine = attach(model)
    logits = model(small.batch(1)["input_ids"]).logits
    with pytest.raises(LocalProtocolError, match=r"\[D6\]"):
        engine.sum(logits.mean((1, 2))[:2])


class Free:
    """A ledger that counts what it is told."""

    head = None

    def __init__(self) -> None:
        self.spent: list[Any] = []

    def spend(self, event: Any) -> None:
        self.spent.append(event)


def private(sampler: Any) -> tuple[Any, Any, Any, Free]:
    model = Odd(nn.Identity())
    engine = attach(model, noise_multiplier=1.0, sampler=sampler)
    return model, engine, torch.optim.SGD(model.parameters(), lr=0.1), Free()


@pytest.mark.rule("D6")
@pytest.mark.parametrize("seen", [0, 3, 5])
def test_samples_seen_that_are_not_those_drawn(seen: int) -> None:
    model, engine, optimizer, ledger = private(FixedBatches(8, 4))
    before = copy.deepcopy(model.state_dict())
    engine.begin(next(engine.sampler.draws(1)))
    if seen:
        batch = small.batch(1, samples=seen)
        engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    with pytest.raises(LocalProtocolError, match=r"\[D6\]"):
        engine.step(optimizer, ledger)
    assert not ledger.spent
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.rule("D6")
def test_a_draw_used_twice_and_a_step_without_one() -> None:
    model, engine, optimizer, ledger = private(FixedBatches(8, 4))
    with pytest.raises(LocalProtocolError, match=r"\[D6\]"):
        engine.step(optimizer, ledger)
    draw = next(engine.sampler.draws(1))
    engine.begin(draw)
    batch = small.batch(1)
    engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    engine.step(optimizer, ledger)
    with pytest.raises(LocalProtocolError, match=r"\[D6\]"):
        engine.begin(draw)


@pytest.mark.rule("D7")
def test_noise_needs_a_sampler_and_a_ledger_and_the_samplers_own_draws() -> None:
    with pytest.raises(ConfigError, match=r"\[D7\]"):
        attach(Odd(nn.Identity()), noise_multiplier=1.0)
    model, engine, optimizer, _ = private(FixedBatches(8, 4))
    with pytest.raises(LocalProtocolError, match=r"\[D7\]"):
        engine.begin(next(Poisson(8, 0.5).draws(1)))
    engine.begin(next(engine.sampler.draws(1)))
    batch = small.batch(1)
    engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    with pytest.raises(LocalProtocolError, match=r"\[D7\]"):
        engine.step(optimizer)


@pytest.mark.rule("D10")
@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Layerwise(0.0),
        lambda: Layerwise(float("inf")),
        lambda: Layerwise(float("nan")),
        lambda: Layerwise(1.0, weights={"*": 0.0}),
        lambda: Flat(-1.0),
        lambda: attach(Odd(nn.Identity()), noise_multiplier=-1.0),
        lambda: attach(Odd(nn.Identity()), noise_multiplier=float("nan")),
    ],
)
def test_numbers_out_of_range(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[D10\]"):
        wrong()


class HeadOfColumns(nn.Module):
    """The table used by rows and, as a convolution's transposed layout, by columns: no exact cross term is known."""

    def __init__(self) -> None:
        super().__init__()
        from transformers.pytorch_utils import Conv1D

        self.embedding = nn.Embedding(small.VOCABULARY, small.VOCABULARY)
        self.head = Conv1D(small.VOCABULARY, small.VOCABULARY)
        self.head.weight = self.embedding.weight

    def forward(self, input_ids: Tensor) -> Any:
        return SimpleNamespace(logits=self.head(self.embedding(input_ids)))


@pytest.mark.rule("D13")
def test_flat_clipping_of_a_tie_without_the_cross_term() -> None:
    model = HeadOfColumns()
    batch = small.batch(1)
    engine = attach(model, Flat(1.0))
    with pytest.raises(LocalProtocolError, match=r"\[D13\]"):
        engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
    with pytest.raises(LocalProtocolError, match=r"\[D6\]"):
        engine.step(torch.optim.SGD(model.parameters(), lr=0.1))
    engine.detach()
    engine = attach(model, Layerwise(1.0))
    engine.loss(model(batch["input_ids"]).logits, batch["labels"]).backward()
