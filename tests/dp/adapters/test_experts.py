"""Mixtures of experts: the tensors of all experts, and the router."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from torch.nn import Module
from transformers import (
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from securefed.dp.clipping.adapters.expert_matrices import ExpertsContribution, Routed
from securefed.dp.clipping.group import Coefficients, Sums
from tests.dp.adapters import exact, tiny

_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "head_dim": 8}


def qwen2() -> Module:
    torch.manual_seed(1)
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(**(dict(tiny.WIDE) | _EXPERTS | {"shared_expert_intermediate_size": 12})))


def qwen3() -> Module:
    torch.manual_seed(1)
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**(dict(tiny.WIDE) | _EXPERTS | {"norm_topk_prob": True})))


def olmoe() -> Module:
    torch.manual_seed(1)
    sizes = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
    return OlmoeForCausalLM(OlmoeConfig(**(dict(tiny.WIDE) | sizes)))


def only(name: str) -> Module:
    """Of Mixtral, one kind of tensor trained."""
    model = tiny.mixtral()
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key.endswith(name))
    return tiny.shaken(model, by=0.1)


CASES: dict[str, Callable[[], Module]] = {
    "mixtral": lambda: tiny.shaken(tiny.mixtral(), by=0.1),
    "qwen2": lambda: tiny.shaken(qwen2(), by=0.1),
    "qwen3": lambda: tiny.shaken(qwen3(), by=0.1),
    "olmoe": lambda: tiny.shaken(olmoe(), by=0.1),
    "router": lambda: only("gate.weight"),
    "lora beside them": lambda: tiny.adapted(tiny.mixtral(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"])),
    "one tensor": lambda: only("layers.1.mlp.experts.down_proj"),
}


@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("case", CASES)
def test_clipped_sum_is_that_of_a_loop_over_samples(case: str, mode: str) -> None:
    exact.assert_exact(CASES[case](), mode)


@given(st.data())
def test_norms_and_sums_of_any_routing(data: st.DataObject) -> None:
    size = st.integers(1, 6)
    samples, tokens, experts, d, p = (data.draw(size, label=one) for one in ("samples", "tokens", "E", "d", "p"))
    k = data.draw(st.integers(1, experts), label="k")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32), label="seed"))
    # One choice above the last expert is none, as of a token that another device serves.
    scores = torch.rand(samples * tokens, experts + 1, generator=generator)
    chosen = scores.argsort(1)[:, :k]
    routed = Routed.of(chosen, experts, samples)
    rows = sum(routed.counts)
    x, g = (torch.randn(rows, one, generator=generator, dtype=torch.float64) for one in (d, p))
    of_sample = torch.zeros(samples, experts, p, d, dtype=torch.float64)
    row = 0
    for expert in range(experts):
        for token in range(samples * tokens):
            for choice in range(k):
                if chosen[token, choice] == expert:
                    assert (routed.token[row], routed.choice[row]) == (token, choice)
                    of_sample[token // tokens, expert] += torch.outer(g[row], x[row])
                    row += 1
    assert row == rows
    weight = torch.nn.Parameter(torch.zeros(experts, p, d, dtype=torch.float64))
    contribution = ExpertsContribution(weight, x, g, routed)
    norms = of_sample.flatten(1).square().sum(1)
    torch.testing.assert_close(contribution.squares(), norms, rtol=1e-5, atol=1e-5 * float(norms.max()))
    values = torch.rand(samples, generator=generator, dtype=torch.float64)
    sums = Sums()
    contribution.add(Coefficients(values, None), sums)
    torch.testing.assert_close(sums.zeros(weight), torch.einsum("s,sepd->epd", values, of_sample))
