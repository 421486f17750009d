"""Prompts, prefixes and trained rows of an embedding."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, TrainableTokensConfig
from torch.nn import Module

from securefed import dp
from tests.dp.adapters import exact, tiny
from tests.dp.clipping import oracle

_CAUSAL = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}


def prompts(base: Callable[..., Module] = tiny.llama) -> Module:
    return tiny.adapted(base(), PromptTuningConfig(**_CAUSAL))


def encoder() -> Module:
    return tiny.adapted(tiny.llama(), PromptEncoderConfig(**_CAUSAL, encoder_hidden_size=8))


def prefixes(base: Callable[..., Module] = tiny.llama, **options: object) -> Module:
    return tiny.adapted(base(), PrefixTuningConfig(**_CAUSAL, **options))


def tokens(base: Callable[..., Module] = tiny.llama, **options: object) -> Module:
    return tiny.adapted(base(**options), TrainableTokensConfig(token_indices=[2, 5, 7, 11, 13, 17, 19, 23, 29]))


CASES: dict[str, Callable[[], Module]] = {
    "prompt": prompts,
    "prompt gpt2": lambda: prompts(tiny.gpt2),
    "encoder": encoder,
    "prefix": prefixes,
    "prefix gpt2": lambda: prefixes(tiny.gpt2),
    "prefix projected": lambda: prefixes(prefix_projection=True, encoder_hidden_size=8),
    "tokens": tokens,
    "tokens padding": lambda: tokens(pad_token_id=5),
    "tokens scaled": lambda: tokens(tiny.gemma, tie_word_embeddings=False),
    "tokens and lora": lambda: tiny.adapted(
        tiny.llama(), LoraConfig(r=2, target_modules=["v_proj"], trainable_token_indices=[2, 5, 7, 11, 13, 17])
    ),
}


@pytest.mark.parametrize("mode", exact.MODES)
@pytest.mark.parametrize("case", CASES)
def test_clipped_sum_is_that_of_a_loop_over_samples(case: str, mode: str) -> None:
    exact.assert_exact(CASES[case](), mode)


@pytest.mark.parametrize("mode", exact.MODES)
def test_rows_tied_to_a_head_count_with_both_uses(mode: str) -> None:
    """Layerwise the uses' bounds add up; flat there is one norm of their sum."""
    model = tokens(tie_word_embeddings=True)
    plain = copy.deepcopy(model)
    batch = tiny.batch()
    engine = dp.attach(model, exact.clip(mode, 0.05))
    names = exact.groups(engine)
    first, second = (one for held in names.values() for one in held)
    if mode == "layerwise":  # in the copy, each use has rows of its own
        head = plain.get_submodule(second.rsplit(".", 2)[0])
        head.trainable_tokens_delta = torch.nn.ParameterDict(
            {key: torch.nn.Parameter(one.detach().clone()) for key, one in head.trainable_tokens_delta.items()}
        )
        assert sum(engine.bounds.values()) == pytest.approx(0.05)
    got = exact.run(engine, batch, "plain")
    bounds = engine.bounds if mode == "layerwise" else 0.05
    expected = oracle.clipped_sum(plain, oracle.split(batch), bounds, exact.sample_loss, names)
    total = torch.stack(list(expected.values())).sum(0)
    assert exact.error({first: got[first]}, {first: total}) < exact.LIMIT
