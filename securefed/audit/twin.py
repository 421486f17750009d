"""A second server of one round that did not get one client's answer: what a lying server shows to some clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from securefed.audit.round import ClientId, Round, Server, Sum

__all__ = ["Twin"]


class Twin:
    """An honest server with another view; what it refuses, and where it aborts, is nobody's concern.

    Args:
        round_: the round.
        accepted: by finished stage, in order, what the first server took.
        lacking: whose answer of the last of these stages this one lacks.
    """

    def __init__(self, round_: Round, accepted: Sequence[Mapping[ClientId, bytes]], lacking: ClientId) -> None:
        self._round = round_
        self._server: Server | None = round_.new_server()
        for at, answers in enumerate(accepted):
            for client, reply in answers.items():
                if at < len(accepted) - 1 or client != lacking:
                    self.receive(client, reply)
            self.advance()

    def request(self, client: ClientId) -> bytes | None:
        """What this view's server wants of a client; None where it wants nothing."""
        return None if self._server is None else self._server.requests().get(client)

    def receive(self, client: ClientId, reply: bytes) -> None:
        """Any answer of a client: that it belongs to this view shows when it is taken."""
        if self._server is None:
            return
        try:
            self._server.receive(client, reply)
        except self._round.refusals:
            return

    def advance(self) -> None:
        """The stage is over in this view too."""
        if self._server is None or self._server.aggregate is not None:
            return
        try:
            self._server.advance()
        except self._round.aborts:
            self._server = None

    @property
    def result(self) -> Sum | None:
        """The sum of this view."""
        aggregate = None if self._server is None else self._server.aggregate
        return None if aggregate is None else self._round.read(aggregate)
