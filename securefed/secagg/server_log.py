"""What a server has received and when its stages ended, in order: enough to take the round up again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from securefed.errors import PersistenceError
from securefed.participation import ClientId
from securefed.wire.snapshot import pack_ids, unpack_ids

__all__ = ["Log"]

_ID_BYTES = 4


class Log:
    """Events of a server session: (client, answer), or (None, b"") for the end of a stage."""

    def __init__(self) -> None:
        self.events: list[tuple[ClientId | None, bytes]] = []

    def answered(self, client: ClientId, reply: bytes) -> None:
        """A client's answer was taken."""
        self.events.append((client, reply))

    def advanced(self) -> None:
        """A stage is over."""
        self.events.append((None, b""))

    def pack(self, refused: Iterable[ClientId]) -> list[bytes]:
        """Sections: those whose answers were refused, then an event each."""
        return [pack_ids(refused), *((client or 0).to_bytes(_ID_BYTES, "big") + reply for client, reply in self.events)]

    @classmethod
    def parse(cls, sections: Sequence[bytes | memoryview]) -> tuple[Log, frozenset[ClientId]]:
        """What was packed.

        Raises:
            PersistenceError: P1.
        """
        if not sections or any(len(event) < _ID_BYTES for event in sections[1:]):
            raise PersistenceError("P1", "the snapshot's list of events is damaged")
        refused, log = unpack_ids(sections[0]), cls()
        for event in sections[1:]:
            client = int.from_bytes(event[:_ID_BYTES], "big")
            log.events.append((client or None, bytes(event[_ID_BYTES:])))
        return log, refused
