"""A LoRA job on a real SuperLink: what comes out is, bit for bit, what summing the clients' integers in clear gives."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("flwr")
pytest.importorskip("torch")

from securefed.aggregation import Adversary, Aggregate, ClientIdentity, Policy, Update, new_round
from securefed.encoding.layout import Layout
from securefed.plain import PlainIntegers
from tests.integrations.flower_stack.job import ProtectedJob, protected_job
from tests.integrations.flower_stack.stack import APPS

pytestmark = pytest.mark.timeout(900)

Arrays = Mapping[str, npt.NDArray[np.float32]]

GREATEST_WEIGHT = 64
NODES = 3


class Moved:
    """New minus old in float64, though the tensors are float32."""

    dtype = "float32"

    def __init__(self, new: npt.NDArray[np.float32], old: npt.NDArray[np.float32]) -> None:
        self._values = (new.astype(np.float64) - old.astype(np.float64)).ravel()
        self.shape = new.shape

    def read(self, start: int, out: npt.NDArray[np.float64]) -> None:
        out[:] = self._values[start : start + len(out)]


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(APPS / "lora"))
    yield importlib.import_module("lora_app.training")
    for name in ("lora_app.training", "lora_app"):
        sys.modules.pop(name)


def summed_in_clear(job: ProtectedJob, report: Mapping[str, Any], old: Arrays, trained: list[Any]) -> Aggregate:
    """The round of a report again: the same integers, by the same rounding keys, through the scheme `plain`."""
    layout = Layout.of(old, ("loss", "clipped_share"))
    model = bytes(31) + b"\1"
    spec = new_round(
        round_number=report["number"],
        cohort=(1, 2, 3),
        adversary=Adversary(),
        model=model,
        layout=layout,
        bits=16,
        clip=1.0,
        greatest_weight=GREATEST_WEIGHT,
    )
    server = PlainIntegers().server(spec, layout)
    for client, request in server.requests().items():
        new, weight, loss = trained[client - 1]
        update = Update(
            {name: Moved(new[name], array) for name, array in old.items()},
            model,
            weight,
            {"loss": loss, "clipped_share": 0.0},
        )
        key = job.client(client - 1).state.rounding_key
        session = PlainIntegers().client(ClientIdentity(client, layout, Policy(frozenset({"plain"})), key))
        server.receive(client, session.reply(request, lambda update=update: update))
    server.advance()
    assert server.aggregate is not None
    return server.aggregate


def lora_under_masks_is_the_sum_in_clear(tmp_path, training, rounds: int) -> None:
    initial = tmp_path / "initial.npz"
    np.savez(initial, **training.adapter())
    config = {"rounds": rounds, "greatest-weight": GREATEST_WEIGHT, "initial": str(initial)}
    with protected_job(tmp_path, APPS / "lora", NODES, config) as job:
        job.finish(job.start())
        reports = job.reports
        for number, report in enumerate(reports, 1):
            old, new = job.arrays_after(number - 1), job.arrays_after(number)
            trained = [training.train(old, partition, number) for partition in range(NODES)]
            aggregate = summed_in_clear(job, report, old, trained)
            for name, array in new.items():
                expected = old[name].astype(np.float64) + aggregate.tensors[name]
                np.testing.assert_array_equal(array, expected.astype(np.float32))
                assert (array != old[name]).any()
            assert report["survivors"] == [1, 2, 3]
            assert (report["weight"], report["loss"]) == (aggregate.weight, aggregate.metrics["loss"])
        assert len(reports) == rounds
        # Of a round that follows another one, the set-up was on the way before.
        assert [report["exchanges"] for report in reports] == [5, *[3] * (rounds - 1)]
        for partition in range(NODES):
            assert job.inputs(partition) == [report["session"] for report in reports]


def test_two_rounds_of_lora_under_masks_against_a_malicious_server(tmp_path, training):
    lora_under_masks_is_the_sum_in_clear(tmp_path, training, rounds=2)


@pytest.mark.stack
def test_four_rounds_of_lora_under_masks_against_a_malicious_server(tmp_path, training):
    lora_under_masks_is_the_sum_in_clear(tmp_path, training, rounds=4)
