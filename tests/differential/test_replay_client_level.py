"""The vectors of protocols/dp_sgd of whole clients: clipped updates, adapted bounds, the matrix mechanism."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet
from hypothesis import given
from hypothesis import strategies as st

from protocols.dp_sgd import client_level, matrix
from protocols.notation import RuleBroken
from securefed.dp.central.adaptive import AdaptiveClip
from securefed.dp.central.banded import Banded
from securefed.dp.central.buffered import Buffered
from securefed.dp.central.groups import Groups
from securefed.dp.central.matrix_noise import MatrixNoise, claim_of
from securefed.dp.central.participation import Attendance, Schema
from securefed.dp.central.strategy import Strategy, expected_error
from securefed.dp.central.update_clip import UpdateClip
from securefed.dp.noise.gaussian import gaussian
from securefed.dp.noise.source import Source
from tests.differential.reading import named
from tests.rules import refused

PROTOCOL = "dp_sgd"


def vectors(file: str, operation: str, good: bool) -> list[ParameterSet]:
    every = named(PROTOCOL, file)
    return [p for p in every if p.values[0]["operation"] == operation and ("rule" not in p.values[0]) == good]


def floats(values: Any) -> np.ndarray:
    return np.array([float(x) for x in values])


def schema_from(vector: dict[str, Any]) -> Schema:
    return Schema(vector["rounds"], vector["separation"], vector["participations"])


def strategy_from(vector: dict[str, Any]) -> Strategy:
    if "bands" in vector:
        return Banded(schema_from(vector), tuple(floats(vector["bands"])))
    return Buffered(schema_from(vector), tuple(floats(vector["decays"])), tuple(floats(vector["scales"])))


def clipped_from(vector: dict[str, Any]) -> Any:
    clip = UpdateClip(Groups(vector["groups"]), {name: float(bound) for name, bound in vector["bounds"].items()})
    return clip, clip.clip({name: floats(values) for name, values in vector["update"].items()})


def adaptive_from(vector: dict[str, Any]) -> AdaptiveClip:
    numbers = {name: vector[name] for name in ("noise_multiplier", "cohort", "quantile", "rate", "bit_deviation")}
    return AdaptiveClip(Groups.each_tensor(vector["bounds"]), vector["bounds"], **numbers)


@pytest.mark.parametrize("vector", vectors("matrix", "strategy", good=True))
def test_strategies(vector: dict[str, Any]) -> None:
    strategy = strategy_from(vector)
    np.testing.assert_allclose(strategy.coefficients, vector["column"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(strategy.noise_coefficients, vector["noise_column"], rtol=1e-12, atol=1e-13)
    assert strategy.sensitivity == pytest.approx(vector["sensitivity"], rel=1e-8)
    assert strategy.sensitivity >= vector["sensitivity"]
    for error, name in (("max", "greatest_error"), ("mean", "mean_error")):
        assert expected_error(strategy, error) == pytest.approx(vector[name] * vector["sensitivity"], rel=1e-8)


@pytest.mark.parametrize("vector", vectors("matrix", "rows", good=True))
def test_rows(vector: dict[str, Any]) -> None:
    strategy = strategy_from(vector)
    buffers = np.zeros((strategy.buffers, 3), np.float32)
    for t, (independent, wanted) in enumerate(zip(vector["independent"], vector["correlated"], strict=True)):
        row = np.array(independent, np.float32)
        strategy.correlate(t, row, buffers)
        np.testing.assert_allclose(row, wanted, atol=2e-6)


@pytest.mark.parametrize("vector", vectors("matrix", "claim", good=True))
def test_claims(vector: dict[str, Any]) -> None:
    claim = claim_of(vector["row"], sorted(vector["clients"]), np.array(vector["total"]))
    assert claim.hex() == vector["claim"]


@pytest.mark.parametrize("vector", vectors("matrix", "row key", good=True))
def test_row_keys(vector: dict[str, Any]) -> None:
    noise = MatrixNoise(Banded.independent(Schema.once(10**5)), 5, bytes.fromhex(vector["key"]))
    noise.restore(vector["row"] - 1, noise.last, noise.buffers)
    wanted = gaussian(Source(bytes.fromhex(vector["row_key"])), 5)
    assert np.array_equal(noise.next(bytes.fromhex(vector["binding"])), wanted)


def attend(vector: dict[str, Any]) -> None:
    attendance = Attendance(schema_from(vector))
    for row, clients in enumerate(vector["attendance"]):
        attendance.record(clients, row)


@pytest.mark.parametrize("vector", vectors("matrix", "attendance", good=True))
def test_attendance(vector: dict[str, Any]) -> None:
    attend(vector)


@pytest.mark.parametrize("vector", vectors("client_level", "clip", good=True))
def test_clips(vector: dict[str, Any]) -> None:
    clip, clipped = clipped_from(vector)
    assert dict(zip(clip.groups.names, clipped.within.tolist(), strict=True)) == vector["within"]
    assert clip.total == pytest.approx(vector["total"], rel=1e-15)
    for name, wanted in vector["clipped"].items():
        np.testing.assert_allclose(clipped.tensors[name], wanted, rtol=1e-10, atol=0)


@pytest.mark.parametrize("vector", vectors("client_level", "adapt", good=True))
def test_adaptations(vector: dict[str, Any]) -> None:
    state = adaptive_from(vector)
    assert state.update_multiplier == pytest.approx(vector["update_multiplier"], rel=1e-12)
    assert state.scale == pytest.approx(vector["scale"], rel=1e-12)
    moved = state.after(floats(vector["entries"].values()))
    assert dict(moved.bounds) == pytest.approx(vector["adapted"], rel=1e-12)


@pytest.mark.parametrize("vector", [p for f in ("matrix", "client_level") for p in named(PROTOCOL, f) if p.marks])
def test_refused(vector: dict[str, Any]) -> None:
    with refused(vector["rule"]):
        match vector["operation"]:
            case "strategy":
                strategy_from(vector)
            case "attendance":
                attend(vector)
            case "clip":
                clipped_from(vector)
            case "adapt":
                adaptive_from(vector).after(floats(vector["entries"].values()))


@given(
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(0, 3),
    st.lists(st.floats(-1, 1, width=32), min_size=0, max_size=6),
)
def test_any_bands_are_allowed_or_refused_alike(rounds: int, separation: int, most: int, tail: list[float]) -> None:
    vector = {"rounds": rounds, "separation": separation, "participations": most, "bands": [1.0, *tail]}
    theirs = matrix.Schema(rounds, separation, most)
    try:
        column = matrix.banded_column(theirs, [1.0, *tail])
    except RuleBroken as broken:
        with refused(broken.rule):
            strategy_from(vector)
        return
    strategy, wanted = strategy_from(vector), matrix.sensitivity(matrix.toeplitz(column), theirs)
    assert strategy.sensitivity == pytest.approx(wanted, rel=1e-8)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4),
    st.lists(st.sampled_from("pq"), min_size=4, max_size=4),
    st.floats(1e-3, 1e3),
)
def test_any_update_is_clipped_alike(values: list[float], of: list[str], bound: float) -> None:
    groups = {f"t{at}": name for at, name in enumerate(of)}
    bounds = {name: bound * (2 if name == "p" else 1) for name in groups.values()}
    update = {f"t{at}": [value] for at, value in enumerate(values)}
    wanted, within = client_level.clip(update, groups, bounds)
    _, clipped = clipped_from({"groups": groups, "bounds": bounds, "update": update})
    for name, expected in wanted.items():
        np.testing.assert_allclose(clipped.tensors[name], expected, rtol=1e-9, atol=1e-300)
    assert dict(zip(dict.fromkeys(groups.values()), clipped.within.tolist(), strict=True)) == within
