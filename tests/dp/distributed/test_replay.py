"""The vectors of protocols/distributed_noise, good and bad, through our mechanism."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securefed.dp.distributed import Mechanism, Parameters, Rotation
from securefed.dp.distributed.rotation import Signs
from securefed.dp.distributed.rounding import l1_bound, round_at_random
from securefed.wire.adversary import Server
from securefed.wire.specification import RoundSpec
from tests.differential.reading import adversary_from, named
from tests.dp.distributed.cases import Listed, Noise
from tests.rounds import spec_of
from tests.rules import refused

FILE = "distributed_noise"
CLOSE = 2.0**-40


def parameters_from(vector: dict[str, Any]) -> Parameters:
    fields = {name: float(v) if name in ("clip", "variance") else v for name, v in vector["parameters"].items()}
    return Parameters(**fields)


def assert_close(ours: np.ndarray, theirs: list[float]) -> None:
    expected = np.array(theirs)
    assert np.abs(ours - expected).max() <= CLOSE * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("vector", named(FILE, "parameters"))
def test_parameters(vector: dict[str, Any]) -> None:
    ours = parameters_from(vector)
    assert [[run.size, run.count] for run in ours.rotation.runs()] == vector["sizes"]
    for name in ("length", "signal_bound", "noise_reach", "l2_squared"):
        assert getattr(ours, name) == vector[name], name
    assert l1_bound(ours.l2_squared, ours.length) == vector["l1"]
    assert ours.overflow_log2 == pytest.approx(vector["overflow_log2"], rel=1e-9)


@pytest.mark.parametrize("vector", named(FILE, "rotation"))
def test_rotation(vector: dict[str, Any]) -> None:
    rotation = Rotation(len(vector["values"]), vector["block"])
    signs = Signs(bytes.fromhex(vector["seed"]), rotation.length)
    values, found, used = np.array(vector["values"]), np.empty(rotation.length), np.empty(rotation.length)
    for piece in rotation.pieces():
        found[piece.start : piece.stop] = rotation.forward(values[piece.start : piece.stop], piece, signs, 1.0)
        used[piece.start : piece.stop] = signs.of(piece).reshape(-1)
    assert used.tolist() == vector["signs"]
    assert_close(found, vector["rotated"])


@pytest.mark.parametrize("vector", named(FILE, "rounding"))
def test_rounding(vector: dict[str, Any]) -> None:
    y, words = np.array(vector["y"]), np.array(vector["random_words"], np.uint32).reshape(vector["attempts"], -1)
    tried = [round_at_random(y, row) for row in words]
    short = [int(z @ z) <= vector["l2_squared"] for z in tried]
    assert short == [False] * (vector["attempts"] - 1) + [True]
    assert tried[-1].tolist() == vector["integers"]


@pytest.mark.parametrize("vector", named(FILE, "clients"))
def test_clients(vector: dict[str, Any]) -> None:
    ours = Noise(parameters_from(vector), vector["noise"])
    values, source = np.array(vector["values"], vector["dtype"]), Listed(vector["random_words"])
    assert ours.encode(values, source, bytes.fromhex(vector["seed"])).tolist() == vector["integers"]


@pytest.mark.parametrize("vector", named(FILE, "means"))
def test_means(vector: dict[str, Any]) -> None:
    ours = Mechanism(parameters_from(vector))
    mean = ours.decode(np.array(vector["sums"], np.int64), vector["survivors"], bytes.fromhex(vector["seed"]))
    assert len(mean) == ours.parameters.dimension
    assert_close(mean / ours.parameters.clip, [value / ours.parameters.clip for value in vector["mean"]])


def spec_from(vector: dict[str, Any]) -> RoundSpec:
    """Of the round in a vector."""
    spec = spec_of(
        adversary=adversary_from(vector["adversary"] | {"server": Server(vector["adversary"]["server"])}),
        bits=vector["bits"],
        clip=vector["clip"],
        greatest_weight=vector["greatest_weight"],
        cohort=tuple(range(1, vector["clients"] + 1)),
    )
    return replace(spec, layout=bytes.fromhex(vector["layout"]))


@pytest.mark.parametrize("vector", named(FILE, "rounds"))
def test_rounds(vector: dict[str, Any]) -> None:
    Mechanism(parameters_from(vector)).check_round(spec_from(vector["round"]), vector["least_honest"])


@pytest.mark.parametrize("vector", named(FILE, "refused"))
def test_refused(vector: dict[str, Any]) -> None:
    with refused(vector["rule"]):
        ours, operation = Mechanism(parameters_from(vector)), vector["operation"]
        if operation == "join":
            ours.check_round(spec_from(vector["round"]), vector["least_honest"])
        elif operation == "encode":
            values = np.array([float(v) for v in vector["values"]]).astype(vector["dtype"])
            ours.encode(values, Listed([2**32 - 1]), bytes.fromhex(vector["seed"]))
        elif operation == "decode":
            sums = np.array(vector["sums"], np.int64)
            ours.decode(sums, vector["survivors"], bytes.fromhex(vector["seed"]))
