"""Messages pushed and replies pulled, over grids as they may behave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

pytest.importorskip("flwr", reason="the extra 'flower' is not installed")

from flwr.app import ConfigRecord, Error, Message, RecordDict

from securefed.errors import ConfigError, RemoteProtocolError
from securefed.integrations.flower.content import common_content
from securefed.integrations.flower.exchange import carry
from securefed.integrations.flower.records import Options, answer_of, greeted, hello_answer, request_of
from tests.integrations.flower.inproc import TaskIdentity

assert TaskIdentity.run_id == 1


class Scripted:
    """A grid that takes and replies as it is told: by node, the looks after which the reply is there, and the reply."""

    def __init__(
        self, script: dict[int, tuple[int, Any]], refused: tuple[int, ...] = (), *, leaves_out: bool = False
    ) -> None:
        self.script, self.refused, self.leaves_out = script, refused, leaves_out
        self.pushed: dict[str, Message] = {}
        self.looks: list[list[str]] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str | None]:
        names: list[str | None] = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = f"m{node}"
            self.pushed[f"m{node}"] = message
            if node not in self.refused:
                names.append(f"m{node}")
            elif not self.leaves_out:
                names.append(None)
        return names

    def pull_messages(self, names: Iterable[str]) -> list[Message]:
        self.looks.append(list(names))
        replies = []
        for name in self.looks[-1]:
            message = self.pushed[name]
            after, content = self.script.get(message.metadata.dst_node_id, (99, None))
            if content is not None and len(self.looks) > after:
                replies += [Message(content, reply_to=message), Message(content, reply_to=message)]
        return replies


def content(word: str) -> RecordDict:
    return RecordDict({"c": ConfigRecord({"word": word})})


def carried(grid: Scripted, nodes: Iterable[int], **options: Any) -> list[Any]:
    messages = {node: Message(content("?"), node, "train") for node in nodes}
    found = carry(grid, messages, options.pop("timeout", 0.5), **options)  # type: ignore[arg-type]
    return [(node, str(one["c"]["word"]) if isinstance(one, RecordDict) else one) for node, one in found]  # type: ignore[index]


def test_each_reply_comes_once_and_as_it_is_there() -> None:
    grid = Scripted({1: (1, content("b")), 2: (0, content("a")), 3: (99, None)})
    assert carried(grid, (1, 2, 3)) == [(2, "a"), (1, "b")]
    assert grid.looks[0] == ["m1", "m2", "m3"]
    assert grid.looks[-1] == ["m3"]


def test_no_time_limit() -> None:
    grid = Scripted({1: (2, content("a"))})
    assert carried(grid, (1,), timeout=None) == [(1, "a")]


def test_large_replies_are_asked_for_one_by_one() -> None:
    grid = Scripted({1: (0, content("a")), 2: (0, content("b"))})
    assert carried(grid, (1, 2), large=True) == [(1, "a"), (2, "b")]
    assert grid.looks == [["m1"], ["m2"]]


@pytest.mark.parametrize("leaves_out", [False, True])
def test_messages_that_the_grid_does_not_take(leaves_out: bool) -> None:
    grid = Scripted({1: (0, content("a")), 2: (0, content("b")), 3: (0, content("c"))}, (1,), leaves_out=leaves_out)
    assert carried(grid, (1, 2, 3)) == [(2, "b"), (3, "c")]


def test_errors(caplog: pytest.LogCaptureFixture) -> None:
    refusal = Error(6, "securefed: server: [O1] refused by the client's policy: clip 1")
    script = {1: (0, refusal), 2: (0, Error(2, "x" * 5000)), 3: (0, Error(5, "gone")), 4: (0, Error(4, None))}
    found = dict(carried(Scripted(script), (1, 2, 3, 4)))
    assert set(found) == {1, 2}
    assert isinstance(found[1], RemoteProtocolError)
    assert (found[1].rule, found[1].detail) == ("O1", "refused by the client's policy: clip 1")
    assert str(found[2]) == "x" * 300
    assert any("client 3 was not reached: gone" in line for line in caplog.messages)


def test_records_that_are_none() -> None:
    for damaged in (content("x"), RecordDict({"securefed": ConfigRecord({"client": 0})}), RecordDict({})):
        with pytest.raises(RemoteProtocolError, match=r"\[W1\].*secure\(\)"):
            greeted(damaged)
        with pytest.raises(RemoteProtocolError, match=r"\[W1\].*secure\(\)"):
            answer_of(damaged)
    assert greeted(hello_answer(7)) == 7
    assert greeted(hello_answer(None)) is None
    with pytest.raises(RemoteProtocolError, match=r"\[O2\]"):
        request_of(RecordDict({"securefed": ConfigRecord({"terms": "{}"})}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weighted-by":"n","metrics":[],"clip":"x","greatest-weight":1}'])
def test_options_that_cannot_be_read(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"\[O2\]"):
        Options.from_json(text)


@pytest.mark.parametrize(("clip", "weight"), [(0.0, 1), (float("nan"), 1), (1.0, 0), (-1.0, 1)])
def test_options_out_of_bounds(clip: float, weight: int) -> None:
    with pytest.raises(RemoteProtocolError, match=r"\[O2\]"):
        Options.from_json(Options("n", (), clip, weight).to_json())
    assert Options.from_json(Options("n", ("a",), 0.1, 3).to_json()) == Options("n", ("a",), 0.1, 3)


def test_the_protocol_s_name_is_taken() -> None:
    message = Message(RecordDict({"securefed": ConfigRecord({})}), 1, "train")
    with pytest.raises(ConfigError, match="give yours another name"):
        common_content([message])
