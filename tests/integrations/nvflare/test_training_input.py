"""Weights and configurations on their way to a site, and the update that comes of them."""

from __future__ import annotations

import numpy as np
import pytest

from securefed.encoding.layout import Layout
from securefed.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from securefed.integrations.nvflare.training_input import (
    RoundSettings,
    difference,
    pack_weights,
    to_arrays,
    unpack_weights,
)

WEIGHTS = {
    "half": np.arange(6, dtype=np.float16).reshape(2, 3),
    "scalar": np.array(2.5, np.float64),
    "none": np.zeros((0, 3), np.float32),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "foreign": np.arange(4, dtype=">f4"),
}


def test_weights_come_back_bit_for_bit_and_may_be_written_to() -> None:
    arrays = to_arrays(WEIGHTS)
    layout = Layout.of(arrays)
    back = unpack_weights(layout, pack_weights(layout, arrays))
    assert list(back) == list(WEIGHTS)
    for name, array in back.items():
        np.testing.assert_array_equal(array, WEIGHTS[name])
        assert array.shape == WEIGHTS[name].shape
        assert array.dtype == WEIGHTS[name].dtype.newbyteorder("=")
        array[...] = 1


@pytest.mark.parametrize("change", [lambda packed: packed + b"\0", lambda packed: packed[:-1], lambda _packed: b""])
def test_weights_of_another_length_are_refused(change) -> None:
    layout = Layout.of(to_arrays(WEIGHTS))
    packed = pack_weights(layout, to_arrays(WEIGHTS))
    with pytest.raises(RemoteProtocolError, match=r"server: \[O2\]"):
        unpack_weights(layout, change(packed))


@pytest.mark.parametrize("value", [np.arange(3), np.array(["a"]), np.zeros(2, complex), np.zeros(2, np.longdouble)])
def test_what_is_no_float_cannot_be_averaged(value) -> None:
    with pytest.raises(ConfigError, match=r"weights\.steps: "):
        to_arrays({"steps": value})


def test_what_numpy_can_read_is_taken() -> None:
    """As a torch tensor is, on the CPU."""

    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return np.ones((2, 3), np.float32)

    arrays = to_arrays({"w": Tensor()})
    assert (arrays["w"].dtype, arrays["w"].shape) == (np.float32, (2, 3))


def test_the_update_is_what_was_added() -> None:
    old = {"w": np.array([1.0, 2.0], np.float32), "v": np.array([[3.0]], np.float64)}
    new = {"v": np.array([[2.0]]), "w": np.array([1.5, 2.0])}
    tensors = difference(Layout.of(old), new, old)
    assert list(tensors) == ["w", "v"]
    np.testing.assert_array_equal(tensors["w"], np.array([0.5, 0.0], np.float32))
    assert tensors["w"].dtype == np.float32
    np.testing.assert_array_equal(tensors["v"], [[-1.0]])


@pytest.mark.parametrize(
    ("new", "rule"),
    [({"w": np.zeros(3)}, "V3"), ({"w": np.zeros((2, 1))}, "V3"), ({"w": np.float64(1)}, "V3"), ({}, "V2"),
     ({"w": np.zeros(2), "x": np.zeros(2)}, "V2")],
)  # fmt: skip
def test_weights_of_another_form_are_refused(new, rule) -> None:
    old = {"w": np.zeros(2)}
    with pytest.raises(LocalProtocolError, match=rf"\[{rule}\]"):
        difference(Layout.of(old), new, old)


def test_the_same_settings_have_one_text() -> None:
    text = RoundSettings({"b": 1, "a": [2, None]}, 0.1, 3).to_json()
    assert text == RoundSettings({"a": [2, None], "b": 1}, 0.1, 3).to_json()
    assert RoundSettings.from_json(text) == RoundSettings({"a": [2, None], "b": 1}, 0.1, 3)


@pytest.mark.parametrize("config", [{"a": object()}, {"a": float("nan")}, {"a": np.zeros(2)}])
def test_what_json_does_not_hold_is_refused(config) -> None:
    with pytest.raises(ConfigError, match="config: "):
        RoundSettings(config, 1.0, 1).to_json()


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{", "[" * 100_000, "null", "{}", '{"config": {}, "clip": 1.0}',
     '{"config": [], "clip": 1.0, "greatest_weight": 1}', '{"config": {}, "clip": "1", "greatest_weight": 1}',
     '{"config": {}, "clip": 1.0, "greatest_weight": 0}', '{"config": {}, "clip": 1.0, "greatest_weight": true}'],
)  # fmt: skip
def test_a_text_that_holds_no_settings_is_refused(text) -> None:
    with pytest.raises(RemoteProtocolError, match="O2"):
        RoundSettings.from_json(text)
