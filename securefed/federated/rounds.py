"""One round over any scheme: carry bytes until there is an aggregate, and measure what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from securefed.aggregation import Aggregate, ClientId, ClientSession, ServerSession, Update
from securefed.errors import LocalProtocolError, RemoteProtocolError, RoundAborted

__all__ = ["InProcess", "RoundCost", "Transport", "run_round"]

UpdateSource = Callable[[ClientId], Update]


@dataclass
class RoundCost:
    """What a round took, measured where it happened.

    Attributes:
        seconds: wall time of the whole round.
        training_seconds: of it, inside the clients' training.
        stage_seconds: wall time by stage without training: making, carrying, checking and adding messages.
        bytes_up, bytes_down: by client, sums over all stages; message bytes without the transport's framing.
        lost: by client, the first stage that it did not answer.
        refused: by client, the error that its answer or the request to it ended in.
    """

    seconds: float = 0.0
    training_seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    bytes_up: dict[ClientId, int] = field(default_factory=dict)
    bytes_down: dict[ClientId, int] = field(default_factory=dict)
    lost: dict[ClientId, str] = field(default_factory=dict)
    refused: dict[ClientId, str] = field(default_factory=dict)

    @property
    def protection_seconds(self) -> float:
        """All of the round that is not training."""
        return self.seconds - self.training_seconds


class Transport(Protocol):
    """Carries one request to one client and its answer back."""

    def __call__(self, stage: str, client: ClientId, request: bytes) -> bytes | None:
        """The answer, or None where the client is gone."""
        ...


def run_round(
    server: ServerSession,
    transport: Transport,
    cost: RoundCost,
    on_stage: Callable[[str, int], None] = lambda _stage, _clients: None,
) -> Aggregate:
    """Drive a round to its aggregate.

    Args:
        server: a new session.
        transport: raises RemoteProtocolError where the client refuses.
        cost: filled in here, but for `training_seconds`, which the transport's clients know.
        on_stage: told of each stage as it begins, with the number of clients asked.

    Raises:
        RoundAborted: too few clients are left, or the sum makes no sense.
    """
    start = perf_counter()
    while server.aggregate is None:
        stage = server.stage
        begin, trained = perf_counter(), cost.training_seconds
        requests = server.requests()
        on_stage(stage, len(requests))
        for client, request in requests.items():
            cost.bytes_down[client] = cost.bytes_down.get(client, 0) + len(request)
            try:
                answer = transport(stage, client, request)
                if answer is None:
                    cost.lost.setdefault(client, stage)  # a key holder is asked again, also without its input
                    continue
                cost.bytes_up[client] = cost.bytes_up.get(client, 0) + len(answer)
                server.receive(client, answer)
            except (RemoteProtocolError, LocalProtocolError) as error:
                # One client's bad answer, its refusal, or an update of its own that cannot be sent is that client's
                # end in this round and nobody else's.
                cost.refused[client] = str(error)
        try:
            server.advance()
        except RoundAborted as error:
            if not cost.refused:
                raise
            raise RoundAborted(error.stage, f"{error.detail}; refused: {'; '.join(cost.refused.values())}") from None
        finally:
            cost.stage_seconds[stage] = perf_counter() - begin - (cost.training_seconds - trained)
            cost.seconds = perf_counter() - start
    return server.aggregate


class InProcess:
    """Clients in this process, over real bytes: what a network would carry is what they exchange.

    Args:
        sessions: a client session for each of the cohort.
        update: trains one client; called in the stage that needs it.
        cost: `training_seconds` is counted here.
        lost: by client, the stage from which on it does not answer.
        stages: the scheme's, in order.
    """

    def __init__(
        self,
        sessions: Mapping[ClientId, ClientSession],
        update: UpdateSource,
        cost: RoundCost,
        *,
        lost: Mapping[ClientId, str],
        stages: tuple[str, ...],
    ) -> None:
        self._sessions = sessions
        self._update = update
        self._cost = cost
        self._lost = lost
        self._stages = stages

    def __call__(self, stage: str, client: ClientId, request: bytes) -> bytes | None:
        """See `Transport`."""
        if client in self._lost and self._stages.index(stage) >= self._stages.index(self._lost[client]):
            return None

        def update() -> Update:
            start = perf_counter()
            try:
                return self._update(client)
            finally:
                self._cost.training_seconds += perf_counter() - start

        return self._sessions[client].reply(request, update)
