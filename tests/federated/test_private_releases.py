"""Releases that are differentially private: what they send, what they spend, and when they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import Adversary, Scheme, new_round
from securefed.dp.accounting import Ledger, Unit
from securefed.dp.central.adaptive import AdaptiveClip
from securefed.dp.central.central_noise import CentralNoise
from securefed.dp.central.groups import Groups
from securefed.dp.central.update_clip import UpdateClip
from securefed.dp.distributed import Mechanism, Parameters
from securefed.dp.noise import Source
from securefed.errors import BudgetExceeded, ConfigError, PersistenceError, RemoteProtocolError, RoundAborted
from securefed.federated.central_release import CentralRelease, RoundByRound
from securefed.federated.cohort import Cohort, Loss
from securefed.federated.distributed_release import DistributedRelease
from securefed.federated.ledgers import Ledgers
from securefed.federated.loop import FederatedLoop, Settings
from securefed.federated.release import AsTrained, Release
from securefed.federated.server_optimizer import FedAvg
from securefed.federated.training import FloatArray, Trained
from securefed.he import bfv, ckks_compact
from securefed.plain import PlainFloats, PlainIntegers
from securefed.schemes import SCHEMES as SCHEMES_BY_NAME
from securefed.secagg import PairwiseMasks

from .toy import CLIENTS, MALICIOUS, ROUNDS, Notes, start_weights

BOUND = 2.0
VALUES = sum(tensor.size for tensor in start_weights().values())


class Steps:
    """Every client's update is a constant of its own, times a hundred at client 1: clipping must bite."""

    def __init__(self, client: int) -> None:
        self.step = np.float32(0.01 * client * (100 if client == 1 else 1))

    def train(self, weights: Mapping[str, FloatArray], round_number: int) -> Trained:
        return Trained({name: old + self.step for name, old in weights.items()}, 3)


def clipped_mean(present: int = CLIENTS) -> float:
    """Of every coordinate: what the clients' clipped updates come to, over the cohort."""
    steps = [Steps(client).step for client in range(1, present + 1)]
    return sum(min(step, BOUND / math.sqrt(VALUES)) for step in steps) / CLIENTS


def federation(
    release: Release,
    scheme: Scheme,
    ledgers: Mapping[str, Ledger],
    folder: Path | None = None,
    *,
    losses: tuple[Loss, ...] = (),
    attempts: int = 1,
    rounds: int = ROUNDS,
) -> FederatedLoop:
    adversary = MALICIOUS if isinstance(scheme, PairwiseMasks) else Adversary("semi-honest", corrupt=0, dropouts=0.2)
    settings = Settings(3, "job", rounds, adversary, optimizer=FedAvg(1.0), losses=losses, attempts=attempts)
    cohort = Cohort(tuple(f"client {n}" for n in range(CLIENTS)))
    trainers = {client: Steps(client) for client in cohort.by_id}
    return FederatedLoop(settings, cohort, trainers, scheme, release, start_weights(), folder, ledgers=Ledgers(ledgers))


def central(ledger: Ledger, noise: float, *, adaptive: bool = False) -> CentralRelease:
    def clip(tensors: Mapping[str, FloatArray]) -> UpdateClip | AdaptiveClip:
        fixed = UpdateClip(Groups.flat(tensors), BOUND)
        return AdaptiveClip(fixed.groups, fixed.bounds, noise, CLIENTS, bit_deviation=1e-3) if adaptive else fixed

    return CentralRelease(20, clip, CLIENTS, RoundByRound(CentralNoise(noise, CLIENTS, Source.fresh()), ledger))


def mechanism(values: int, epsilon: float = 8.0, rounds: int = ROUNDS) -> Mechanism:
    return Mechanism(
        Parameters.for_budget(
            epsilon, 1e-5, rounds=rounds, clients=CLIENTS, least_honest=2, corrupt=1, dimension=values, clip=BOUND
        )
    )


def distributed(planned: Ledger, released: Ledger, made: Mechanism | None = None) -> DistributedRelease:
    return DistributedRelease(lambda values: made or mechanism(values), Groups.flat, planned, released)


def ledger(budget: float | None = None, file: Path | None = None) -> Ledger:
    return Ledger(Unit("client"), 1e-5, budget, file)


SCHEMES: tuple[Callable[[], Scheme], ...] = (PairwiseMasks, PlainIntegers, PlainFloats, bfv, ckks_compact)


@pytest.mark.parametrize("make", SCHEMES)
def test_clients_noise_reaches_the_model_under_every_scheme(make: Callable[[], Scheme]) -> None:
    if make is ckks_compact:
        pytest.importorskip("tenseal")
    planned, released, notes = ledger(8.0), ledger(8.0), Notes()
    federation(distributed(planned, released), make(), {"p": planned, "r": released}).run(notes)
    before = start_weights()
    errors = []
    for result in notes.results:
        assert result.aggregate.metrics == {}
        assert result.aggregate.words is None
        errors += [result.weights[name] - before[name] - clipped_mean() for name in before]
        before = dict(result.weights)
    observed = np.concatenate([np.ravel(one) for one in errors])
    expected = mechanism(VALUES).expected_error
    # 164 values: a factor of 1.5 is ten deviations of their standard deviation.
    assert expected / 1.5 < observed.std() < expected * 1.5
    assert abs(observed.mean()) < 6 * expected / math.sqrt(len(observed))
    # A client plans with two honest ones at least; all of the five were there, and one of them may be corrupt.
    assert released.epsilon() < planned.epsilon() <= 8.0


@pytest.mark.parametrize("make", [PairwiseMasks, PlainIntegers])
def test_the_servers_noise_reaches_the_model(make: Callable[[], Scheme]) -> None:
    spent, notes = ledger(), Notes()
    federation(central(spent, 0.5), make(), {"r": spent}).run(notes)
    before = start_weights()
    errors = []
    for result in notes.results:
        errors += [np.ravel(result.weights[name] - before[name]) - clipped_mean() for name in before]
        before = dict(result.weights)
    observed = np.concatenate(errors)
    expected = 0.5 * BOUND / CLIENTS
    assert expected / 1.5 < observed.std() < expected * 1.5
    assert [(event.kind, times) for event, times in spent.events] == [("gaussian", ROUNDS)]


def test_a_lost_client_leaves_the_servers_divisor_as_it_is() -> None:
    spent, notes = ledger(), Notes()
    loss = Loss(1, CLIENTS, "input")
    federation(central(spent, 1e-6), PairwiseMasks(), {"r": spent}, losses=(loss,), rounds=1).run(notes)
    (result,) = notes.results
    assert len(result.aggregate.survivors) == CLIENTS - 1
    moved = result.weights["layer.b"] - start_weights()["layer.b"]
    assert np.allclose(moved, clipped_mean(CLIENTS - 1), atol=1e-4)


def test_bounds_follow_the_quantile() -> None:
    spent = ledger()
    release = central(spent, 1e-6, adaptive=True)
    clips = []

    class Watching(Notes):
        def stage(self, round_number: int, stage: str, clients: int) -> None:
            if stage == "input":
                clips.append(release.clip)

    federation(release, PairwiseMasks(), {"r": spent}).run(Watching())
    # Four of five updates lie within the bound, more than half: it comes down, by exp(-0.2 * 0.3) a round.
    assert np.allclose(np.diff(np.log(clips)), -0.06, atol=1e-3)


def test_adapted_bounds_are_gone_on_with(tmp_path: Path) -> None:
    spent = ledger()
    first = central(spent, 1e-6, adaptive=True)
    federation(first, PairwiseMasks(), {"r": spent}, tmp_path, rounds=2).run(Notes())
    again = central(spent, 1e-6, adaptive=True)
    job = federation(again, PairwiseMasks(), {"r": spent}, tmp_path, rounds=3)
    start = again.clip
    assert job.resume()
    job.run(Notes())
    assert again.clip < first.clip < start


@pytest.mark.rule("D9")
def test_a_round_that_the_budget_does_not_hold_is_refused_before_any_client_is_asked() -> None:
    planned, released, notes = ledger(8.0), ledger(8.0), Notes()
    job = federation(
        distributed(planned, released, mechanism(VALUES, rounds=2)), PairwiseMasks(), {"p": planned, "r": released}
    )
    with pytest.raises(BudgetExceeded, match="D9"):
        job.run(notes)
    assert job.finished == len(notes.results) == 2
    assert max(number for number, _, _ in notes.stages) == 2


@pytest.mark.parametrize(("stage", "charged"), [("share", 1), ("release", 2)])
def test_a_failed_attempt_is_charged_where_noised_updates_left_the_clients(stage: str, charged: int) -> None:
    planned, released = ledger(), ledger()
    lost = tuple(Loss(1, client, stage) for client in (1, 2, 3))
    job = federation(distributed(planned, released), PairwiseMasks(), {}, losses=lost, attempts=2, rounds=1)
    notes = Notes()
    job.run(notes)
    assert len(notes.aborts) == 1
    assert {event.kind: times for event, times in planned.events}["skellam"] == charged
    assert {event.kind: times for event, times in released.events}["skellam"] == 1


def test_no_sum_is_released_with_less_noise_than_was_planned() -> None:
    planned, released = ledger(), ledger()
    lost = tuple(Loss(1, client, "input") for client in (1, 2))
    with pytest.raises(RoundAborted):
        federation(distributed(planned, released), PairwiseMasks(), {}, losses=lost, rounds=1).run(Notes())
    assert released.events == ()


def test_metrics_without_noise_are_refused() -> None:
    spent = ledger()
    for release in (central(spent, 1.0), distributed(spent, spent)):
        with pytest.raises(ConfigError, match="without noise"):
            release.layout(start_weights(), ("rank of a client",))


@pytest.mark.rule("D11")
def test_a_job_is_not_resumed_beside_a_ledger_that_forgot(tmp_path: Path) -> None:
    file = tmp_path / "released.jsonl"
    with ledger(None, file) as spent:
        job = federation(central(spent, 1.0), PairwiseMasks(), {"r": spent}, tmp_path)
        job.run(Notes())
    whole = file.read_bytes()
    with ledger(None, file) as spent:
        again = federation(central(spent, 1.0), PairwiseMasks(), {"r": spent}, tmp_path)
        assert again.resume()
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    with ledger(None, file) as spent:
        forgot = federation(central(spent, 1.0), PairwiseMasks(), {"r": spent}, tmp_path)
        with pytest.raises(PersistenceError, match="forgets spending"):
            forgot.resume()
        without = federation(central(spent, 1.0), PairwiseMasks(), {}, tmp_path)
        with pytest.raises(PersistenceError, match="D11"):
            without.resume()


class Kept:
    """Noise of nothing, which remembers what it was asked for."""

    def __init__(self) -> None:
        self.sensitivities: list[float] = []

    def mean(self, round_number: int, total: np.ndarray, sensitivity: float, clients: tuple[int, ...]) -> np.ndarray:
        self.sensitivities.append(sensitivity)
        return total / CLIENTS


def test_the_noise_is_for_what_rounding_adds_too() -> None:
    """With four bits a step of the encoding is a seventh of the bound."""
    noise = Kept()
    release = CentralRelease(4, lambda tensors: UpdateClip(Groups.flat(tensors), BOUND), CLIENTS, noise)
    federation(release, PlainIntegers(), {}, rounds=1).run(Notes())
    (sensitivity,) = noise.sensitivities
    assert sensitivity >= BOUND + math.sqrt(VALUES) * release.clip / 7 > 1.9 * BOUND


def test_groups_are_clipped_before_the_noise() -> None:
    """One of two groups holds all of the update: half of the square of the bound is its share."""
    parameters = Parameters(
        clients=CLIENTS, least_honest=2, corrupt=1, dimension=VALUES, clip=BOUND, grid=2**14, bits=17, variance=0.25
    )
    planned = ledger()
    release = DistributedRelease(lambda values: Mechanism(parameters), Groups.each_tensor, planned, planned)
    job = federation(release, PlainIntegers(), {}, rounds=1)
    for client, trainer in enumerate(job._trainers.values(), start=1):
        assert isinstance(trainer, Steps)
        trainer.step = np.float32(100.0 * client)
    job.run(Notes())
    moved = np.concatenate([np.ravel(job.weights[name] - old) for name, old in start_weights().items()])
    assert np.linalg.norm(moved) == pytest.approx(BOUND, rel=1e-2)
    for name, old in start_weights().items():
        assert np.linalg.norm(job.weights[name] - old) == pytest.approx(BOUND / math.sqrt(2), rel=1e-2)


@pytest.mark.rule("N11")
def test_a_round_that_would_cut_the_noise_is_refused_before_it_begins() -> None:
    planned = ledger()
    release = distributed(planned, planned)
    job = federation(release, PlainIntegers(), {})
    layout = release.layout(start_weights(), ())
    for bits, clip in ((release.bits - 1, release.clip), (release.bits, release.clip / 2)):
        spec = new_round(
            round_number=1, cohort=(1, 2, 3, 4, 5), adversary=MALICIOUS, model=bytes(31) + b"\1", layout=layout,
            bits=bits, clip=clip,
        )  # fmt: skip
        with pytest.raises(RemoteProtocolError, match="N11"):
            release.begin(spec)
    assert planned.events == ()
    assert job.finished == 0


def test_what_is_not_to_be_told_is_not_reported() -> None:
    trained = Trained(start_weights(), 3, {})
    assert AsTrained(20, 1.0, metrics=()).outgoing(start_weights(), trained, 1).metrics == {}
    told = AsTrained(20, 1.0, metrics=("clipped_share",)).outgoing(start_weights(), trained, 1)
    assert set(told.metrics) == {"clipped_share"}


@pytest.mark.parametrize(
    ("name", "cohort", "adversary", "honest"),
    [
        ("masks", 5, MALICIOUS, 3),
        ("masks", 1000, MALICIOUS, 1000 // 4 + 1),  # sparse: a server that lies may part the survivors
        ("masks", 1000, Adversary("semi-honest", 0.1, 0.1), 501 - 100),
        ("bfv", 1000, Adversary("malicious", 0.0, 0.1), 501 - 1),
    ],
)
def test_how_many_honest_clients_are_in_every_sum(name: str, cohort: int, adversary: Adversary, honest: int) -> None:
    assert SCHEMES_BY_NAME[name].least_honest(cohort, adversary) == honest
