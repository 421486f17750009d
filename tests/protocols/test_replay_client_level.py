"""The references of client-level privacy and of the matrix mechanism replay their vectors."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from protocols.dp_sgd import client_level, matrix
from protocols.dp_sgd.matrix import Schema
from protocols.notation import RuleBroken
from protocols.vector_files import load

FLOATS = ("bands", "decays", "scales")


def vectors(file: str, operation: str | None = None, good: bool = True) -> list[dict[str, Any]]:
    every = load("dp_sgd", file)["vectors"]
    return [v for v in every if operation in (None, v["operation"]) and ("rule" not in v) == good]


def schema_from(vector: dict[str, Any]) -> Schema:
    return Schema(vector["rounds"], vector["separation"], vector["participations"])


def column_from(vector: dict[str, Any]) -> list[float]:
    parameters = {name: [float(x) for x in vector[name]] for name in FLOATS if name in vector}
    if "bands" in parameters:
        return matrix.banded_column(schema_from(vector), parameters["bands"])
    return matrix.buffered_column(schema_from(vector), parameters["decays"], parameters["scales"])


def clip(vector: dict[str, Any]) -> Any:
    update = {name: [float(x) for x in values] for name, values in vector["update"].items()}
    bounds = {name: float(bound) for name, bound in vector["bounds"].items()}
    return client_level.clip(update, vector["groups"], bounds)


def adapt(vector: dict[str, Any]) -> dict[str, float]:
    entries = {name: float(entry) for name, entry in vector["entries"].items()}
    scale = client_level.bit_scale(vector["noise_multiplier"], vector["bounds"], vector["bit_deviation"])
    numbers = (vector["cohort"], vector["quantile"], vector["rate"])
    return client_level.adapted(vector["bounds"], entries, scale, *numbers)


def attend(vector: dict[str, Any]) -> None:
    matrix.attend(schema_from(vector), vector["attendance"])


OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "strategy": column_from, "attendance": attend, "clip": clip, "adapt": adapt,
}  # fmt: skip


def test_strategies() -> None:
    for vector in vectors("matrix", "strategy"):
        column = column_from(vector)
        dense = matrix.toeplitz(column)
        assert column == vector["column"]
        assert matrix.sensitivity(dense, schema_from(vector)) == vector["sensitivity"]
        back = matrix.correlated(dense, dense)
        for i, row in enumerate(back):
            assert row == pytest.approx([float(i == j) for j in range(len(row))], abs=1e-12)
        assert matrix.errors(column, [1.0] * len(column)) == (vector["greatest_error"], vector["mean_error"])


def test_the_square_root_is_optimal_for_one_participation() -> None:
    """Its error is its sensitivity, B = C; any other of these strategies has more of the product."""
    once = {v["name"]: v for v in vectors("matrix", "strategy") if v["name"].endswith(", once")}
    best = once.pop("square root, once")
    assert best["greatest_error"] == pytest.approx(best["sensitivity"], rel=1e-12)
    assert all(v["greatest_error"] * v["sensitivity"] > best["sensitivity"] ** 2 for v in once.values())


def test_rows_are_solutions() -> None:
    for vector in vectors("matrix", "rows"):
        dense = matrix.toeplitz(column_from(vector))
        assert matrix.correlated(dense, vector["independent"]) == vector["correlated"]
        for t, row in enumerate(dense):
            back = [sum(c * y[at] for c, y in zip(row, vector["correlated"], strict=True)) for at in range(3)]
            assert back == pytest.approx(vector["independent"][t], abs=1e-12)


def test_names() -> None:
    for vector in vectors("matrix", "claim"):
        total = struct.pack(f"<{len(vector['total'])}d", *vector["total"])
        assert matrix.claim(vector["row"], vector["clients"], total).hex() == vector["claim"]
    for vector in vectors("matrix", "row key"):
        key, binding = bytes.fromhex(vector["key"]), bytes.fromhex(vector["binding"])
        assert matrix.row_key(key, vector["row"], binding).hex() == vector["row_key"]


def test_attendance() -> None:
    for vector in vectors("matrix", "attendance"):
        matrix.attend(schema_from(vector), vector["attendance"])


def test_a_refused_round_is_the_last_one() -> None:
    for vector in vectors("matrix", "attendance", good=False):
        matrix.attend(schema_from(vector), vector["attendance"][:-1])


def test_clips_and_adaptations() -> None:
    for vector in vectors("client_level", "clip"):
        assert clip(vector) == (vector["clipped"], vector["within"])
        assert client_level.total_bound(vector["bounds"]) == vector["total"]
    for vector in vectors("client_level", "adapt"):
        assert adapt(vector) == vector["adapted"]


@pytest.mark.parametrize(
    "vector", [v for f in ("matrix", "client_level") for v in vectors(f, good=False)], ids=lambda v: v["name"]
)
def test_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(RuleBroken) as caught:
        OPERATIONS[vector["operation"]](vector)
    assert caught.value.rule == vector["rule"]
