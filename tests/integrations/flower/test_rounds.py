"""What a strategy gets from protected rounds is what it would make of the nodes' replies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi

from securefed.integrations.flower import SecureGrid, secure
from tests.integrations.flower.inproc import InProcessGrid, arrays_of, train
from tests.integrations.flower.jobs import (
    ANY_SCHEME,
    NUMBERS,
    assert_close,
    assert_same,
    client_files,
    numbered,
    plain_result,
    secured,
    single_precision,
    start,
    strategy_of,
    values,
)
from tests.tenseal import needs_tenseal

EXACT = ("plain", "masks", "bfv", "bfv-2048")
APPROXIMATE = (pytest.param("ckks", marks=needs_tenseal), pytest.param("ckks-compact", marks=needs_tenseal), "float")


def run(tmp_path: Path, scheme: str) -> Any:
    configs = client_files(tmp_path / scheme)
    _, grid = secured(
        policy=ANY_SCHEME, configs=configs, scheme=scheme, checkpoint=numbered(tmp_path / scheme / "kept")
    )
    return start(strategy_of(), grid)


def test_a_job_needs_no_more_than_the_two_names() -> None:
    inner, grid = secured()
    assert_close(start(strategy_of(), grid), plain_result())
    assert grid.report is not None
    assert grid.report.spec.adversary.malicious is False
    assert len(inner.contexts[11].state) == 1


def test_exact_schemes_give_the_same_bits(tmp_path: Path) -> None:
    results = {scheme: run(tmp_path, scheme) for scheme in EXACT}
    for result in results.values():
        assert_same(result, results["plain"])
        assert_close(result, plain_result())


@pytest.mark.parametrize("scheme", APPROXIMATE)
def test_other_schemes_agree(scheme: str, tmp_path: Path) -> None:
    assert_close(run(tmp_path, scheme), plain_result())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (FedAvgM, {"server_momentum": 0.9, "server_learning_rate": 0.5}),
        (FedAdam, {}),
        (FedAdagrad, {}),
        (FedYogi, {}),
        (FedProx, {"proximal_mu": 0.25}),
    ],
)
def test_strategies_are_as_without_protection(kind: Any, options: dict[str, Any]) -> None:
    _, grid = secured()
    # Server optimisers divide by moments near zero: what is 1e-6 apart may come out farther.
    result = start(strategy_of(kind, **options), grid, 3, single_precision())
    assert_close(result, plain_result(kind, 3, arrays=single_precision(), **options), 1e-4)


def test_nodes_may_reply_in_another_precision() -> None:
    """Flower's FedAdam makes float64 of float32, which a model of float32 takes and does not give back."""

    def single(message: Message, context: Context) -> Message:
        reply = train(message, context)
        for name, array in list(reply.content["arrays"].items()):
            reply.content["arrays"][name] = Array(array.numpy().astype("f4"))
        return reply

    inner, grid = secured(single)
    result = start(strategy_of(FedAdam), grid, 3, single_precision())
    assert inner.sent[-3 * 2][0].content["arrays"]["w"].dtype == "float64"
    assert_close(result, plain_result(FedAdam, 3, function=single, arrays=single_precision()), 1e-4)


def test_metrics_come_as_means_and_the_weight_is_the_strategys() -> None:
    def weighted_otherwise(message: Message, context: Context) -> Message:
        reply = train(message, context)
        metrics = reply.content["metrics"]
        reply.content["metrics"] = MetricRecord({"tokens": metrics["num-examples"], "a": metrics["loss"], "b": -3.5})
        return reply

    _, grid = secured(weighted_otherwise, metrics=("b", "a"))
    result = start(strategy_of(weighted_by_key="tokens"), grid, 1)
    wanted = plain_result(FedAvg, 1, function=weighted_otherwise, weighted_by_key="tokens")
    assert_close(result, wanted)
    assert dict(result.train_metrics_clientapp[1]) == pytest.approx(dict(wanted.train_metrics_clientapp[1]), abs=1e-6)
    assert set(result.train_metrics_clientapp[1]) == {"a", "b"}


def test_the_train_function_sees_an_ordinary_message_once_a_round() -> None:
    seen: list[tuple[int, set[str], dict[str, Any]]] = []

    def watching(message: Message, context: Context) -> Message:
        seen.append((context.node_id, set(message.content), dict(message.content["config"])))
        assert message.metadata.message_type == "train.adapters"
        return train(message, context)

    class WithAction(FedAvg):
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            config["lr"] = 0.5
            messages = list(super().configure_train(server_round, arrays, config, grid))
            for message in messages:
                message.metadata.message_type = "train.adapters"
            return messages

    app = ClientApp()
    app.train("adapters")(watching)
    grid = SecureGrid(InProcessGrid(secure(app)), **NUMBERS)
    start(strategy_of(WithAction), grid)
    assert sorted((node, config["server-round"]) for node, _, config in seen) == [
        (node, number) for node in (11, 12, 13) for number in (1, 2)
    ]
    assert all(names == {"arrays", "config"} and config["lr"] == 0.5 for _, names, config in seen)


def test_functions_modifiers_and_lifespan_of_the_app_stay() -> None:
    calls: list[str] = []

    def modifier(message: Message, context: Context, call_next: Any) -> Message:
        calls.append("modifier")
        return call_next(message, context)

    app = secure(ClientApp(mods=[modifier]))

    @app.lifespan()
    def lifespan(context: Context) -> Any:
        calls.append("enter")
        yield
        calls.append("leave")

    app.train()(train)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1, "accuracy": 0.5})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.query("names")
    def names(message: Message, context: Context) -> Message:
        return Message(RecordDict({"config": ConfigRecord({"name": "x"})}), reply_to=message)

    grid = SecureGrid(InProcessGrid(app), **NUMBERS)
    result = start(strategy_of(fraction_evaluate=1.0, min_evaluate_nodes=3), grid, 1)
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == 0.5
    assert calls.count("modifier") == 6
    assert calls[:3] == ["enter", "modifier", "leave"]
    question = Message(RecordDict({"config": ConfigRecord({})}), 11, "query.names")
    (reply,) = grid.send_and_receive([question])
    assert reply.content["config"]["name"] == "x"


def test_an_own_loop_may_take_sums_only() -> None:
    _, grid = secured(sums_only=True)
    content = RecordDict(
        {"arrays": ArrayRecord(arrays_of({"w": np.ones(3)})), "config": ConfigRecord({"server-round": 1})}
    )
    (reply,) = grid.send_and_receive([Message(content, node, "train") for node in (11, 12, 13)], timeout=5)
    assert reply.content["metrics"]["num-examples"] == 20 + 30 + 40
    assert set(values(reply.content["arrays"])) == {"w"}


def test_what_is_clipped_is_said(caplog: pytest.LogCaptureFixture) -> None:
    _, grid = secured(clip=0.01)
    with caplog.at_level("INFO", "flwr"):
        start(strategy_of(), grid, 1)
    assert any("over the clip bound 0.01" in line for line in caplog.messages)
    assert any("3 of 3 nodes in the sum" in line for line in caplog.messages)


def test_rounds_after_the_first_have_their_set_up_done() -> None:
    exchanges = []
    for prepare in (True, False):
        _, grid = secured(prepare=prepare)
        start(strategy_of(), grid, 2)
        assert grid.report is not None
        exchanges.append(grid.report.exchanges)
    assert exchanges == [2, 4]
