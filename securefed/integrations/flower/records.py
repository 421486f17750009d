"""What travels in Flower's messages beside what Flower knows: the protocol's record, its bytes, and what both bind.

Every exchange is a train message. Towards a client: the record `securefed`, the request's bytes, and in the exchange
that trains also all that the strategy wrote. Towards the server: the answer's bytes, and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from securefed.errors import RemoteProtocolError
from securefed.participation import ClientId
from securefed.wire.header import SERVER

__all__ = [
    "HELLO", "RECORD", "Options", "answer_of", "greeted", "hello", "hello_answer", "job_text",
    "only_record", "pack_answer", "pack_request", "request_of", "without",
]  # fmt: skip

RECORD: Final = "securefed"
BYTES: Final = "securefed.bytes"
HELLO: Final = "hello"
"""Of the record `securefed`, instead of terms: who is the node?"""

_KIND: Final = "bytes"


@dataclass(frozen=True)
class Options:
    """What a client must know of a round to make its update: equal for all clients, and bound by the model's digest.

    Attributes:
        weighted_by: the metric of the train function's reply that is the weight.
        metrics: its other metrics, by name.
        clip, greatest_weight: see `encoding.quantize.Numbers`.
    """

    weighted_by: str
    metrics: tuple[str, ...]
    clip: float
    greatest_weight: int

    def to_json(self) -> str:
        """As text."""
        numbers = {"clip": self.clip, "greatest-weight": self.greatest_weight}
        return json.dumps({"weighted-by": self.weighted_by, "metrics": list(self.metrics), **numbers})

    @classmethod
    def from_json(cls, text: str) -> Options:
        """From text.

        Raises:
            RemoteProtocolError: O2.
        """
        try:
            found = json.loads(text)
            metrics = tuple(str(name) for name in found["metrics"])
            options = cls(str(found["weighted-by"]), metrics, float(found["clip"]), int(found["greatest-weight"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise RemoteProtocolError("O2", "the message's options cannot be read", SERVER) from None
        if not (options.clip > 0 and options.greatest_weight > 0):
            raise RemoteProtocolError("O2", "the message's options are out of bounds", SERVER)
        return options


def _packed(content: bytes) -> ArrayRecord:
    """Bytes of any length as a record that Flower cuts into chunks; they are not copied."""
    return ArrayRecord({_KIND: Array("uint8", (len(content),), _KIND, content)})


def _unpacked(content: RecordDict) -> bytes | None:
    record = content.get(BYTES)
    array = record.get(_KIND) if isinstance(record, ArrayRecord) else None
    return None if array is None or array.stype != _KIND else array.data


def hello() -> RecordDict:
    """The question who a node is."""
    return RecordDict({RECORD: ConfigRecord({HELLO: True})})


def hello_answer(client: ClientId | None) -> RecordDict:
    """A node's answer: its id from its client file, or none."""
    return RecordDict({RECORD: ConfigRecord({} if client is None else {"client": client})})


def greeted(content: RecordDict) -> ClientId | None:
    """The id in a node's answer.

    Raises:
        RemoteProtocolError: W1.
    """
    record = content.get(RECORD)
    client = record.get("client") if isinstance(record, ConfigRecord) else False
    if client is None or (type(client) is int and 1 <= client < 2**32):
        return client
    raise RemoteProtocolError("W1", "the reply holds no client id: is the node's app wrapped in secure()?")


def pack_request(terms: str, options: Options, request: bytes) -> RecordDict:
    """One client's request, without what the strategy wrote."""
    record = ConfigRecord({"terms": terms, "options": options.to_json()})
    return RecordDict({RECORD: record, BYTES: _packed(request)})


def pack_answer(answer: bytes) -> RecordDict:
    """All that a client sends."""
    return RecordDict({BYTES: _packed(answer)})


def request_of(content: RecordDict) -> tuple[str, Options, bytes]:
    """Terms, options and request of an exchange.

    Raises:
        RemoteProtocolError: O2.
    """
    record, request = content[RECORD], _unpacked(content)
    terms, options = (record.get(key) if isinstance(record, ConfigRecord) else None for key in ("terms", "options"))
    if not (isinstance(terms, str) and isinstance(options, str) and request is not None):
        raise RemoteProtocolError("O2", "the message has no terms, no options or no request", SERVER)
    return terms, Options.from_json(options), request


def answer_of(content: RecordDict) -> bytes:
    """The answer of an exchange.

    Raises:
        RemoteProtocolError: W1.
    """
    answer = _unpacked(content)
    if answer is None:
        raise RemoteProtocolError("W1", "the reply holds no answer: is the node's app wrapped in secure()?")
    return answer


def without(content: RecordDict) -> RecordDict:
    """What the strategy wrote: the message's content but for the protocol's records."""
    return RecordDict({name: record for name, record in content.items() if name not in (RECORD, BYTES)})


def job_text(content: RecordDict, options: Options, message_type: str) -> str:
    """All that clients train by besides the arrays, in one canonical text: part of the digest that keys are bound to.

    Args:
        content: what the strategy wrote.
        options: of the round.
        message_type: Flower's, which names the function that trains.
    """
    records = {
        name: None if isinstance(record, ArrayRecord) else {key: _canonical(value) for key, value in record.items()}
        for name, record in content.items()
    }
    return json.dumps([message_type, options.to_json(), records], sort_keys=True)


def _canonical(value: Any) -> list[Any]:
    if isinstance(value, list):
        return ["list", [_canonical(one) for one in value]]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, float):
        return ["float", value.hex()]
    return [type(value).__name__, value]


def only_record(content: RecordDict, kind: type[ArrayRecord] | type[MetricRecord]) -> tuple[str, Any] | None:
    """Name and record of the only one of this kind; None where there is none, or are several."""
    found = [(name, record) for name, record in content.items() if isinstance(record, kind)]
    return found[0] if len(found) == 1 else None
