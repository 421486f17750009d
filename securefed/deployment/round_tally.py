"""What a round took and whom it lost, as far as it is; stored with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from securefed.errors import RemoteProtocolError, SecurefedError
from securefed.participation import ClientId

__all__ = ["RoundTally"]


@dataclass
class RoundTally:
    """See `coordinator.RoundReport`."""

    exchanges: int = 0
    seconds: float = 0.0
    bytes_up: dict[ClientId, int] = field(default_factory=dict)
    bytes_down: dict[ClientId, int] = field(default_factory=dict)
    lost: dict[ClientId, str] = field(default_factory=dict)
    refused: dict[ClientId, str] = field(default_factory=dict)

    def sent(self, requests: Mapping[ClientId, bytes]) -> None:
        """An exchange begins."""
        self.exchanges += 1
        for client, request in requests.items():
            self.bytes_down[client] = self.bytes_down.get(client, 0) + len(request)

    def received(self, client: ClientId, answer: bytes) -> None:
        """An answer has come, good or bad."""
        self.bytes_up[client] = self.bytes_up.get(client, 0) + len(answer)

    def refuse(self, client: ClientId, error: SecurefedError) -> None:
        """A client refused, or was refused; the first time counts."""
        own = isinstance(error, RemoteProtocolError) and error.peer == client
        self.refused.setdefault(client, str(error) if own else f"client {client} refused: {error}")

    def miss(self, clients: Iterable[ClientId], stage: str) -> None:
        """These did not answer; the first stage counts."""
        for client in sorted(clients):
            self.lost.setdefault(client, stage)

    def losses(self) -> str:
        """For an error's text: who was lost and refused."""
        parts = [f"client {client} was lost in {stage}" for client, stage in self.lost.items()]
        return "".join(f"; {part}" for part in (*parts, *self.refused.values()))

    def to_json(self) -> dict[str, Any]:
        """Keys of JSON objects are strings."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RoundTally:
        """What was stored.

        Raises:
            KeyError, TypeError, ValueError: it was not.
        """
        bytes_up, bytes_down = ({int(c): int(n) for c, n in stored[key].items()} for key in ("bytes_up", "bytes_down"))
        lost, refused = ({int(c): str(text) for c, text in stored[key].items()} for key in ("lost", "refused"))
        return cls(int(stored["exchanges"]), float(stored["seconds"]), bytes_up, bytes_down, lost, refused)
