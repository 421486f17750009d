"""A server app that is stopped in the middle of a run, and started again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import ArrayRecord, Context, Message, MetricRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedYogi

from securefed.aggregation import Adversary
from securefed.errors import ConfigError, PersistenceError
from securefed.integrations.flower import run_rounds
from tests.integrations.flower.inproc import arrays_of, start_arrays, train
from tests.integrations.flower.jobs import (
    ANY_SCHEME,
    assert_close,
    assert_same,
    client_files,
    numbered,
    plain_result,
    secured,
    single_precision,
    strategy_of,
)

ROUNDS = 3


class Stopped(BaseException):
    """The server app's process is killed."""


class Run:
    """One run of several processes over nodes that keep their state."""

    def __init__(self, folder: Path, *, files: bool = True, kind: Any = FedAvg, **options: Any) -> None:
        self.folder, self.kind, self.options = folder, kind, options
        folder.mkdir(exist_ok=True)
        self.configs = client_files(folder / "nodes", identities=True) if files else None
        self.kept = numbered(folder / "kept")
        self.trained: Counter[tuple[int, int]] = Counter()
        self.exchanges = 0

    def train(self, message: Message, context: Context) -> Message:
        self.trained[context.node_id, int(message.content["config"]["server-round"])] += 1
        return train(message, context)

    def process(self, stop_at: int | None = None, rounds: int = ROUNDS, **start: Any) -> Any:
        """Start the server app; it is stopped when message number `stop_at` leaves."""
        inner, grid = secured(self.train, policy=ANY_SCHEME, configs=self.configs, checkpoint=self.kept, **self.options)

        def stops(message: Message, node: int) -> str | None:
            self.exchanges += 1
            if self.exchanges == stop_at:
                raise Stopped
            return None

        inner.loses = stops
        return run_rounds(strategy_of(self.kind), grid, single_precision(), rounds, **start)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The result of a run that nobody stops."""
    return Run(tmp_path_factory.mktemp("whole"), kind=FedAdam).process()


def test_a_run_that_nobody_stops_is_the_strategy_s(whole: Any) -> None:
    assert_close(whole, plain_result(FedAdam, ROUNDS, arrays=single_precision()), 1e-4)


@pytest.mark.parametrize("stop_at", [2, 5, 8, 11, 14, 16, 17, 20, 23, 27])
def test_stopped_in_any_exchange(stop_at: int, tmp_path: Path, whole: Any) -> None:
    """Messages 1 … 3 ask who the nodes are, 4 … 15 are round 1, 16 … 21 round 2, 22 … 27 round 3."""
    run = Run(tmp_path, kind=FedAdam)
    with pytest.raises(Stopped):
        run.process(stop_at)
    result = run.process()
    assert_same(result, whole)
    # A node answers a request that comes again without training again.
    assert set(run.trained.values()) == {1}
    assert set(run.trained) == {(node, number) for node in (11, 12, 13) for number in range(1, ROUNDS + 1)}


@pytest.mark.parametrize("stop_at", [5, 11, 14, 17, 20, 23])
def test_nodes_that_lost_their_state_begin_the_round_anew(stop_at: int, tmp_path: Path) -> None:
    run = Run(tmp_path, files=False)
    with pytest.raises(Stopped):
        run.process(stop_at)
    assert_close(run.process(), plain_result(FedAvg, ROUNDS, arrays=single_precision()))
    assert max(run.trained.values()) <= 2


@pytest.mark.parametrize("scheme", ["masks", "bfv"])
def test_stopped_again_and_again(scheme: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"scheme": scheme}
    if scheme == "masks":
        options |= {"adversary": Adversary(), "identities": tmp_path / "nodes" / "client-2" / "identities.json"}
        client_files(tmp_path / "nodes", identities=True)
        options["identities"].parent.joinpath("state", "rounding.key").unlink()
        for at in (2, 3, 4):
            own = tmp_path / "nodes" / f"client-{at}"
            (own / "state" / "rounding.key").unlink(missing_ok=True)
            (own / "state").rmdir()
    run = Run(tmp_path, **options)
    stops = 0
    for step in range(4, 100, 5):
        run.exchanges = 0
        try:
            result = run.process(step)
            break
        except Stopped:
            stops += 1
    assert stops > 2
    assert_close(result, plain_result(FedAvg, ROUNDS, arrays=single_precision()))
    assert set(run.trained.values()) == {1}


@pytest.mark.parametrize(
    ("kind", "options"), [(FedAvgM, {"server_momentum": 0.5, "server_learning_rate": 0.5}), (FedYogi, {})]
)
def test_the_strategy_s_own_state_is_kept(kind: Any, options: dict[str, Any], tmp_path: Path) -> None:
    def strategy(**given: Any) -> Any:
        return kind(**given, **options)

    one, other = Run(tmp_path / "one", kind=strategy), Run(tmp_path / "other", kind=strategy)
    one.process(rounds=1)
    one.process(rounds=2)
    assert_same(one.process(), other.process())
    assert set(one.trained.values()) == {1}


def test_metrics_evaluation_and_numbers_go_on(tmp_path: Path) -> None:
    run, seen = Run(tmp_path), []

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        seen.append(number)
        return MetricRecord({"norm": float(np.abs(arrays["w"].numpy()).sum())})

    run.process(rounds=2, evaluate_fn=evaluate)
    result = run.process(evaluate_fn=evaluate)
    assert seen == [0, 1, 2, 3]
    assert list(result.train_metrics_clientapp) == [3]
    assert list(result.evaluate_metrics_serverapp) == [3]
    again = run.process(evaluate_fn=evaluate)
    assert seen == [0, 1, 2, 3]
    assert_same(again, result)


def test_another_strategy_or_model_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.process(rounds=1)
    run.kind = FedAdam
    with pytest.raises(ConfigError, match="a run of FedAvg, not of FedAdam"):
        run.process()
    _, grid = secured(policy=ANY_SCHEME, checkpoint=run.kept)
    with pytest.raises(ConfigError, match="other tensors"):
        run_rounds(strategy_of(), grid, ArrayRecord(arrays_of({"w": np.ones(3, "f4")})), ROUNDS)
    with pytest.raises(ConfigError, match="other tensors"):
        run_rounds(strategy_of(), grid, start_arrays(), ROUNDS)


@pytest.mark.parametrize("at", [3, 60, -1])
def test_a_damaged_checkpoint(at: int, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.process(rounds=1)
    path = run.kept / "run.bin"
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(PersistenceError, match=r"\[P1\].*run.bin is damaged"):
        run.process()


def test_a_strategy_is_left_as_it_was(tmp_path: Path) -> None:
    _, grid = secured(policy=ANY_SCHEME, checkpoint=tmp_path)
    strategy = strategy_of()
    before = set(vars(strategy))
    run_rounds(strategy, grid, single_precision(), 1)
    assert set(vars(strategy)) == before
