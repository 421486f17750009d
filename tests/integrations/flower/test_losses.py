"""Nodes that are lost, at each exchange of a round."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import Message

from securefed.aggregation import Adversary
from securefed.errors import RoundAborted
from securefed.integrations.flower import SecureGrid
from securefed.schemes import SCHEMES
from tests.integrations.flower.inproc import InProcessGrid, plain_app, start_arrays, train
from tests.integrations.flower.jobs import ANY_SCHEME, assert_close, client_files, secured, start, strategy_of

NODES = 5
LATER = {"release", "consent", "open"}
"""Exchanges after the input: who is lost there is in the sum."""


class Losing:
    """Loses a node from one exchange of the first round on, for the rest of it."""

    def __init__(self, node: int, at: int, how: str) -> None:
        self.node, self.at, self.how, self.seen = node, at, how, 0

    def __call__(self, message: Message, node: int) -> str | None:
        if node != self.node or "hello" in message.content["securefed"]:
            return None
        self.seen += 1
        return self.how if self.seen > self.at else None


def mean_of(nodes: list[int]) -> object:
    inner = InProcessGrid(plain_app(train), NODES)
    inner.nodes = nodes
    return start(strategy_of(nodes=len(nodes)), inner, 1)


def lose(tmp_path: Path, scheme: str, stage: str, how: str, adversary: Adversary) -> tuple[SecureGrid, object]:
    stages = [one for one in SCHEMES[scheme].stages if adversary.malicious or one != "consent"]
    configs = client_files(tmp_path, NODES, identities=True)
    roster = tmp_path / "client-2" / "identities.json"
    inner, grid = secured(
        nodes=NODES, policy=ANY_SCHEME, configs=configs, scheme=scheme, adversary=adversary, identities=roster,
        stage_timeout=0.5,
    )  # fmt: skip
    asked = [one for one in stages if one not in SCHEMES[scheme].holder_stages]
    inner.loses = Losing(13, asked.index(stage), how)
    result = start(strategy_of(nodes=NODES), grid, 1, start_arrays(), timeout=0.5)
    return grid, result


@pytest.mark.parametrize("how", ["silent", "error"])
@pytest.mark.parametrize(
    ("adversary", "stage"),
    [(Adversary("semi-honest"), stage) for stage in ("advertise", "share", "input", "release")]
    + [(Adversary("malicious"), stage) for stage in ("advertise", "share", "input", "consent", "release")],
)
def test_a_node_is_lost(
    stage: str, how: str, adversary: Adversary, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "flwr"):
        grid, result = lose(tmp_path, "masks", stage, how, adversary)
    report = grid.report
    assert report is not None
    left = [node for node in (11, 12, 13, 14, 15) if node != 13 or stage in LATER]
    assert report.aggregate.survivors == tuple(node - 9 for node in left)
    assert_close(result, mean_of(left))  # type: ignore[arg-type]
    if how == "silent":
        assert report.lost == {4: stage}
        assert any(f"lost: node 13 (client 4) at {stage}" in line for line in caplog.messages)
    else:
        assert "RuntimeError" in report.refused[4]
        assert any("refused: node 13 (client 4)" in line and "the node crashed" in line for line in caplog.messages)


def test_an_encrypted_round_goes_on(tmp_path: Path) -> None:
    grid, result = lose(tmp_path, "bfv", "input", "silent", Adversary("semi-honest", corrupt=0.0))
    assert grid.report is not None
    assert grid.report.aggregate.survivors == (2, 3, 5, 6)
    assert_close(result, mean_of([11, 12, 14, 15]))  # type: ignore[arg-type]


def test_a_round_with_too_few_is_begun_anew(caplog: pytest.LogCaptureFixture) -> None:
    inner, grid = secured()
    crashed: list[int] = []

    def crashes_once(message: Message, node: int) -> str | None:
        if node == 12 and "arrays" in message.content and not crashed:
            crashed.append(node)
            return "error"
        return None

    inner.loses = crashes_once
    start(strategy_of(), grid, 1)
    assert grid.report is not None
    assert grid.report.aggregate.survivors == (1, 2, 3)
    assert any("the round begins anew" in line for line in caplog.messages)


def test_a_round_with_too_few_is_an_error_in_the_end() -> None:
    inner, grid = secured(attempts=3)
    inner.loses = lambda message, node: "error" if node == 12 and "arrays" in message.content else None
    with pytest.raises(RoundAborted, match="2 of 3 clients answered, 3 are needed; client 2 refused"):
        start(strategy_of(), grid, 1)
    assert sum("arrays" in message.content for message, _ in inner.sent) == 9


def test_the_timeout_of_the_strategy_is_that_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[bool, set[float]] = {True: set(), False: set()}
    inner, grid = secured(stage_timeout=7)
    deliver = inner._deliver

    def watching(message: Message) -> str:
        seen["arrays" in message.content].add(message.metadata.ttl)
        return deliver(message)

    monkeypatch.setattr(inner, "_deliver", watching)
    start(strategy_of(), grid, 1, timeout=77)
    assert seen == {True: {77}, False: {7}}
