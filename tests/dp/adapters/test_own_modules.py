"""Adapters that are not peft's: the project's core, and bottlenecks written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Module

from securefed import dp
from securefed.errors import ConfigError
from securefed.llm import methods
from tests.dp.adapters import exact, tiny


def cored() -> Module:
    options = methods.LoraOptions(rank=3, aggregation="core")
    return tiny.shaken(methods.attach(tiny.llama(), "lora", lora=options))


class Bottleneck(nn.Module):
    """After a sub-layer (Houlsby et al. 2019, arXiv:1902.00751): `x + up(gelu(down(x)))`."""

    def __init__(self, inner: Module, width: int) -> None:
        super().__init__()
        self.inner = inner
        self.down = nn.Linear(width, 4)
        self.up = nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.inner(x)
        return hidden + self.up(nn.functional.gelu(self.down(hidden)))


def bottlenecks() -> Module:
    model = tiny.llama().requires_grad_(False)
    for layer in model.model.layers:
        layer.mlp = Bottleneck(layer.mlp, 16)
    return tiny.shaken(model)


CASES = {"core": cored, "bottleneck": bottlenecks}


@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("case", CASES)
def test_clipped_sum_is_that_of_a_loop_over_samples(case: str, mode: str) -> None:
    exact.assert_exact(CASES[case](), mode)


class Core(nn.Module):
    """What looks like the project's own and computes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(4, 2), requires_grad=False)
        self.core = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(nn.functional.linear(x, self.core @ self.core), self.factor)


def test_a_core_is_known_by_what_it_computes() -> None:
    with pytest.raises(ConfigError, match=r"core: \[D1\]"):
        dp.attach(Core())
