"""Whether an adapter's clipped sum is the one by definition, in every way of running it."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from securefed import dp
from tests.dp.adapters import tiny
from tests.dp.clipping import oracle

MODES = ("layerwise", "flat")
RUNS = ("plain", "padded", "accumulated", "checkpointed")
LIMIT = 1e-5


def clip(mode: str, total: float) -> Any:
    return dp.Layerwise(total=total) if mode == "layerwise" else dp.Flat(total=total)


def groups(engine: Any) -> dict[str, list[str]]:
    """What the engine clips together, by the parameters' full names."""
    return {
        group.name: [key if covered.module is engine.model else f"{covered.name}.{key}" for key in held]
        for covered in engine.covered
        for group, held in covered.parameters.items()
    }


def inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in batch.items() if key != "labels"}


def lengthened(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels for logits that begin with those of a prompt's virtual tokens."""
    return torch.nn.functional.pad(labels, (logits.shape[1] - labels.shape[1], 0), value=-100)


def sample_loss(model: Module, sample: dict[str, Any]) -> Tensor:
    logits = model(**inputs(sample)).logits
    return torch.nn.functional.cross_entropy(logits[0, :-1].float(), lengthened(sample["labels"], logits)[0, 1:])


def backward(engine: Any, batch: Mapping[str, Tensor]) -> None:
    logits = engine.model(**inputs(batch)).logits
    engine.loss(logits, lengthened(batch["labels"], logits)).backward()


def run(engine: Any, batch: Mapping[str, Tensor], how: str) -> dict[str, Tensor | None]:
    """The clipped sum of a batch, in one backward pass or in two."""
    if how == "accumulated":
        for part in (slice(0, 1), slice(1, None)):
            backward(engine, {key: value[part] for key, value in batch.items()})
    else:
        backward(engine, batch)
    return oracle.gradients(engine.model)


def totals(plain: Module, batch: Mapping[str, Tensor], names: Mapping[str, list[str]]) -> tuple[float, float]:
    """A bound that clips every sample, and one between the samples' norms."""
    found = oracle.sample_gradients(plain, oracle.split(dict(batch)), sample_loss, names)
    norms = sorted(float(torch.stack([g.norm() for g in one.values()]).norm()) for one in found)
    return next(norm for norm in norms if norm > 0) / 10.0, norms[len(norms) // 2]


def assert_exact(model: Module, mode: str, how: str = "plain", plain: Module | None = None) -> None:
    """Compare with a loop over samples on a copy of the model, for both bounds."""
    batch = tiny.batch(padded=how == "padded")
    plain = copy.deepcopy(model) if plain is None else plain
    if how == "checkpointed":
        checkpoint(model)
    engine = dp.attach(model, clip(mode, 1.0))
    names = groups(engine)
    engine.detach()
    for total in totals(plain, batch, names):
        engine = dp.attach(model, clip(mode, total))
        got = run(engine, batch, how)
        bounds = engine.bounds if mode == "layerwise" else total
        expected = oracle.clipped_sum(plain, oracle.split(dict(batch)), bounds, sample_loss, names)
        assert all(float(one.norm()) > 0 for one in expected.values()), "a parameter without a gradient shows nothing"
        assert error(got, expected) < LIMIT
        engine.detach()


def error(got: Mapping[str, Tensor | None], expected: Mapping[str, Tensor]) -> float:
    """The greatest relative error of a parameter's sum; infinite where anything is not finite."""
    found = [one for one in (*got.values(), *expected.values()) if one is not None]
    return oracle.error(got, expected) if all(bool(one.isfinite().all()) for one in found) else math.inf


def checkpoint(model: Any) -> None:
    model.train()
    model.enable_input_require_grads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers has a new name for it, which the oldest that we allow has not
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
