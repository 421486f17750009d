"""No sample moves the released sum by more than C; and the judge that says so does find those that do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from securefed import dp
from securefed.dp.clipping.modes import scaled_to
from tests.dp.neighbours.models import MODELS, TOKENS, VOCABULARY
from tests.dp.neighbours.moves import (
    BOUND,
    Batch,
    OpacusRelease,
    OurRelease,
    largest_move,
    never_moves_more,
    sample_losses,
)
from tests.dp.neighbours.planting import plant

LAYERWISE, FLAT = dp.Layerwise(total=BOUND), dp.Flat(total=BOUND)
ADAPTIVE = dp.Layerwise(total=BOUND, adapt=dp.Quantile(0.5, rate=0.5))


def _loud(seed: int, weight: float) -> Batch:
    ids = torch.randint(1, VOCABULARY, (4, TOKENS), generator=torch.Generator().manual_seed(seed))
    return Batch(ids, torch.full((4,), weight))


def _adapted(model: Any, **options: Any) -> OurRelease:
    """After steps in which the norms were far over the bounds, and then some that divide the layers."""
    return OurRelease(model, ADAPTIVE, adaptation=[*[_loud(1, 1e4)] * 3, *[_loud(2, 1.0)] * 4], **options)


MODES: dict[str, Callable[..., OurRelease]] = {
    "layerwise": lambda model, **options: OurRelease(model, LAYERWISE, **options),
    "adapted": _adapted,
    "flat": lambda model, **options: OurRelease(model, FLAT, **options),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_no_sample_moves_the_sum_by_more_than_c(model: str, mode: str) -> None:
    never_moves_more(lambda: MODES[mode](MODELS[model]()))


@pytest.mark.parametrize("mode", MODES)
def test_the_bound_is_reached(mode: str) -> None:
    """Otherwise the property would hold for an engine that releases too little, at the same price of noise."""
    release = MODES[mode](MODELS["llama"]())
    assert largest_move(lambda: release, _loud(5, 1e4)) >= 0.99 * BOUND


def test_bounds_have_adapted() -> None:
    bounds = _adapted(MODELS["llama"]()).engine.bounds.values()
    assert max(bounds) > 1.2 * min(bounds)


def _twice(engine: Any) -> None:
    """Each bound, and the flat one, is 2C."""
    engine.clipper.bound *= 2
    for group in engine.groups:
        group.bound *= 2


def _without_root(engine: Any) -> None:
    """Each of K groups has the bound C instead of C/√K."""
    for group in engine.groups:
        group.bound = BOUND


def _one_unclipped(engine: Any) -> None:
    engine.groups[len(engine.groups) // 2].bound *= 1e9


def _one_not_counted(engine: Any) -> None:
    """Flat: one group's share is missing in the norm, but not in the sum."""
    settle, left_out = type(engine.groups[0]).settle, engine.groups[-1]

    def planted(group: Any, contribution: Any) -> None:
        settle(group, contribution)
        if group is left_out:
            held = group.clipper.kept[-1]
            group.clipper.kept[-1] = (*held[:2], torch.zeros_like(held[2]))

    # Groups have slots: the method is replaced on a class of their own.
    for group in engine.groups:
        group.__class__ = type("Planted", (type(group),), {"__slots__": (), "settle": planted})


def _mean(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """A loss that is averaged over the batch: every sample's depends on how many there are."""
    return sample_losses(logits, batch) / len(batch.ids)


PLANTED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "2C": ("llama", "layerwise", {"planted": _twice}),
    "2C, flat": ("llama", "flat", {"planted": _twice}),
    "2C, prompt": ("prompt", "layerwise", {"planted": _twice}),
    "no root of K": ("llama", "layerwise", {"planted": _without_root}),
    "no root of K, LoRA": ("lora", "layerwise", {"planted": _without_root}),
    "no root of K, tied": ("tied gpt2", "layerwise", {"planted": _without_root}),
    "mean over the batch": ("llama", "layerwise", {"loss": _mean}),
    "mean over the batch, flat": ("gpt2", "flat", {"loss": _mean}),
    "a layer unclipped": ("gpt2", "layerwise", {"planted": _one_unclipped}),
    "a layer unclipped, LoRA": ("lora", "layerwise", {"planted": _one_unclipped}),
    "a layer unclipped, flat": ("gpt2", "flat", {"planted": _one_not_counted}),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_the_judge_finds_a_planted_error(planted: str) -> None:
    model, mode, options = PLANTED[planted]
    release = MODES[mode](MODELS[model](), **options)
    with pytest.raises(AssertionError, match="one sample moves the sum by"):
        never_moves_more(lambda: release)


def test_the_judge_finds_bounds_that_adapt_without_their_total(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(total: float, components: Any, bounds: Any) -> Any:
        """Right for the bounds to begin with, which are equal."""
        return scaled_to(total, components, bounds) if len(set(bounds.values())) == 1 else dict(bounds)

    plant(monkeypatch, scaled_to, planted)
    release = _adapted(MODELS["llama"]())
    with pytest.raises(AssertionError, match="one sample moves the sum by"):
        never_moves_more(lambda: release)


@pytest.fixture
def opacus() -> None:
    pytest.importorskip("opacus", reason="the extra `peers` is not installed")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("opacus")
def test_the_judge_finds_opacus_prompt_tuning() -> None:
    release = OpacusRelease(MODELS["prompt"]())
    with pytest.raises(AssertionError, match="one sample moves the sum by"):
        never_moves_more(lambda: release)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("opacus")
def test_the_judge_passes_opacus_where_it_is_right() -> None:
    never_moves_more(lambda: OpacusRelease(MODELS["lora"]()))
