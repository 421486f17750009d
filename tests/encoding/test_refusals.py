"""What an update may not be: one test for each rule, with the tensor's or metric's name in the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from securefed.encoding.layout import Layout, TensorSpec
from securefed.encoding.tensors import BFloat16
from securefed.encoding.vector import PIECE_WORDS, VectorEncoding
from tests.rounds import LAYOUT, identity_of, spec_of, update_of
from tests.rules import case, refused

Tensors = dict[str, np.ndarray]


def encode(tensors: Tensors, weight: Any = 3, metrics: Any = None) -> None:
    encoding = VectorEncoding(LAYOUT, spec_of().numbers)
    metrics = {"loss": 0.5} if metrics is None else metrics
    for _ in encoding.encode(tensors, weight, metrics, identity_of(2).rounding(7)):
        pass


def with_value(name: str, value: float) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        tensors[name].flat[-1] = value
        return tensors

    return change


def with_array(name: str, of: Callable[[np.ndarray], Any]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: of(tensors[name])}


@pytest.mark.parametrize(
    ("rule", "change", "named"),
    [
        case("V1", "NaN", with_value("lora_A", np.nan), "lora_A"),
        case("V1", "infinity", with_value("lora_B", np.inf), "lora_B"),
        case("V1", "minus infinity", with_value("lora_B", -np.inf), "lora_B"),
        case("V2", "missing", lambda t: {"lora_A": t["lora_A"]}, "lora_B"),
        case("V2", "added", lambda t: {**t, "bias": np.zeros(2, "f4")}, "bias"),
        case("V2", "renamed", lambda t: {"lora_A": t["lora_A"], "lora_b": t["lora_B"]}, "lora_B"),
        case("V2", "another order", lambda t: dict(reversed(t.items())), "order"),
        case("V2", "nothing", lambda t: {}, "lora_A"),
        case("V3", "transposed", with_array("lora_A", lambda a: a.T), "lora_A"),
        case("V3", "a dimension less", with_array("lora_A", lambda a: a.ravel()), "lora_A"),
        case("V3", "a dimension more", with_array("lora_B", lambda a: a[None]), "lora_B"),
        case("V3", "empty", with_array("lora_B", lambda a: a[:0]), "lora_B"),
        case("V4", "float64 for float32", with_array("lora_A", lambda a: a.astype("f8")), "lora_A"),
        case("V4", "float16 for float64", with_array("lora_B", lambda a: a.astype("f2")), "lora_B"),
        case("V4", "bfloat16 for float32", with_array("lora_A", BFloat16.nearest), "lora_A"),
        case("V4", "int32", with_array("lora_A", lambda a: a.astype("i4")), "lora_A"),
        case("V4", "uint16, as bfloat16 often comes", with_array("lora_A", lambda a: a.astype("u2")), "lora_A"),
        case("V4", "bool", with_array("lora_A", lambda a: a > 0), "lora_A"),
        case("V4", "complex", with_array("lora_A", lambda a: a.astype("c8")), "lora_A"),
        case("V4", "objects", with_array("lora_A", lambda a: a.astype(object)), "lora_A"),
        case("V4", "text", with_array("lora_A", lambda a: a.astype("U8")), "lora_A"),
    ],
)
def test_tensors_that_are_not_the_layouts(rule: str, change: Callable[[Tensors], Tensors], named: str) -> None:
    good = {name: np.array(array) for name, array in update_of(2).tensors.items()}
    encode(good)
    with refused(rule) as caught:
        encode(change(good))
    assert named in str(caught.value)


@pytest.mark.rule("V1")
@pytest.mark.parametrize("at", [0, 1, PIECE_WORDS * 3 - 1, PIECE_WORDS * 3, -1])
def test_v1_wherever_in_a_long_tensor(at: int) -> None:
    """In every piece, not only in the first."""
    layout = Layout((TensorSpec("long", (PIECE_WORDS * 3 + 17,)),))
    values = np.zeros(layout.size, "f4")
    values[at] = np.nan
    with refused("V1") as caught:
        list(VectorEncoding(layout, spec_of().numbers).encode({"long": values}, 1, {}, identity_of(2).rounding(0)))
    assert "'long'" in str(caught.value)


@pytest.mark.rule("V5")
@pytest.mark.parametrize("weight", [0, -1, 101, 2**32, 1.0, 1.5, float("nan"), float("inf"), True, "1", None])
def test_v5_weights(weight: Any) -> None:
    with refused("V5"):
        encode(dict(update_of(2).tensors), weight=weight)


@pytest.mark.rule("V6")
@pytest.mark.parametrize(
    ("metrics", "named"),
    [
        ({}, "loss"),
        ({"accuracy": 1.0}, "accuracy"),
        ({"loss": 0.5, "accuracy": 1.0}, "accuracy"),
        ({"loss": float("nan")}, "loss"),
        ({"loss": float("-inf")}, "loss"),
        ({"loss": 2.0**37}, "loss"),
    ],
)
def test_v6_metrics(metrics: dict[str, float], named: str) -> None:
    with refused("V6") as caught:
        encode(dict(update_of(2).tensors), metrics=metrics)
    assert named in str(caught.value)


def test_weights_and_metrics_are_refused_before_any_tensor_is_read() -> None:
    tensors = {name: np.full(array.shape, np.nan, array.dtype) for name, array in update_of(2).tensors.items()}
    for arguments, rule in (({"weight": 0}, "V5"), ({"metrics": {}}, "V6")):
        with refused(rule):
            encode(tensors, **arguments)


@pytest.mark.parametrize(
    ("rule", "tensors", "metrics", "named"),
    [
        case("V10", "nothing", (), (), "no parameters"),
        case("V10", "empty tensors alone", (TensorSpec("a", (3, 0)),), (), "no parameters"),
        case("V10", "a tensor twice", (TensorSpec("a", (1,)), TensorSpec("a", (2,))), (), "'a'"),
        case("V10", "a metric twice", (TensorSpec("a", (1,)),), ("loss", "loss"), "'loss'"),
        case("V10", "a second weight", (TensorSpec("a", (1,)),), ("weight",), "'weight'"),
        case("V4", "eight bits", (TensorSpec("a", (1,), "float8_e4m3fn"),), (), "'a'"),
        case("V4", "bfloat16 by another name", (TensorSpec("a", (1,), "bf16"),), (), "'a'"),
        case("V4", "int8", (TensorSpec("a", (1,), "int8"),), (), "'a'"),
    ],
)
def test_layouts(rule: str, tensors: tuple[TensorSpec, ...], metrics: tuple[str, ...], named: str) -> None:
    with refused(rule) as caught:
        Layout(tensors, metrics)
    assert named in str(caught.value)


@pytest.mark.rule("V10")
def test_v10_a_name_too_long_for_its_length() -> None:
    with refused("V10"):
        _ = Layout((TensorSpec("a" * 2**16, (1,)),)).digest


def test_a_layouts_digest_depends_on_all_of_it() -> None:
    variants = [
        LAYOUT,
        Layout(LAYOUT.tensors),
        Layout(LAYOUT.tensors, ("Loss",)),
        Layout(LAYOUT.tensors[::-1], LAYOUT.metrics),
        Layout((TensorSpec("lora_A", (3, 2)), LAYOUT.tensors[1]), LAYOUT.metrics),
        Layout((TensorSpec("lora_A", (6,)), LAYOUT.tensors[1]), LAYOUT.metrics),
        Layout((TensorSpec("lora_A", (2, 3), "float64"), LAYOUT.tensors[1]), LAYOUT.metrics),
        Layout((TensorSpec("lora_A", (2, 3), "float16"), LAYOUT.tensors[1]), LAYOUT.metrics),
        Layout((TensorSpec("lora_A", (2, 3), "bfloat16"), LAYOUT.tensors[1]), LAYOUT.metrics),
        Layout((TensorSpec("lora_AA", (2, 3)), LAYOUT.tensors[1]), LAYOUT.metrics),
        Layout((*LAYOUT.tensors, TensorSpec("c", ())), LAYOUT.metrics),
    ]
    assert len({layout.digest for layout in variants}) == len(variants)
