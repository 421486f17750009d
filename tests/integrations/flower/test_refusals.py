"""What cannot be protected is refused where it is seen, with a text that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg

from securefed.aggregation import Adversary, Policy
from securefed.errors import ConfigError, RoundAborted
from securefed.integrations.flower import SecureGrid, run_rounds, secure
from tests.integrations.flower.inproc import InProcessGrid, arrays_of, plain_app, start_arrays, train
from tests.integrations.flower.jobs import NUMBERS, secured, start, strategy_of

Change = Callable[[RecordDict], None]


def wrapped(kind: str) -> Any:
    strategy = getattr(flower, kind)
    options: dict[str, Any] = {"num_sampled_clients": 3, "noise_multiplier": 1.0}
    options |= {"clipping_norm": 1.0} if "Fixed" in kind else {"clipped_count_stddev": 10.0}
    return strategy(strategy_of(), **options)


@pytest.mark.parametrize(
    "kind", ["FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan", "QFedAvg", "FedXgbBagging", "FedXgbCyclic"]
)
@pytest.mark.parametrize("sums_only", [False, True])
def test_strategies_that_need_single_updates(kind: str, sums_only: bool) -> None:
    kinds = getattr(flower, kind)
    strategy = (
        kinds()
        if "Cyclic" in kind
        else strategy_of(kinds, **({"client_learning_rate": 0.1} if kind == "QFedAvg" else {}))
    )
    inner, grid = secured(sums_only=sums_only)
    with pytest.raises(ConfigError, match=rf"strategy: {kind} .*(FedAvg|models of tensors)"):
        start(strategy, grid, arrays=ArrayRecord(arrays_of({"0": np.zeros(2)})))
    assert not inner.sent


@pytest.mark.parametrize("side", ["ServerSide", "ClientSide"])
@pytest.mark.parametrize("clipping", ["Fixed", "Adaptive"])
def test_noise_of_the_server(side: str, clipping: str) -> None:
    _, grid = secured()
    with pytest.raises(ConfigError, match=r"add it on the clients \(securefed.dp.distributed\)"):
        start(wrapped(f"DifferentialPrivacy{side}{clipping}Clipping"), grid)


def test_an_own_aggregation_must_be_declared() -> None:
    class Own(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            return super().aggregate_train(server_round, replies)

    with pytest.raises(ConfigError, match=r"Own has an aggregate_train of its own.*sums_only=True"):
        start(strategy_of(Own), secured()[1])
    assert start(strategy_of(Own), secured(sums_only=True)[1]).arrays is not None

    class Configures(FedAvg):
        """Changes nothing about what is aggregated."""

    assert start(strategy_of(Configures), secured()[1]).arrays is not None


def test_no_strategy_at_all() -> None:
    content = RecordDict({"arrays": start_arrays(), "config": ConfigRecord({"server-round": 1})})
    with pytest.raises(ConfigError, match="by no strategy"):
        secured()[1].send_and_receive([Message(content, node, "train") for node in (11, 12, 13)])


def test_train_messages_are_not_pushed() -> None:
    inner, grid = secured()
    with pytest.raises(ConfigError, match="go through send_and_receive"):
        grid.push_messages([Message(RecordDict({"arrays": start_arrays()}), 11, "train")])
    assert not inner.sent


class PerNode(FedAvg):
    """Gives one node something of its own."""

    def __init__(self, change: Change, **options: Any) -> None:
        super().__init__(**options)
        self.change = change

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
        messages = list(super().configure_train(server_round, arrays, config, grid))
        content = messages[1].content
        messages[1].content = RecordDict({name: record.copy() for name, record in content.items()})
        self.change(messages[1].content)
        return messages


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["config"].update({"lr": 0.5}),
        lambda content: content["arrays"].update(arrays_of({"b": np.zeros(4)})),
        lambda content: content.update({"more": ConfigRecord({})}),
    ],
    ids=["config", "arrays", "record"],
)
def test_nodes_that_would_train_from_something_else(change: Change) -> None:
    inner, grid = secured()
    with pytest.raises(ConfigError, match=r"node 1\d is sent another '(config|arrays|more)' than node 1\d"):
        start(strategy_of(PerNode, change=change), grid)
    assert not inner.sent
    assert start(strategy_of(PerNode, change=lambda content: None), grid).arrays is not None


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (Array(np.arange(3)), r"'n' is int64.*is_floating_point"),
        (Array(np.array([True])), "'n' is bool"),
        (Array("float32", (2,), "other", b""), "written as 'other'"),
        (Array("float32", (2,), "numpy.ndarray", b"\x93NUMPY\x01"), "not a numpy array"),
    ],
)
def test_arrays_that_cannot_be_summed(tensor: Array, problem: str) -> None:
    inner, grid = secured()
    arrays = start_arrays()
    arrays["n"] = tensor
    with pytest.raises(ConfigError, match=problem):
        start(strategy_of(), grid, arrays=arrays)
    assert not inner.sent


def changed(change: Change) -> Any:
    def function(message: Message, context: Context) -> Message:
        reply = train(message, context)
        change(reply.content)
        return reply

    return function


BAD_REPLIES: dict[str, tuple[Change, str]] = {
    "missing": (lambda content: content["arrays"].pop("b"), r"\[V2\] the train function's reply lacks \['b'\]"),
    "added": (lambda content: content["arrays"].update(arrays_of({"z": np.ones(1)})), r"\[V2\].*has \['z'\]"),
    "shape": (
        lambda content: content["arrays"].update(arrays_of({"b": np.ones(5)})),
        r"\[V3\] tensor 'b'.*\(5,\).*\(4,\)",
    ),
    "integers": (lambda content: content["arrays"].update(arrays_of({"b": np.ones(4, int)})), r"\[V4\].*is_floating"),
    "nan": (lambda content: content["arrays"].update(arrays_of({"b": np.full(4, np.nan)})), r"\[V1\] tensor 'b'"),
    "infinite": (lambda content: content["arrays"].update(arrays_of({"b": np.full(4, np.inf)})), r"\[V1\] tensor 'b'"),
    "no arrays": (lambda content: content.pop("arrays"), r"\[V2\].*one ArrayRecord"),
    "two metrics": (lambda content: content.update({"more": MetricRecord({"x": 1})}), r"\[V2\].*one MetricRecord"),
    "more metrics": (
        lambda content: content["metrics"].update({"accuracy": 0.25}),
        r"\[V6\].*SecureGrid\(..., metrics=\('accuracy', 'loss'\)\)",
    ),
    "list": (lambda content: content["metrics"].update({"loss": [0.25]}), r"\[V6\] metric 'loss' is a list"),
    "no weight": (lambda content: content["metrics"].pop("num-examples"), r"\[V5\].*no metric 'num-examples'"),
    "half": (lambda content: content["metrics"].update({"num-examples": 1.5}), r"\[V5\].*whole number"),
    "zero": (lambda content: content["metrics"].update({"num-examples": 0}), r"\[V5\].*whole number"),
    "not finite": (lambda content: content["metrics"].update({"num-examples": float("nan")}), r"\[V5\].*whole number"),
    "heavy": (
        lambda content: content["metrics"].update({"num-examples": 4711}),
        r"\[V5\].*SecureGrid\(..., greatest_weight=…\) with more than 64",
    ),
    "metric too great": (lambda content: content["metrics"].update({"loss": 1e30}), r"\[V6\] metric 'loss'"),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_replies_that_cannot_be_summed(name: str) -> None:
    change, problem = BAD_REPLIES[name]
    inner, grid = secured(changed(change))
    with pytest.raises(RoundAborted, match=problem) as caught:
        start(strategy_of(), grid)
    # What every node says is in clear: names, but no value.
    texts = [str(reply.error.reason) for reply, _ in inner.received if reply.has_error()]
    for secret in ("4711", "0.25", "1.5", "1e+30"):
        assert not any(secret in text for text in (str(caught.value), *texts))


def test_no_second_attempt_where_the_next_would_fail_alike() -> None:
    trained: list[int] = []

    def heavy(message: Message, context: Context) -> Message:
        trained.append(context.node_id)
        return changed(BAD_REPLIES["heavy"][0])(message, context)

    with pytest.raises(RoundAborted):
        start(strategy_of(), secured(heavy)[1])
    assert sorted(trained) == [11, 12, 13]


def ask(grid: InProcessGrid, message_type: str) -> Message:
    content = RecordDict({"arrays": start_arrays(), "config": ConfigRecord({"server-round": 1})})
    (reply,) = grid.send_and_receive([Message(content, 11, message_type)])
    return reply


def test_a_train_message_without_protection() -> None:
    def never(message: Message, context: Context) -> Message:
        raise AssertionError("trained")

    reply = ask(InProcessGrid(secure(plain_app(never))), "train")
    assert reply.has_error()
    assert "grid=SecureGrid(grid)" in str(reply.error.reason)
    assert "trained" not in str(reply.error.reason)


def test_evaluation_in_clear_can_be_refused() -> None:
    app = ClientApp()

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"accuracy": 0.5})}), reply_to=message)

    assert not ask(InProcessGrid(secure(app)), "evaluate").has_error()
    reply = ask(InProcessGrid(secure(app, clear_evaluation=False)), "evaluate")
    assert "in clear" in str(reply.error.reason)


def test_an_exception_of_the_train_function_is_the_users_own() -> None:
    def fails(message: Message, context: Context) -> Message:
        raise ZeroDivisionError("in the user's code")

    _, grid = secured(fails)
    with pytest.raises(RoundAborted, match=r"ZeroDivisionError.*in the user's code"):
        start(strategy_of(), grid)


def test_an_error_reply_of_the_train_function_is_passed_on() -> None:
    def declines(message: Message, context: Context) -> Message:
        return Message(Error(17, "not tonight"), reply_to=message)

    inner, grid = secured(declines, attempts=1)
    with pytest.raises(RoundAborted, match="not tonight"):
        start(strategy_of(), grid)
    assert {reply.error.code for reply, _ in inner.received if reply.has_error()} == {17}


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (Policy(), r"\[O1\].*semi-honest"),
        (Policy(frozenset({"bfv"}), Adversary("semi-honest")), r"\[O1\].*scheme 'masks'"),
        (Policy(adversary=Adversary("semi-honest"), least_cohort=4), r"\[O1\].*cohort of 3"),
        (Policy(adversary=Adversary("semi-honest"), greatest_clip=0.5), r"\[O1\].*clip 1"),
    ],
)
def test_the_nodes_policy_holds(policy: Policy, problem: str) -> None:
    _, grid = secured(policy=policy)
    with pytest.raises(RoundAborted, match=problem):
        start(strategy_of(), grid)


def test_a_malicious_round_needs_a_client_file() -> None:
    roster = {client: bytes([client] * 32) for client in (1, 2, 3)}
    inner, grid = secured(adversary=Adversary(), identities=roster)
    with pytest.raises(RoundAborted, match="0 of 3 nodes take part"):
        start(strategy_of(), grid)
    assert len(inner.sent) == 3  # who is it, and no more


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"scheme": "mask"}, "scheme: 'mask' is none of masks"),
        ({"adversary": Adversary()}, "identities: .*identity roster"),
        ({"bits": 1}, r"\[V7\]"),
        ({"metrics": ("clipped_share",)}, "metrics: .*clipped_share"),
        ({"metrics": "loss"}, "metrics: .*a list of names"),
        ({"attempts": 0}, "attempts"),
        ({"stage_timeout": 0}, "stage_timeout"),
    ],
)
def test_a_grid_that_cannot_be(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        start(strategy_of(), SecureGrid(InProcessGrid(secure(plain_app())), **(dict(NUMBERS) | options)))


def test_too_small_a_cohort() -> None:
    inner, grid = secured(nodes=2)
    with pytest.raises(RoundAborted, match="a cohort of 2, this client wants at least 3"):
        start(strategy_of(nodes=2), grid)
    inner, grid = secured(adversary=Adversary("semi-honest", corrupt=0.45, dropouts=0.4))
    with pytest.raises(ConfigError, match=r"needs 3 survivors, and 2 are left.*min_train_nodes"):
        start(strategy_of(), grid)
    assert not inner.sent


def test_a_node_that_is_asked_twice() -> None:
    _, grid = secured(sums_only=True)
    content = RecordDict({"arrays": start_arrays(), "config": ConfigRecord({"server-round": 1})})
    with pytest.raises(ConfigError, match="two train messages"):
        grid.send_and_receive([Message(content, node, "train") for node in (11, 12, 12)])


def test_an_app_that_is_not_wrapped() -> None:
    app = secure(plain_app())
    inner = InProcessGrid({11: app, 12: app, 13: app, 14: plain_app()}, 4)
    result = start(strategy_of(nodes=4), SecureGrid(inner, **NUMBERS))
    assert result.arrays is not None
    inner = InProcessGrid(plain_app())
    with pytest.raises(RoundAborted, match="0 of 3"):
        start(strategy_of(), SecureGrid(inner, **NUMBERS))


def test_run_rounds_needs_a_folder() -> None:
    with pytest.raises(ConfigError, match="SecureGrid\\(grid, checkpoint=…\\)"):
        run_rounds(strategy_of(), secured()[1], ArrayRecord(), 1)
