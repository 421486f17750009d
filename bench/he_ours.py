"""Our side of `bench he`: the real sessions of one round, brought to where a stage is timed.

A session answers once, so each timed call takes a session of its own, taken up from a snapshot beforehand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.peers_he import Floats, Message
from securefed.aggregation import (
    Adversary,
    ClientIdentity,
    ClientSession,
    Credentials,
    Policy,
    RoundSpec,
    Scheme,
    ServerSession,
    SigningKey,
    Update,
    new_round,
)
from securefed.encoding.layout import Layout

__all__ = ["MODEL", "Cohort", "Ours", "Tensors", "scheme_named"]

Tensors = Mapping[str, npt.NDArray[Any]]
"""One update, or zeros like it."""

ADVERSARY: Final = Adversary("malicious", corrupt=0.0, dropouts=0.1)
"""All clients share a key: no scheme with one key for all can say more."""
MODEL: Final = bytes(31) + b"\1"
_HOLDER: Final = 1
"""The server asks the first client for the round's key."""
_TIMED: Final = 2


def scheme_named(name: str) -> Scheme:
    """By the name of its maker in `securefed.he`.

    Raises:
        ImportError: the extra `he` is not installed.
    """
    for library in ("tenseal", "zstandard"):
        import_module(library)  # the room says it by an error of its own
    scheme: Scheme = getattr(import_module("securefed.he"), name)()
    return scheme


@dataclass(frozen=True)
class Cohort:
    """A round about to begin, and the identity keys of who is in it."""

    scheme: Scheme
    spec: RoundSpec
    layout: Layout
    keys: Mapping[int, SigningKey]

    @classmethod
    def of(cls, scheme: Scheme, tensors: Tensors, bits: int, clip: float, clients: int) -> Cohort:
        """Clients 1 … n, updates like these tensors."""
        layout = Layout.of(dict(tensors))
        cohort = tuple(range(1, clients + 1))
        spec = new_round(
            round_number=1, cohort=cohort, adversary=ADVERSARY, model=MODEL, layout=layout, bits=bits, clip=clip
        )
        return cls(scheme, spec, layout, {client: SigningKey() for client in cohort})

    @property
    def public(self) -> dict[int, bytes]:
        """The identity roster."""
        return {client: key.public for client, key in self.keys.items()}

    def identity(self, client: int) -> ClientIdentity:
        """Of one client, with a new record."""
        policy = Policy(frozenset({self.scheme.name}), ADVERSARY)
        credentials = Credentials(self.keys[client], self.public)
        return ClientIdentity(client, self.layout, policy, credentials=credentials)

    def server(self) -> ServerSession:
        """A new session."""
        return self.scheme.server(self.spec, self.layout, self.public)

    def client(self, client: int) -> ClientSession:
        """A new session."""
        return self.scheme.client(self.identity(client))


class Ours:
    """One homomorphic scheme of ours as a `Side`.

    Args:
        name: see `scheme_named`.
        updates: of clients 1 … n.
        bits, clip: of the quantisation.

    Raises:
        ImportError: `tenseal` is not installed.
    """

    def __init__(self, name: str, updates: Sequence[Mapping[str, Floats]], bits: int, clip: float) -> None:
        self._cohort = cohort = Cohort.of(scheme_named(name), updates[0], bits, clip, len(updates))
        sessions = {client: cohort.client(client) for client in cohort.spec.cohort}
        server = cohort.server()
        self.set_up_bytes = dict.fromkeys(sessions, 0)
        """What each client sends before its update."""
        while server.stage != cohort.scheme.update_stage:
            for client, request in server.requests().items():
                answer = sessions[client].reply(request, _no_update)
                self.set_up_bytes[client] += len(answer)
                server.receive(client, answer)
            server.advance()
        self._update_requests = dict(server.requests())
        self._snapshots = {client: session.snapshot() for client, session in sessions.items()}
        self._server_snapshot = server.snapshot()
        self._clients = deque(sessions.items())
        self._servers, self._holders = deque([server]), deque([sessions[_HOLDER]])
        self._openings = deque([server])
        self._opening = self._holding = b""

    def ready(self, turns: int) -> None:
        """Sessions for so many timed calls of each stage; after a round has been played once."""
        cohort, scheme = self._cohort, self._cohort.scheme
        for _ in range(turns):
            client = scheme.resume_client(cohort.identity(_TIMED), self._snapshots[_TIMED])
            self._clients.append((_TIMED, client))
            self._servers.append(scheme.resume_server(cohort.spec, cohort.layout, self._server_snapshot, cohort.public))
            self._holders.append(scheme.resume_client(cohort.identity(_HOLDER), self._holding))
            self._openings.append(scheme.resume_server(cohort.spec, cohort.layout, self._opening, cohort.public))

    def client(self, update: Mapping[str, Floats]) -> Message:
        """See `Side`: quantise, tag, encrypt, pack. Of clients 1 … n in turn, later of one of them."""
        client, session = self._clients.popleft()
        answer = session.reply(self._update_requests[client], lambda: Update(update, MODEL))
        if client == _HOLDER:
            self._holding = session.snapshot()
        return [answer]

    def server(self, uploads: Sequence[Message]) -> Message:
        """See `Side`: check and add each as it comes, then write the sum for the key holder."""
        server = self._servers.popleft()
        for client, upload in enumerate(uploads, 1):
            server.receive(client, upload[0])
        server.advance()
        (request,) = server.requests().values()
        self._opening = self._opening or server.snapshot()
        return [request]

    def holder(self, download: Message) -> bytes:
        """See `Side`: open the sum, check its tags, pack it."""
        return self._holders.popleft().reply(download[0], _no_update)

    def mean(self, opened: Any) -> Floats:
        """See `Side`: the server checks and decodes the sum that was opened."""
        server = self._openings.popleft()
        server.receive(_HOLDER, opened)
        server.advance()
        assert server.aggregate is not None
        return np.concatenate([np.asarray(tensor).ravel() for tensor in server.aggregate.tensors.values()])


def _no_update() -> Update:
    raise AssertionError("no update belongs to this stage")
