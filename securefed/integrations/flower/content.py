"""What a strategy wrote in its messages: the same for all nodes, and with bfloat16 arrays as nodes get them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flwr.app import Array, ArrayRecord, Message, RecordDict

from securefed.encoding.tensors import BFLOAT16, BFloat16, TypedTensor, in_floats
from securefed.errors import ConfigError, LocalProtocolError
from securefed.integrations.flower.arrays import as_array, as_tensor
from securefed.integrations.flower.records import RECORD, only_record

__all__ = ["Content", "common_content"]


def common_content(messages: Sequence[Message]) -> RecordDict:
    """The content of all train messages of a round.

    Raises:
        ConfigError: `messages`, where it is not the same: every key is bound to what nodes train from.
    """
    first = messages[0]
    for message in messages[1:]:
        if message.metadata.message_type != first.metadata.message_type:
            raise ConfigError("messages", "train messages of one round are of two types, or are not all train messages")
        if message.content is first.content:
            continue
        for name in sorted({*message.content, *first.content}):
            if message.content.get(name) != first.content.get(name):
                raise ConfigError(
                    "messages",
                    f"node {message.metadata.dst_node_id} is sent another {name!r} than node "
                    f"{first.metadata.dst_node_id}: all nodes of a protected round train from the same arrays and "
                    "configuration. What differs between nodes belongs into their node config, or is drawn there",
                )
    if RECORD in first.content:
        raise ConfigError("messages", f"the record {RECORD!r} is the protocol's: give yours another name")
    return first.content


class Content:
    """Arrays between strategy and nodes.

    Attributes:
        bfloat16: names of tensors that nodes get as bfloat16; known from the first arrays that are.
    """

    def __init__(self) -> None:
        self.bfloat16: set[str] = set()

    def tensors_of(self, content: RecordDict) -> tuple[str, Mapping[str, TypedTensor]]:
        """Name of the only array record, and its tensors.

        Raises:
            ConfigError: `arrays`, where there is none or another one, or a tensor that cannot be summed.
        """
        found = only_record(content, ArrayRecord)
        if found is None:
            raise ConfigError("arrays", "a train message of a protected round has one ArrayRecord, no more and no less")
        name, record = found
        try:
            return name, {key: as_tensor(key, array) for key, array in record.items()}
        except LocalProtocolError as error:
            raise ConfigError("arrays", error.detail) from None

    def sent(self, content: RecordDict) -> RecordDict:
        """As nodes get it: what was bfloat16 once is so again, and is an `Array` of Flower's own."""
        return RecordDict({name: self._sent_record(record) for name, record in content.items()})

    def as_sent(self, messages: Iterable[Message]) -> list[Message]:
        """Messages with their content as nodes get it; contents that are shared stay so."""
        done: dict[int, RecordDict] = {}
        found = list(messages)
        for message in found:
            content = message.content
            if id(content) not in done:
                done[id(content)] = self.sent(content)
            message.content = done[id(content)]
        return found

    def _sent_record(self, record: Any) -> Any:
        if not isinstance(record, ArrayRecord):
            return record
        self.bfloat16 |= {name for name, array in record.items() if array.dtype == BFLOAT16}
        if not self.bfloat16.intersection(record):
            return record
        rounded = ArrayRecord()
        for name, array in record.items():
            rounded[name] = self._rounded(name, array) if name in self.bfloat16 else array
        return rounded

    @staticmethod
    def _rounded(name: str, array: Array) -> Array:
        tensor = as_tensor(name, array)
        return as_array(tensor if isinstance(tensor, BFloat16) else BFloat16.nearest(in_floats(tensor)), to_send=True)
