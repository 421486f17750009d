"""Local steps, schedules, held-out loss and the client that joins them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from securefed.errors import ConfigError
from securefed.federated.training import LocalTrainer
from securefed.llm.blocks import IGNORED, Blocks
from securefed.llm.client import LanguageModelTrainer, LocalPlan
from securefed.llm.evaluation import HeldOut, evaluate
from securefed.llm.methods import LoraOptions, assign, attach, weights
from securefed.llm.models import from_configuration
from securefed.llm.runtime import derived_seed
from securefed.llm.schedule import Schedule, learning_rate_at
from securefed.llm.training import fit

from .architectures import CONFIGURATIONS, CONTEXT, VOCABULARY


def counting(examples: int = 12, padded: int = 5) -> Blocks:
    """Blocks that count upwards: easy to learn; the last one ends in padding."""
    tokens = (np.arange(CONTEXT)[None] + np.arange(examples)[:, None] * 5) % VOCABULARY
    labels = tokens.copy()
    labels[-1:, CONTEXT - padded :] = IGNORED
    return Blocks(tokens, labels)


def module_of(method: str = "full", name: str = "llama") -> torch.nn.Module:
    return attach(from_configuration(CONFIGURATIONS[name], 1), method, lora=LoraOptions(rank=2), seed=2)


def equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_training_learns() -> None:
    module = module_of()
    before = evaluate(module, counting()).loss
    seen: list[tuple[int, int, float]] = []
    fitted = fit(
        module, counting(), steps=60, batch=4, learning_rate=1e-2, seed=0, progress=lambda *told: seen.append(told)
    )
    assert before == pytest.approx(math.log(VOCABULARY), rel=0.1)
    assert evaluate(module, counting()).loss < 1.0
    assert [told[:2] for told in seen] == [(step, 60) for step in range(1, 61)]
    assert fitted.loss == pytest.approx(np.mean([told[2] for told in seen]))
    # 12 blocks with 15 targets each, of which 5 are padding, seen 20 times.
    assert fitted.tokens == 20 * (12 * 15 - 5)
    assert fitted.examples == 240
    assert fitted.seconds > 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(method: str, threads: int) -> None:
    torch.set_num_threads(threads)

    def run(seed: int) -> dict[str, np.ndarray]:
        module = module_of(method)
        torch.rand(3)  # the global generator is of no account
        fit(module, counting(40), steps=6, batch=16, learning_rate=1e-2, seed=seed)
        return weights(module)

    first = run(1)
    assert equal(first, run(1))
    assert not equal(first, run(2))


def test_dropout_follows_from_the_seed_and_leaves_the_global_generator_alone() -> None:
    def run(seed: int) -> dict[str, np.ndarray]:
        model = from_configuration(CONFIGURATIONS["llama"], 1)
        module = attach(model, "lora", lora=LoraOptions(rank=2, dropout=0.5), seed=2)
        fit(module, counting(4), steps=2, batch=4, learning_rate=1e-2, seed=seed)
        assert not module.training
        return weights(module)

    state = torch.get_rng_state()
    assert equal(run(1), run(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert not equal(run(1), run(2))


def test_every_call_starts_with_a_fresh_optimizer() -> None:
    module = module_of()
    start = weights(module)
    fit(module, counting(), steps=3, batch=4, learning_rate=1e-2, seed=1)
    first = weights(module)
    assign(module, start)
    fit(module, counting(), steps=3, batch=4, learning_rate=1e-2, seed=1)
    assert equal(first, weights(module))


def test_every_block_is_seen_once_before_any_is_seen_twice() -> None:
    tokens = np.repeat(np.arange(10)[:, None], CONTEXT, axis=1)
    seen: list[int] = []
    module = module_of()
    module.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.extend(kwargs["input_ids"][:, 0].tolist()), with_kwargs=True
    )
    fit(module, Blocks(tokens, tokens), steps=5, batch=4, learning_rate=1e-3, seed=3)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    seen.clear()
    fit(module, Blocks(tokens[:3], tokens[:3]), steps=1, batch=7, learning_rate=1e-3, seed=3)
    assert sorted(seen[:6]) == [0, 0, 1, 1, 2, 2]


def test_padding_teaches_nothing() -> None:
    blocks = counting(4, padded=6)
    other = blocks.tokens.copy()
    other[-1, -6:] = 3  # what stands under the padding does not matter
    assert not np.array_equal(other, blocks.tokens)
    results = []
    for tokens in (blocks.tokens, other):
        module = module_of()
        fit(module, Blocks(tokens, blocks.labels), steps=3, batch=4, learning_rate=1e-2, seed=0)
        results.append((weights(module), evaluate(module, Blocks(tokens, blocks.labels)).loss))
    assert results[0][1] == results[1][1]
    assert equal(results[0][0], results[1][0])


@pytest.mark.parametrize("batch", [1, 5, 64])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_held_out_loss_is_what_a_loop_over_tokens_gives(name: str, batch: int) -> None:
    module, blocks = module_of(name=name).double(), counting(7)
    total, tokens = 0.0, 0
    for row, labels in zip(blocks.tokens, blocks.labels, strict=True):
        for position in range(1, CONTEXT):
            if labels[position] == IGNORED:
                continue
            with torch.no_grad():
                logits = module(input_ids=torch.from_numpy(row[None, :position])).logits[0, -1]
            total -= float(torch.log_softmax(logits, -1)[labels[position]])
            tokens += 1
    found = evaluate(module, blocks, batch=batch)
    assert found.tokens == tokens == blocks.targets == 7 * 15 - 5
    assert found.loss == pytest.approx(total / tokens, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(total / tokens), rel=1e-4)


def test_evaluation_leaves_the_module_as_it_was() -> None:
    module = module_of().train()
    before = weights(module)
    evaluate(module, counting())
    assert module.training
    assert equal(before, weights(module))
    fit(module, counting(), steps=1, batch=2, learning_rate=1e-3, seed=0)  # nothing is left of inference mode


def test_perplexity_beyond_a_float_is_infinite() -> None:
    assert HeldOut(710.0, 1).perplexity == math.inf


def test_a_loss_that_is_not_finite_is_an_error_that_says_when() -> None:
    module = module_of()
    broken = weights(module)
    broken["model.norm.weight"][:] = np.nan
    assign(module, broken)
    with pytest.raises(ConfigError, match="nan at step 1 of 3") as caught:
        fit(module, counting(), steps=3, batch=4, learning_rate=1e-3, seed=0)
    assert caught.value.key == "training.learning_rate"


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"steps": 0}, "training.batch"),
        ({"batch": 0}, "training.batch"),
        ({"learning_rate": 0.0}, "training.learning_rate"),
        ({"learning_rate": math.inf}, "training.learning_rate"),
        ({"learning_rate": math.nan}, "training.learning_rate"),
        ({"blocks": counting(0, 0)}, "data"),
    ],
)
def test_impossible_trainings_are_refused(options: dict[str, object], key: str) -> None:
    whole = {"blocks": counting(), "steps": 1, "batch": 1, "learning_rate": 1e-3, "seed": 0, **options}
    with pytest.raises(ConfigError) as caught:
        fit(module_of(), **whole)  # type: ignore[arg-type]
    assert caught.value.key == key


def test_nothing_held_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="held-out"):
        evaluate(module_of(), counting(1, CONTEXT - 1))


def test_schedules() -> None:
    def rates(schedule: str, count: int = 20) -> list[float]:
        return [learning_rate_at(index, count, 2.0, schedule) for index in range(count)]

    assert rates("constant") == [2.0] * 20
    cosine = rates("cosine")
    assert (cosine[0], cosine[10]) == (2.0, pytest.approx(1.0))
    assert cosine == sorted(cosine, reverse=True)
    assert 0 < cosine[-1] < 0.02
    warm = rates("cosine-with-warmup")
    assert warm[:3] == [1.0, 2.0, 2.0]
    assert warm[2:] == sorted(warm[2:], reverse=True)
    for schedule in Schedule:
        assert rates(schedule, 1) == [2.0]


def test_derived_seeds_differ_by_every_label() -> None:
    seeds = {derived_seed(1, "a", 1), derived_seed(1, "a", "1"), derived_seed(1, "a1"), derived_seed(2, "a", 1)}
    seeds |= {derived_seed(1, "a"), derived_seed(1)}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


PLAN = LocalPlan(rounds=4, steps=3, batch=4, learning_rate=1e-2, seed=7)


def test_a_client_trains_from_the_given_weights_whatever_the_module_holds() -> None:
    module = module_of("lora")
    start = weights(module)
    client: LocalTrainer = LanguageModelTrainer("a", module, counting(), PLAN)
    other: LocalTrainer = LanguageModelTrainer("b", module, counting(), PLAN)
    given = {name: value.copy() for name, value in start.items()}

    first = client.train(given, 2)
    neighbour = other.train(given, 2)
    again = client.train(given, 2)
    later = client.train(given, 3)
    assert equal(given, start)
    assert equal(dict(first.weights), dict(again.weights))
    assert first.metrics == again.metrics
    assert set(first.metrics) == {"loss"}
    assert first.examples == 12
    assert list(first.weights) == list(start)
    assert not equal(dict(first.weights), dict(neighbour.weights))
    assert not equal(dict(first.weights), dict(later.weights))


def test_the_rate_of_a_round_follows_the_plan() -> None:
    rates = [PLAN.learning_rate_in(number) for number in range(1, 5)]
    assert rates[0] == 1e-2
    assert rates == [learning_rate_at(index, 4, 1e-2, "cosine") for index in range(4)]
    constant = LocalPlan(rounds=4, steps=3, batch=4, learning_rate=1e-2, schedule=Schedule.CONSTANT)
    assert constant.learning_rate_in(4) == 1e-2


@pytest.mark.parametrize("number", [0, 5])
def test_a_round_that_is_not_in_the_plan_is_refused(number: int) -> None:
    module = module_of("lora")
    with pytest.raises(ConfigError, match="1 to 4"):
        LanguageModelTrainer("a", module, counting(), PLAN).train(weights(module), number)


def test_a_client_without_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a'"):
        LanguageModelTrainer("a", module_of(), counting(0, 0), PLAN)


def test_averaging_clients_learns_what_none_of_them_has_alone() -> None:
    """Two clients see one half of the alphabet each; their mean knows both."""
    tokens = (np.arange(CONTEXT)[None] + np.arange(32)[:, None] * 2) % VOCABULARY
    halves = [Blocks(tokens[rows], tokens[rows]) for rows in (slice(0, 16), slice(16, 32))]
    both = Blocks(tokens, tokens)
    module = module_of()
    plan = LocalPlan(rounds=12, steps=6, batch=8, learning_rate=1e-2)
    clients = [LanguageModelTrainer(str(i), module, half, plan) for i, half in enumerate(halves)]
    shared = start = weights(module)
    for number in range(1, 13):
        trained = [client.train(shared, number).weights for client in clients]
        shared = {name: np.mean([one[name] for one in trained], axis=0, dtype=np.float32) for name in shared}

    def loss(values: dict[str, np.ndarray], train: Callable[[], object] = lambda: None) -> float:
        assign(module, values)
        train()
        return evaluate(module, both).loss

    alone = [
        loss(start, lambda half=half: fit(module, half, steps=72, batch=8, learning_rate=1e-2, seed=0))  # type: ignore[misc]
        for half in halves
    ]
    assert loss(shared) < min(alone)
