"""Which node is which client, and rounds against a malicious server."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import Message

from securefed.aggregation import Adversary, Policy
from securefed.errors import RoundAborted
from securefed.integrations.flower import SecureGrid, secure
from tests.integrations.flower.inproc import InProcessGrid, plain_app
from tests.integrations.flower.jobs import (
    NUMBERS,
    TRUSTED,
    assert_close,
    client_files,
    plain_result,
    secured,
    start,
    strategy_of,
)

TRUSTING = Policy(adversary=Adversary("semi-honest"))
POLICY = '[policy]\nschemes = ["masks"]\n'


def hellos(inner: InProcessGrid) -> list[int]:
    return [m.metadata.dst_node_id for m, _ in inner.sent if "hello" in m.content["securefed"]]


def survivors(grid: SecureGrid) -> tuple[int, ...]:
    assert grid.report is not None
    return grid.report.aggregate.survivors


def test_each_node_is_asked_once_and_new_ones_later() -> None:
    inner, grid = secured(nodes=5)
    late = inner.nodes.pop()
    start(strategy_of(nodes=4), grid)
    assert sorted(hellos(inner)) == [11, 12, 13, 14]
    inner.nodes.append(late)
    start(strategy_of(nodes=5), grid)
    assert sorted(hellos(inner)) == [11, 12, 13, 14, 15]
    assert survivors(grid) == (1, 2, 3, 4, 5)


def test_ids_of_client_files_and_free_ones(tmp_path: Path) -> None:
    configs = client_files(tmp_path, 2)  # nodes 11 and 12 are clients 2 and 3
    _, grid = secured(nodes=4, policy=TRUSTING, configs=configs)
    start(strategy_of(nodes=4), grid)
    assert survivors(grid) == (1, 2, 3, 4)
    assert grid._nodes._clients == {11: 2, 12: 3, 13: 1, 14: 4}


def test_of_two_nodes_with_one_id_the_later_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    configs = client_files(tmp_path, 3)
    configs[14] = configs[12]
    inner, grid = secured(nodes=4, policy=TRUSTING, configs=configs)
    start(strategy_of(nodes=4), grid)
    assert survivors(grid) == (2, 3, 4)
    assert any("node 14 takes no part" in line and "id 3" in line for line in caplog.messages)
    assert hellos(inner).count(14) == 1
    assert sum("node 14" in line for line in caplog.messages) == 1


def test_a_node_that_comes_back_under_another_node_id(tmp_path: Path) -> None:
    configs = client_files(tmp_path, 3)
    configs[14] = configs[12]
    inner, grid = secured(nodes=4, policy=TRUSTING, configs=configs)
    inner.nodes = [11, 12, 13]
    start(strategy_of(), grid, 1)
    inner.nodes = [11, 14, 13]
    start(strategy_of(), grid, 1)
    assert survivors(grid) == (2, 3, 4)
    assert grid._nodes._clients == {11: 2, 13: 4, 14: 3}


def test_a_malicious_server_needs_files_and_roster(tmp_path: Path) -> None:
    configs = client_files(tmp_path, identities=True, policy=POLICY)
    roster = tmp_path / "client-2" / "identities.json"
    _, grid = secured(configs=configs, adversary=Adversary("malicious"), identities=roster)
    assert_close(start(strategy_of(), grid), plain_result())
    assert grid.report is not None
    assert grid.report.spec.adversary.malicious
    assert grid.report.exchanges == 3  # input, consent, release: the set-up rode along


def test_a_file_s_policy_holds_over_the_apps(tmp_path: Path) -> None:
    configs = client_files(tmp_path, identities=True, policy=POLICY)
    _, grid = secured(configs=configs, policy=TRUSTING, adversary=TRUSTED)
    with pytest.raises(RoundAborted, match=r"\[O1\].*semi-honest.*malicious"):
        start(strategy_of(), grid)


def test_the_apps_policy_holds_over_the_file_s(tmp_path: Path) -> None:
    configs = client_files(tmp_path, policy=POLICY + 'server = "semi-honest"\n')
    strict = Policy(adversary=Adversary("semi-honest"), greatest_clip=0.25)
    _, grid = secured(configs=configs, policy=strict, adversary=TRUSTED)
    with pytest.raises(RoundAborted, match=r"\[O1\].*clip 1"):
        start(strategy_of(), grid)


def test_a_file_without_a_policy_demands_a_malicious_server(tmp_path: Path) -> None:
    _, grid = secured(configs=client_files(tmp_path, identities=True), adversary=TRUSTED)
    with pytest.raises(RoundAborted, match=r"\[O1\].*semi-honest"):
        start(strategy_of(), grid)


def test_nodes_that_are_not_in_the_roster_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    configs = client_files(tmp_path, 4, identities=True)
    configs.pop(14)
    roster = tmp_path / "client-2" / "identities.json"
    _, grid = secured(nodes=4, configs=configs, adversary=Adversary("malicious"), identities=roster)
    start(strategy_of(nodes=4), grid)
    assert survivors(grid) == (2, 3, 4)
    assert any("node 14 takes no part: it has no client file" in line for line in caplog.messages)


def test_a_client_file_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    configs = {11: {"securefed": str(tmp_path / "none.toml")}, 12: {"securefed": 7}}
    _, grid = secured(nodes=5, configs=configs)
    start(strategy_of(nodes=5), grid)
    assert survivors(grid) == (1, 2, 3)
    assert any("none.toml" in line for line in caplog.messages)
    assert any("names the client file" in line for line in caplog.messages)


def test_a_node_that_does_not_say_who_it_is_is_asked_again() -> None:
    inner, grid = secured(nodes=4, stage_timeout=0.3)
    silent = [14]

    def loses(message: Message, node: int) -> str | None:
        return "silent" if node in silent and "hello" in message.content["securefed"] else None

    inner.loses = loses
    start(strategy_of(nodes=4), grid, 1)
    assert survivors(grid) == (1, 2, 3)
    silent.clear()
    start(strategy_of(nodes=4), grid, 1)
    assert survivors(grid) == (1, 2, 3, 4)


def test_a_node_whose_first_answer_is_late_is_waited_for() -> None:
    inner, grid = secured(stage_timeout=0.3)
    late = [13]

    def loses(message: Message, node: int) -> str | None:
        return "silent" if "hello" in message.content["securefed"] and node in late and not late.remove(node) else None

    inner.loses = loses
    start(strategy_of(), grid, 1)
    assert survivors(grid) == (1, 2, 3)
    assert sorted(hellos(inner)) == [11, 12, 13, 13]


def test_state_without_a_file_lives_in_the_context() -> None:
    inner, grid = secured()
    start(strategy_of(), grid)
    state = inner.contexts[11].state["securefed"]
    assert set(state) == {"rounding-key", "claims", "last-round", "sessions"}
    assert len(bytes(state["rounding-key"])) == 32  # type: ignore[arg-type]
    keys = {bytes(context.state["securefed"]["rounding-key"]) for context in inner.contexts.values()}  # type: ignore[arg-type,index]
    assert len(keys) == 3


def test_a_context_that_is_set_back_gives_nothing_twice() -> None:
    """Within a run the record is in the context too: it refuses a round that it gave an input for."""
    _, grid = secured(nodes=5, attempts=1)
    start(strategy_of(nodes=5), grid, 1)
    assert grid.report is not None
    number = grid.report.spec.round
    grid._coordinator._last = number - 1  # a server that begins the same round once more
    with pytest.raises(RoundAborted, match=rf"\[R11\] round {number}"):
        start(strategy_of(nodes=5), grid, 1)


def test_without_a_file_any_app_is_a_client_of_its_own() -> None:
    app = secure(plain_app())
    inner = InProcessGrid({11: app, 12: secure(plain_app()), 13: app})
    assert_close(start(strategy_of(), SecureGrid(inner, **NUMBERS)), plain_result())
