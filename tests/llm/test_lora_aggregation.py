"""What each aggregation of LoRA gives against the mean of the clients' products B·A, in numbers and in real rounds."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel

from securefed.aggregation import Adversary, Scheme
from securefed.errors import ConfigError
from securefed.federated.cohort import Cohort
from securefed.federated.loop import AbortedAttempt, FederatedLoop, RoundResult, Settings
from securefed.federated.release import AsTrained
from securefed.federated.training import FloatArray, Trained
from securefed.llm import ranks
from securefed.llm.blocks import Blocks
from securefed.llm.client import LanguageModelTrainer, LocalPlan
from securefed.llm.lora_aggregation import FEDIT_WARNING, LoraAggregation, LoraPlan
from securefed.llm.methods import LoraOptions, assign, attach, save, training_only, weights
from securefed.llm.models import from_configuration
from securefed.llm.runtime import quiet
from securefed.plain import PlainFloats, PlainIntegers
from securefed.secagg import PairwiseMasks

from .architectures import CONFIGURATIONS, CONTEXT, VOCABULARY


def homomorphic(name: str) -> Scheme:
    """A scheme of `securefed.he`; its CKKS has an extra of its own."""
    if name.startswith("ckks"):
        pytest.importorskip("tenseal", reason="the he extra is not installed")
    scheme: Scheme = getattr(importlib.import_module("securefed.he.scheme"), name)()
    return scheme


SCHEMES: dict[str, Callable[[], Scheme]] = {
    "masks": PairwiseMasks,
    "bfv": lambda: homomorphic("bfv"),
    "bfv-2048": lambda: homomorphic("bfv_2048"),
    "ckks": lambda: homomorphic("ckks"),
    "ckks-compact": lambda: homomorphic("ckks_compact"),
    "plain": PlainIntegers,
    "float": PlainFloats,
}
"""Every scheme that must carry every aggregation: one more is one more entry here."""

RANK, STEPS, RATE, ROUNDS = 4, 3, 2e-2, 2
CLIP = RATE * STEPS * 1.2
EXACT = [one for one in LoraAggregation if one.exact]


# In numbers: one layer, whatever the clients did.


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.normal(size=shape)


def members(
    aggregation: LoraAggregation, round_number: int, generator: np.random.Generator, n: int
) -> list[dict[str, np.ndarray]]:
    """Any adapters that clients may have after a round: what the round sends differs, the rest is common."""
    common = {
        ".lora_A.weight": normal(generator, RANK, 7),
        ".lora_B.weight": normal(generator, 6, RANK),
        ".lora_B.core": normal(generator, RANK, RANK) if aggregation is LoraAggregation.CORE else np.eye(RANK),
    }
    own = aggregation.sends(round_number)
    return [
        {name: value + normal(generator, *value.shape) if name in own else value for name, value in common.items()}
        for _ in range(n)
    ]


def product(adapter: Mapping[str, np.ndarray]) -> np.ndarray:
    return adapter[".lora_B.weight"] @ adapter[".lora_B.core"] @ adapter[".lora_A.weight"]


def mean(values: list[np.ndarray], shares: np.ndarray) -> np.ndarray:
    return np.tensordot(shares, np.stack(values), 1)


cases = given(
    n=st.integers(2, 6), number=st.integers(1, 9), seed=st.integers(0, 2**32 - 1), spread=st.floats(0.05, 1.0)
)


@pytest.mark.parametrize("aggregation", EXACT)
@cases
def test_the_product_of_the_mean_is_the_mean_of_the_products(
    aggregation: LoraAggregation, n: int, number: int, seed: int, spread: float
) -> None:
    generator = np.random.default_rng(seed)
    clients = members(aggregation, number, generator, n)
    shares = generator.dirichlet(np.full(n, 1 / spread))
    averaged = {name: mean([one[name] for one in clients], shares) for name in clients[0]}
    expected = mean([product(one) for one in clients], shares)
    assert np.linalg.norm(product(averaged) - expected) <= 1e-12 * (1 + np.linalg.norm(expected))


@cases
def test_fedit_is_off_by_the_covariance_of_the_factors(n: int, number: int, seed: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    clients = members(LoraAggregation.FEDIT, number, generator, n)
    shares = generator.dirichlet(np.full(n, 1 / spread))
    averaged = {name: mean([one[name] for one in clients], shares) for name in clients[0]}
    centred = [{name: one[name] - averaged[name] for name in one} for one in clients]
    covariance = mean([one[".lora_B.weight"] @ one[".lora_A.weight"] for one in centred], shares)
    bias = product(averaged) - mean([product(one) for one in clients], shares)
    assert np.allclose(bias, -covariance, rtol=1e-10, atol=1e-10)


def test_fedit_can_lose_everything() -> None:
    """Two clients agree on the model that they want, with opposite signs of both factors: the mean changes nothing."""
    b, a = np.ones((6, RANK)), np.ones((RANK, 7))
    wanted = (b @ a + (-b) @ (-a)) / 2
    assert np.array_equal(wanted, b @ a)
    assert not (((b + -b) / 2) @ ((a + -a) / 2)).any()


# In real rounds: a tiny Llama, real training, real bytes.


def blocks(client: int) -> Blocks:
    tokens = np.random.default_rng(client).integers(0, VOCABULARY, (12, CONTEXT))
    return Blocks(tokens, tokens.copy())


def logits(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(input_ids=torch.from_numpy(blocks(99).tokens)).logits


def module_of(aggregation: str, name: str = "llama", rank: int = RANK) -> torch.nn.Module:
    return attach(
        from_configuration(CONFIGURATIONS[name], 1),
        "lora",
        lora=LoraOptions(rank=rank, aggregation=aggregation),
        seed=2,
    )


class Keeping:
    """A trainer that keeps, by round, the whole adapter that its client had."""

    def __init__(self, trainer: LanguageModelTrainer) -> None:
        self.trainer = trainer
        self.kept: dict[int, dict[str, FloatArray]] = {}
        self.metrics: dict[str, float] = {}

    def train(self, given: Mapping[str, FloatArray], round_number: int) -> Trained:
        trained = self.trainer.train(given, round_number)
        self.kept[round_number] = {**given, **trained.weights}
        self.metrics = dict(trained.metrics)
        return trained


class Results:
    def __init__(self) -> None:
        self.rounds: list[RoundResult] = []

    def stage(self, round_number: int, stage: str, clients: int) -> None: ...

    def trained(self, round_number: int, client: int) -> None: ...

    def aborted(self, attempt: AbortedAttempt) -> None: ...

    def round(self, result: RoundResult) -> None:
        self.rounds.append(result)


def federate(
    module: torch.nn.Module,
    aggregation: LoraAggregation,
    scheme: Scheme,
    client_ranks: tuple[int | None, ...] = (None, None, None, None),
    *,
    weighted: bool = False,
) -> tuple[list[RoundResult], list[Keeping]]:
    """Rounds over four clients, weighed 1 … 4 or alike."""
    plan = LoraPlan(aggregation, RANK if client_ranks[0] is not None else None)
    trainers = [
        Keeping(
            LanguageModelTrainer(
                str(client),
                module,
                blocks(client),
                LocalPlan(ROUNDS, STEPS, client if weighted else 4, RATE),
                update_plan=plan,
                rank=rank,
            )
        )
        for client, rank in enumerate(client_ranks, start=1)
    ]
    settings = Settings(seed=1, job="job", rounds=ROUNDS, adversary=Adversary("malicious", corrupt=0.0, dropouts=0.0))
    release = AsTrained(26, CLIP, 4 * STEPS if weighted else 1)
    names = tuple(str(client) for client in range(1, len(trainers) + 1))
    loop = FederatedLoop(
        settings, Cohort(names), dict(enumerate(trainers, start=1)), scheme, release, weights(module), None, plan
    )
    results = Results()
    loop.run(results)
    return results.rounds, trainers


def layer_products(adapter: Mapping[str, FloatArray]) -> dict[str, np.ndarray]:
    """B·A (or B·R·A) of every layer, in float64."""
    wide = {name: value.astype(np.float64) for name, value in adapter.items()}
    found = {}
    for name in wide:
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            up = wide.get(f"{layer}.lora_B.weight")
            if up is None:
                up = wide[f"{layer}.lora_B.factor"] @ wide[f"{layer}.lora_B.core"]
            found[layer] = up @ wide[name]
    return found


def distance(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum((one[layer] - other[layer]) ** 2) for layer in one)))


def weighted_products(trainers: list[Keeping], number: int, weighted: bool) -> dict[str, np.ndarray]:
    total = [float(client) if weighted else 1.0 for client in range(1, len(trainers) + 1)]
    products = [layer_products(trainer.kept[number]) for trainer in trainers]
    return {
        layer: sum(w * one[layer] for w, one in zip(total, products, strict=True)) / sum(total) for layer in products[0]
    }


NOISE = 1e-4
"""Far above what 26 bits and float32 lose of all layers' products together, far below FedIT's bias here."""


@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@pytest.mark.parametrize("aggregation", LoraAggregation)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_real_round_gives_the_mean_of_the_models(
    scheme: str, aggregation: LoraAggregation, weighted: bool, tmp_path: Path
) -> None:
    module = module_of(aggregation)
    before = weights(module)
    rounds, trainers = federate(module, aggregation, SCHEMES[scheme](), weighted=weighted)
    assert [len(result.aggregate.survivors) for result in rounds] == [4] * ROUNDS
    off = []
    for result in rounds:
        assert result.aggregate.metrics["clipped_share"] == 0
        assert list(result.weights) == list(before)
        sent = aggregation.sends(result.number)
        assert all(name.endswith(sent) for name in result.aggregate.tensors)
        expected = weighted_products(trainers, result.number, weighted)
        off.append(distance(layer_products(result.weights), expected))
        moved = distance(expected, layer_products(before))
        before = dict(result.weights)
        assert moved > 100 * NOISE
    if aggregation.exact:
        assert max(off) < NOISE
    else:
        assert min(off) > 10 * NOISE

    assign(module, rounds[-1].weights)
    save(module, tmp_path)
    with quiet():
        again = PeftModel.from_pretrained(from_configuration(CONFIGURATIONS["llama"], 1), tmp_path)
    torch.testing.assert_close(logits(again), logits(module))
    assert not torch.allclose(logits(again), logits(from_configuration(CONFIGURATIONS["llama"], 1)), atol=1e-3)


@pytest.mark.parametrize("aggregation", LoraAggregation)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_clients_of_different_ranks_in_a_real_round(scheme: str, aggregation: LoraAggregation) -> None:
    module, own = module_of(aggregation), (1, 2, 2, 3)  # nobody holds the fourth component
    start = weights(module)
    rounds, trainers = federate(module, aggregation, SCHEMES[scheme](), own)
    holders = np.array([4, 3, 1, 0])
    given = start
    for result in rounds:
        held = [result.aggregate.metrics[name] * 4 for name in ranks.count_names(RANK)]
        assert held == pytest.approx(holders.tolist(), abs=1e-6)
        for name in result.aggregate.tensors:
            at = np.broadcast_to(ranks.component(name, RANK), given[name].shape)
            deltas = [trainer.kept[result.number][name] - given[name] for trainer in trainers]
            for delta, rank in zip(deltas, own, strict=True):
                assert not delta[at >= rank].any()  # zero-padded, exactly
                assert delta[at == rank - 1].any()
            expected = given[name] + sum(deltas) / np.maximum(holders, 1)[at]
            assert np.abs(result.weights[name] - expected).max() < 1e-6
            assert np.array_equal(result.weights[name][at == 3], given[name][at == 3])
        given = dict(result.weights)


def test_no_client_shows_its_rank_by_what_it_sends() -> None:
    """All send vectors of the same length and names; only the protected values differ."""
    rounds, trainers = federate(module_of("ffa"), LoraAggregation.FFA, PairwiseMasks(), (1, 2, 2, 4))
    assert {len(trainer.metrics) for trainer in trainers} == {1 + RANK}
    assert all(len(set(result.cost.bytes_up.values())) == 1 for result in rounds)


def test_what_is_not_sent_is_as_it_was_to_the_bit() -> None:
    for aggregation in LoraAggregation:
        module = module_of(aggregation)
        given = weights(module)
        for result in federate(module, aggregation, PlainIntegers())[0]:
            sent = aggregation.sends(result.number)
            for name, value in result.weights.items():
                assert np.array_equal(value, given[name]) != name.endswith(sent), name
            given = dict(result.weights)


# The core, and what of a module is trained.


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_core_changes_nothing_at_first_and_merges_as_an_ordinary_adapter(name: str) -> None:
    module = module_of("core", name)
    assert torch.equal(logits(module), logits(from_configuration(CONFIGURATIONS[name], 1)))
    values = weights(module)
    for key, value in values.items():
        gram = value @ value.T if key.endswith("lora_A.weight") else value.T @ value
        expected = np.zeros((RANK, RANK)) if key.endswith(".core") else np.eye(RANK)
        assert np.allclose(gram, expected, atol=1e-6), key
    generator = np.random.default_rng(0)
    assign(module, {k: generator.normal(0, 0.3, v.shape) if k.endswith(".core") else v for k, v in values.items()})
    apart = logits(module)
    assert not torch.allclose(apart, logits(from_configuration(CONFIGURATIONS[name], 1)), atol=1e-3)
    torch.testing.assert_close(logits(module.merge_and_unload()), apart)


def test_a_cores_factors_follow_from_the_seed_and_differ_by_layer() -> None:
    first, again = weights(module_of("core")), weights(module_of("core"))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    fixed = [value for name, value in first.items() if not name.endswith(".core")]
    assert len({value.tobytes() for value in fixed}) == len(fixed)
    trained = {name for name, tensor in module_of("core").named_parameters() if tensor.requires_grad}
    assert len(trained) == len(first) / 3
    assert all(name.endswith(".core") for name in trained)


def test_only_what_is_asked_for_has_a_gradient_and_only_for_so_long() -> None:
    module = module_of("ffa")
    before = {name: tensor.requires_grad for name, tensor in module.named_parameters()}
    names = [name for name in weights(module) if name.endswith(".lora_B.weight")]
    with training_only(module, names, 2):
        assert all("lora_B" in name for name, tensor in module.named_parameters() if tensor.requires_grad)
    assert before == {name: tensor.requires_grad for name, tensor in module.named_parameters()}


# Refusals.


def test_an_unknown_aggregation_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'flora' is not one of ffa, alternate, core, fedit") as caught:
        module_of("flora")
    assert caught.value.key == "method.lora_aggregation"


def test_a_core_larger_than_a_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"got 17; .* at most 16") as caught:
        module_of("core", rank=17)
    assert caught.value.key == "method.rank"
    module_of("core", rank=8)


@pytest.mark.parametrize(("attached", "planned"), [("core", "ffa"), ("ffa", "core")])
def test_a_plan_for_another_module_is_refused(attached: str, planned: str) -> None:
    with pytest.raises(ConfigError, match="attach it with the same aggregation") as caught:
        federate(module_of(attached), LoraAggregation.of(planned), PlainIntegers())
    assert caught.value.key == "method.lora_aggregation"


@pytest.mark.parametrize("name", ["model.layers.0.mlp.up_proj.lora_B.factor", "nowhere"])
def test_fixed_and_unknown_tensors_are_not_trained(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}' is to be trained and is"), training_only(module_of("core"), [name]):
        pass


def test_impossible_ranks_of_a_client_are_refused() -> None:
    plan = LocalPlan(1, 1, 1, 1e-2)
    module = module_of("ffa")
    for rank in (0, RANK + 1):
        with pytest.raises(ConfigError, match=f"a client's rank is {rank}; allowed is 1 … {RANK}"):
            LanguageModelTrainer(
                "a", module, blocks(1), plan, update_plan=LoraPlan(LoraAggregation.FFA, RANK), rank=rank
            )
    with pytest.raises(ConfigError, match="no ranks are counted"):
        LanguageModelTrainer("a", module, blocks(1), plan, update_plan=LoraPlan(LoraAggregation.FFA), rank=2)


def test_the_warning_names_the_bias() -> None:
    assert "mean(B)·mean(A) is not mean(B·A)" in FEDIT_WARNING
    assert all(f'"{one}"' in FEDIT_WARNING for one in LoraAggregation)
