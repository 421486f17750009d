"""By how much one sample moves what is released at σ = 0: one judge for the engine, for mutants of it and for peers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed import dp
from securefed.dp.sampling import Draw
from tests.dp.neighbours.models import TOKENS, VOCABULARY

BOUND = 1.0
TOLERANCE = 1e-5
EXPECTED = 4.0
"""The divisor of each released sum: the same for all batches, as a sampler's expected batch is."""


@dataclass(frozen=True)
class Batch:
    """Samples, and how loud each of them is.

    Attributes:
        ids: int64 [B, T]; the labels too.
        weights: [B], what each sample's loss is multiplied with: its own affair.
    """

    ids: torch.Tensor
    weights: torch.Tensor

    def rows(self, kept: list[int]) -> Batch:
        return Batch(self.ids[kept], self.weights[kept])

    def neighbours(self) -> Iterator[Batch]:
        """Without one sample; with one sample that contributes nothing in its place, for it is silent or not finite."""
        for i in range(len(self.ids)):
            yield self.rows([j for j in range(len(self.ids)) if j != i])
            for silent in (0.0, torch.nan):
                weights = self.weights.clone()
                weights[i] = silent
                yield replace(self, weights=weights)


Release = Callable[[Batch], torch.Tensor]
"""A batch's sum as it is released, without noise: float64 [n]."""


def largest_move(engine_factory: Callable[[], Release], batch: Batch) -> float:
    """The greatest ℓ₂ distance between the releases of a batch and of a neighbour of it; ∞ where one is not finite."""
    release = engine_factory()
    here = release(batch)
    moves = [float((release(neighbour) - here).norm()) for neighbour in batch.neighbours()]
    return max(move if math.isfinite(move) else math.inf for move in moves)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """One to four samples, often equal ones, of few or many tokens, from quiet to very loud, of either sign."""
    size = draw(st.integers(1, 4))
    words = draw(st.sampled_from([2, VOCABULARY]))
    seed = draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 1 + words - 1, (size, TOKENS), generator=generator)
    if draw(st.booleans()):
        ids = ids[:1].repeat(size, 1)
    loudness = draw(st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 6.0]))
    exponents = torch.full((size,), loudness)
    if draw(st.booleans()):
        exponents = exponents + 2 * torch.rand(size, generator=generator)
    signs = torch.ones(size)
    if draw(st.booleans()):
        signs[-1] = -1.0
    return Batch(ids, signs * 10.0**exponents)


def ladder() -> Iterator[Batch]:
    """Three equal samples and a fourth against them, all louder and louder: one of the steps is where clipping begins.

    A loss that depends on the number of samples shows most there. The fourth outweighs the three: a whole batch that is
    clipped as if it were one sample turns round without it.
    """
    ids = torch.randint(1, VOCABULARY, (1, TOKENS), generator=torch.Generator().manual_seed(11)).repeat(4, 1)
    for exponent in range(-6, 7):
        yield Batch(ids, 10.0 ** (exponent / 4) * torch.tensor([1.0, 1.0, 1.0, -4.0]))


def never_moves_more(engine_factory: Callable[[], Release]) -> None:
    """The property: for all batches, no neighbour's release is further away than C(1 + 1e-5).

    Raises:
        AssertionError: it is, for some batch.
    """
    release = engine_factory()

    def judge(batch: Batch) -> None:
        move = largest_move(lambda: release, batch)
        assert move <= BOUND * (1 + TOLERANCE), f"one sample moves the sum by {move:.6g}·C"

    for batch in ladder():
        judge(batch)

    @settings(max_examples=max(12, settings().max_examples // 3))
    @given(batches())
    def check(batch: Batch) -> None:
        judge(batch)

    check()


class Taken(torch.optim.Optimizer):
    """Keeps the gradients that it should step with."""

    def __init__(self, parameters: list[Any]) -> None:
        super().__init__(parameters, {"lr": 0.0})
        self.gradients = torch.zeros(0)

    def step(self, closure: Any = None) -> None:
        held = [p.grad if p.grad is not None else torch.zeros_like(p) for g in self.param_groups for p in g["params"]]
        self.gradients = torch.cat([one.detach().double().flatten() for one in held])


def sample_losses(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """[B]: each sample's mean token loss times its weight. Logits of virtual tokens before the text are left out."""
    ahead = logits[:, -TOKENS:-1]
    each = torch.nn.functional.cross_entropy(ahead.flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none")
    return batch.weights * each.view(len(batch.ids), -1).mean(1)


class OurRelease:
    """The engine as it is used: a draw, a loss, a step. Its state is the same before each release.

    Args:
        model: with what is trained marked.
        clip: the mode.
        planted: puts an error into the engine; nothing by default.
        loss: from logits and batch to one loss a sample.
        adaptation: batches to let the bounds adapt to first.
    """

    def __init__(
        self,
        model: Any,
        clip: Any,
        planted: Callable[[Any], None] = lambda engine: None,
        loss: Callable[[torch.Tensor, Batch], torch.Tensor] = sample_losses,
        adaptation: list[Batch] | None = None,
    ) -> None:
        self.model, self.loss = model, loss
        self.sampler = dp.Poisson(int(2 * EXPECTED), 0.5)
        self.engine = dp.attach(model, clip=clip, sampler=self.sampler)
        self.optimizer = Taken([p for p in model.parameters() if p.requires_grad])
        for batch in adaptation or []:
            self._stepped(batch)
        planted(self.engine)
        self.kept = [(group, group.bound, group.threshold) for group in self.engine.groups]

    def __call__(self, batch: Batch) -> torch.Tensor:
        self._stepped(batch)
        for group, bound, threshold in self.kept:  # what one release adapted is none of the next one's
            group.bound, group.threshold = bound, threshold
        return self.optimizer.gradients * EXPECTED

    def _stepped(self, batch: Batch) -> None:
        self.engine.begin(Draw(np.arange(len(batch.ids)), self.engine.steps, self.sampler))
        if len(batch.ids):
            logits = self.model(input_ids=batch.ids).logits
            self.engine.sum(self.loss(logits, batch)).backward()
        self.engine.step(self.optimizer)


class OpacusRelease:
    """Opacus with hooks and flat clipping, from the parts that its PrivacyEngine takes."""

    def __init__(self, model: Any) -> None:
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        self.inner = Taken([p for p in model.parameters() if p.requires_grad])
        self.model = GradSampleModule(model, loss_reduction="sum", strict=False)
        self.optimizer = DPOptimizer(
            self.inner, noise_multiplier=0.0, max_grad_norm=BOUND, expected_batch_size=None, loss_reduction="sum"
        )

    def __call__(self, batch: Batch) -> torch.Tensor:
        if not len(batch.ids):
            return torch.zeros_like(self.inner.gradients)
        audible = torch.nan_to_num(batch.weights)  # what it does with NaN is another question
        logits = self.model(input_ids=batch.ids).logits
        sample_losses(logits, replace(batch, weights=audible)).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.inner.gradients
