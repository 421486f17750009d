"""Rounds that train and send a part of the weights, another one each time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import Aggregate, Scheme
from securefed.errors import ConfigError
from securefed.federated.cohort import Cohort
from securefed.federated.loop import FederatedLoop, Settings
from securefed.federated.release import AsTrained
from securefed.federated.server_optimizer import FedAvg
from securefed.federated.training import FloatArray, Trained
from securefed.federated.update_plan import AllTensors, UpdatePlan
from securefed.plain import PlainFloats, PlainIntegers
from securefed.secagg import PairwiseMasks

from .toy import CLIENTS, MALICIOUS, ROUNDS, Notes, Towards, start_weights

SCHEMES = [PairwiseMasks(), PlainIntegers(), PlainFloats()]


class Turns:
    """One tensor a round, in turns; a metric of its own; half of each mean."""

    metrics = ("share",)

    def tensors(self, weights: Mapping[str, FloatArray], round_number: int) -> tuple[str, ...]:
        names = tuple(weights)
        return (names[round_number % len(names)],)

    def mean(self, aggregate: Aggregate) -> Mapping[str, FloatArray]:
        return {name: value * aggregate.metrics["share"] for name, value in aggregate.tensors.items()}


class Part(Towards):
    """Trains what the plan says, and reports the metric."""

    def __init__(self, target: float, plan: UpdatePlan) -> None:
        super().__init__(target, 1)
        self.plan = plan

    def train(self, weights: Mapping[str, FloatArray], round_number: int) -> Trained:
        trained = super().train(weights, round_number)
        names = self.plan.tensors(weights, round_number)
        return Trained({name: trained.weights[name] for name in names}, 1, {**trained.metrics, "share": 0.5})


def loop(
    scheme: Scheme,
    folder: Path | None = None,
    start: Mapping[str, FloatArray] | None = None,
    trains: UpdatePlan | None = None,
) -> FederatedLoop:
    plan = Turns()
    settings = Settings(3, "job", ROUNDS, MALICIOUS, optimizer=FedAvg(2.0))
    cohort = Cohort(tuple(f"client {n}" for n in range(CLIENTS)))
    trainers = {client: Part(client / 3 - 1, trains or plan) for client in cohort.by_id}
    return FederatedLoop(settings, cohort, trainers, scheme, AsTrained(20, 1.0), start or start_weights(), folder, plan)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_each_round_changes_what_it_sends_and_nothing_else(scheme: Scheme) -> None:
    notes, given = Notes(), start_weights()
    loop(scheme).run(notes)
    for result in notes.results:
        (sent,) = Turns().tensors(given, result.number)
        assert list(result.aggregate.tensors) == [sent]
        assert list(result.weights) == list(given)
        for name, value in result.weights.items():
            assert np.array_equal(value, given[name]) == (name != sent)
        # Twice the server's rate of half the mean is the mean.
        assert np.allclose(result.weights[sent], given[sent] + result.aggregate.tensors[sent], atol=1e-6)
        given = dict(result.weights)


def test_masks_and_plain_integers_agree_to_the_bit_and_each_round_has_its_own_layout() -> None:
    masked, plain = Notes(), Notes()
    loop(PairwiseMasks()).run(masked)
    loop(PlainIntegers()).run(plain)
    for one, other in zip(masked.results, plain.results, strict=True):
        assert all(one.weights[name].tobytes() == other.weights[name].tobytes() for name in one.weights)
    sizes = [sum(result.cost.bytes_up.values()) for result in plain.results]
    assert sizes[0] == sizes[2] != sizes[1] == sizes[3]


@pytest.mark.parametrize("stop", range(1, ROUNDS))
def test_a_resumed_job_goes_on_with_the_right_tensors(stop: int, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    class Stopping(Notes):
        def stage(self, round_number: int, stage: str, clients: int) -> None:
            if round_number > stop:
                raise Stopped

    with pytest.raises(Stopped):
        loop(PairwiseMasks(), tmp_path).run(Stopping())
    again = loop(PairwiseMasks(), tmp_path)
    assert again.resume()
    assert again.finished == stop
    ended, undisturbed = again.run(Notes()), loop(PairwiseMasks()).run(Notes())
    assert all(ended[name].tobytes() == undisturbed[name].tobytes() for name in undisturbed)


def test_a_trainer_that_trained_something_else_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"round 1 sends other tensors than client 1 trained: 'layer\.a'"):
        loop(PlainIntegers(), trains=AllTensors()).run(Notes())
