"""Adapters of different ranks: zero padding, counts inside the vector, means over those that hold a component."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.errors import ConfigError
from securefed.llm.ranks import component, count_names, counts, held_shares, mean_over_holders, pad, rank_axes

A, B, CORE = "layer.lora_A.weight", "layer.lora_B.weight", "layer.lora_B.core"
GREATEST, IN, OUT = 5, 7, 6
SHAPES = {A: lambda rank: (rank, IN), B: lambda rank: (OUT, rank), CORE: lambda rank: (rank, rank)}

clients = st.lists(st.tuples(st.integers(1, GREATEST), st.integers(1, 1000)), min_size=1, max_size=8)
"""Rank and weight of each."""


def weighted_mean(values: list[np.ndarray], weights: list[int]) -> np.ndarray:
    """What every scheme gives, here without its rounding."""
    return sum(w * v for v, w in zip(values, weights, strict=True)) / sum(weights)


def reported(members: list[tuple[int, int]], greatest: int = GREATEST) -> tuple[dict[str, float], int]:
    """The round's mean counts, and its weight."""
    weights = [weight for _, weight in members]
    told = [counts(rank, greatest) for rank, _ in members]
    means = {
        name: float(weighted_mean([np.array(one[name]) for one in told], weights)) for name in count_names(greatest)
    }
    return means, sum(weights)


@pytest.mark.parametrize("name", SHAPES)
@given(members=clients, seed=st.integers(0, 2**32 - 1))
def test_each_component_is_the_weighted_mean_over_the_clients_that_hold_it(
    name: str, members: list[tuple[int, int]], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    updates = [generator.normal(size=SHAPES[name](rank)) for rank, _ in members]
    padded = [pad({name: update}, GREATEST)[name] for update in updates]
    weights = [weight for _, weight in members]
    shares = held_shares(*reported(members), GREATEST)
    found = mean_over_holders({name: weighted_mean(padded, weights)}, shares)[name]
    at = np.broadcast_to(component(name, GREATEST), found.shape)
    for index in np.ndindex(*found.shape):
        holders = [(u[index], w) for u, (rank, w) in zip(padded, members, strict=True) if rank > at[index]]
        expected = sum(u * w for u, w in holders) / sum(w for _, w in holders) if holders else 0.0
        assert found[index] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(members=clients, seed=st.integers(0, 2**32 - 1))
def test_products_are_exact_where_the_other_factor_is_fixed(members: list[tuple[int, int]], seed: int) -> None:
    """Of ffa, of a round that trains A, and of a core: Σ over components of the holders' mean product."""
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(GREATEST, IN)), generator.normal(size=(OUT, GREATEST))
    weights = [weight for _, weight in members]
    shares = held_shares(*reported(members), GREATEST)

    def aggregated(name: str, updates: list[np.ndarray]) -> np.ndarray:
        padded = [pad({name: update}, GREATEST)[name] for update in updates]
        return mean_over_holders({name: weighted_mean(padded, weights)}, shares)[name]

    def holders_mean(products: list[list[np.ndarray | None]]) -> np.ndarray:
        """Of each component by itself: `products[i][k]` is client i's, None where it holds none."""
        total = np.zeros((OUT, IN))
        for k in range(GREATEST):
            own = [(p[k], w) for p, w in zip(products, weights, strict=True) if p[k] is not None]
            if own:
                total += sum(w * p for p, w in own) / sum(w for _, w in own)
        return total

    ranks = [rank for rank, _ in members]
    trained_b = [generator.normal(size=(OUT, rank)) for rank in ranks]
    products = [
        [np.outer(t[:, k], a[k]) if k < r else None for k in range(GREATEST)]
        for t, r in zip(trained_b, ranks, strict=True)
    ]
    assert np.allclose(aggregated(B, trained_b) @ a, holders_mean(products), rtol=1e-11, atol=1e-11)

    trained_a = [generator.normal(size=(rank, IN)) for rank in ranks]
    products = [
        [np.outer(b[:, k], t[k]) if k < r else None for k in range(GREATEST)]
        for t, r in zip(trained_a, ranks, strict=True)
    ]
    assert np.allclose(b @ aggregated(A, trained_a), holders_mean(products), rtol=1e-11, atol=1e-11)

    cores = [generator.normal(size=(rank, rank)) for rank in ranks]

    def shell(core: np.ndarray, k: int) -> np.ndarray:
        """What component k adds: entries whose greater index is k."""
        own = np.zeros((GREATEST, GREATEST))
        own[k, : k + 1], own[: k + 1, k] = core[k, : k + 1], core[: k + 1, k]
        return b @ own @ a

    products = [[shell(c, k) if k < r else None for k in range(GREATEST)] for c, r in zip(cores, ranks, strict=True)]
    assert np.allclose(b @ aggregated(CORE, cores) @ a, holders_mean(products), rtol=1e-11, atol=1e-11)


@given(members=clients)
def test_with_equal_ranks_it_is_the_ordinary_mean_to_the_bit(members: list[tuple[int, int]]) -> None:
    shares = held_shares(*reported([(GREATEST, weight) for _, weight in members]), GREATEST)
    assert (shares == 1).all()
    mean = {B: np.random.default_rng(1).normal(size=(OUT, GREATEST))}
    assert np.array_equal(mean_over_holders(mean, shares)[B], mean[B])


def test_shares_are_exact_though_a_scheme_computes_approximately() -> None:
    means, weight = reported([(1, 3), (2, 5), (4, 2)])
    noisy = {name: value + 1e-3 * (-1) ** at for at, (name, value) in enumerate(means.items())}
    assert held_shares(noisy, weight, GREATEST).tolist() == [1.0, 0.7, 0.2, 0.2, 0.0]


def test_a_component_that_nobody_holds_stays_as_it_was() -> None:
    shares = held_shares(*reported([(2, 1), (1, 4)]), GREATEST)
    mean = pad({A: np.ones((2, IN))}, GREATEST)
    assert not mean_over_holders(mean, shares)[A][2:].any()


def test_padding_adds_zeros_along_the_rank_alone() -> None:
    padded = pad({A: np.ones((2, IN), np.float32), B: np.ones((OUT, 3)), CORE: np.ones((2, 2))}, GREATEST)
    assert {name: values.shape for name, values in padded.items()} == {
        name: shape(GREATEST) for name, shape in SHAPES.items()
    }
    assert padded[A].dtype == np.float32
    assert [values.sum() for values in padded.values()] == [2 * IN, 3 * OUT, 4]
    assert padded[CORE][:2, :2].all()


@pytest.mark.parametrize(
    ("name", "shape"), [(A, (6, 7)), (B, (6, 6)), (CORE, (2, 3)), (A, (5,)), (A, (1, 2, 3)), ("layer.weight", (2, 2))]
)
def test_what_cannot_be_padded_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' has") as caught:
        pad({name: np.zeros(shape)}, GREATEST)
    assert caught.value.key == "method.client_ranks"


@pytest.mark.parametrize("rank", [-1, 0, GREATEST + 1])
def test_an_impossible_rank_is_refused(rank: int) -> None:
    with pytest.raises(ConfigError, match=r"allowed is 1 … 5 \(method\.rank\)"):
        counts(rank, GREATEST)


def test_the_axes_of_a_tensor_that_has_no_rank_are_refused() -> None:
    assert [rank_axes(name) for name in SHAPES] == [(0,), (1,), (0, 1)]
    with pytest.raises(ConfigError, match="has no rank"):
        rank_axes("layer.lora_B.factor")
