"""Adaptive bounds: the budget of the bits, and that bounds find the quantile."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.accounting import effective_multiplier
from securefed.dp.central.adaptive import AdaptiveClip
from securefed.dp.central.groups import Groups
from securefed.dp.central.update_clip import Clipped
from tests.rules import case, refused

NAMES = ("a", "b", "c")
GROUPS = Groups.each_tensor(NAMES)
START = AdaptiveClip(GROUPS, dict.fromkeys(NAMES, 1.0), noise_multiplier=0.8, cohort=100)


@given(st.floats(0.05, 20), st.floats(2, 1e6), st.floats(1.01, 50), st.tuples(*[st.floats(1e-6, 1e6)] * 3))
def test_the_whole_release_has_the_claimed_multiplier(
    z: float, cohort: float, times: float, bounds: tuple[float, ...]
) -> None:
    """One deviation s = z·Δ on all entries is the multiplier z_Δ on the update and σ_b clients on the bits."""
    deviation = times * z * math.sqrt(3) / 2
    clip = AdaptiveClip(GROUPS, dict(zip(NAMES, bounds, strict=True)), z, cohort, bit_deviation=deviation)
    assert effective_multiplier(clip.update_multiplier, 3, deviation) == pytest.approx(z, rel=1e-6)
    noise = z * clip.sensitivity
    assert noise / clip.clip.total == pytest.approx(clip.update_multiplier, rel=2e-6)
    assert noise / clip.scale == pytest.approx(deviation, rel=2e-6)


@given(st.lists(st.floats(-5, 5, width=32), min_size=6, max_size=6))
def test_one_clients_whole_vector_is_within_the_sensitivity(values: list[float]) -> None:
    update = {name: np.array(values[2 * at : 2 * at + 2], np.float32) for at, name in enumerate(NAMES)}
    clipped = START.clip.clip(update)
    vector = np.concatenate([*clipped.tensors.values(), START.entries(clipped)]).astype(np.float64)
    assert np.linalg.norm(vector) <= START.sensitivity
    assert set(START.entries(clipped)) <= {np.float32(START.scale / 2), np.float32(-START.scale / 2)}


def test_entries_say_which_groups_were_within() -> None:
    update = {"a": np.array([0.5]), "b": np.array([2.0]), "c": np.zeros(1)}
    assert np.sign(START.entries(START.clip.clip(update))).tolist() == [1, -1, 1]


@pytest.mark.parametrize("quantile", [0.3, 0.5, 0.9])
def test_bounds_find_the_quantile_of_each_group(quantile: float) -> None:
    """Norms of three groups of very different sizes, σ_b = m/20 of noise."""
    rng = np.random.default_rng(7)
    scales = np.array([1e-3, 1.0, 50.0])
    start = dict(zip(NAMES, scales * [0.1, 1, 10], strict=True))
    state = AdaptiveClip(GROUPS, start, 0.5, 200, quantile, rate=0.3)
    for _ in range(150):
        norms = rng.lognormal(0, 0.5, (200, 3)) * scales
        bits = norms <= list(state.bounds.values())
        total = np.sum([state.entries(Clipped({}, within)) for within in bits], axis=0, dtype=np.float64)
        state = state.after(total + rng.standard_normal(3) * state.noise_multiplier * state.sensitivity)
    wanted = np.quantile(rng.lognormal(0, 0.5, 10**5), quantile)
    assert list(state.bounds.values()) == pytest.approx(list(wanted * scales), rel=0.25)


def test_a_round_without_noise_moves_bounds_by_the_published_rule() -> None:
    """C·exp(−η·(b̄ − γ)) (algorithm 1), 70 of 100 clients within the bound of a, none of b, all of c."""
    entries = np.array([70 - 30, -100, 100]) * START.scale / 2
    moved = START.after(entries).bounds
    wanted = [math.exp(-0.2 * (0.7 - 0.5)), math.exp(0.1), math.exp(-0.1)]
    assert list(moved.values()) == pytest.approx(wanted)


def test_noise_alone_cannot_carry_bounds_away() -> None:
    moved = START.after(np.array([1e9, -1e9, 0.0])).bounds
    assert list(moved.values()) == pytest.approx([math.exp(-0.1), math.exp(0.1), 1.0])
    held = replace(START, least=0.95, greatest=1.01).after(np.array([1e9, -1e9, 0.0])).bounds
    assert list(held.values()) == pytest.approx([0.95, 1.01, 1.0])


def test_its_state_comes_back() -> None:
    moved = START.after(np.array([3.0, 2.0, 1.0]))
    assert AdaptiveClip.from_json(GROUPS, json.loads(json.dumps(moved.to_json()))) == moved


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        case("U1", "bounds without range", {"least": 2.0, "greatest": 1.0}),
        case("U1", "bound of nothing", {"bounds": {"a": 1.0, "b": 1.0}}),
        case("U3", "quantile of one", {"quantile": 1.0}),
        case("U3", "quantile nan", {"quantile": float("nan")}),
        case("U3", "rate of zero", {"rate": 0.0}),
        case("U3", "too little noise on the bits", {"bit_deviation": 0.8 * math.sqrt(3) / 2}),
        case("U3", "endless noise on the bits", {"bit_deviation": float("inf")}),
        case("U4", "no noise", {"noise_multiplier": 0.0}),
        case("U4", "no cohort", {"cohort": 0.0}),
        case("U4", "noise nan", {"noise_multiplier": float("nan")}),
    ],
)
def test_refused(rule: str, change: dict[str, Any]) -> None:
    with refused(rule):
        replace(START, **change)


@pytest.mark.parametrize("entries", [np.zeros(2), np.array([0.0, np.nan, 0.0]), np.zeros((3, 1))])
@pytest.mark.rule("U6")
def test_other_entries_are_refused(entries: np.ndarray) -> None:
    with refused("U6"):
        START.after(entries)
