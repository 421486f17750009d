"""A client's side of a job, whatever carries the bytes, in one process or in a new one for each message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from securefed.aggregation import ClientIdentity, Credentials, Policy, Update
from securefed.chains import ClientChain
from securefed.crypto.hashing import digest
from securefed.deployment.client_file import ClientFile
from securefed.deployment.client_state import ClientState
from securefed.deployment.kept_sessions import REQUESTS_REMEMBERED, KeptSessions, layouts_in
from securefed.deployment.policies import both
from securefed.deployment.terms import JobTerms
from securefed.errors import ConfigError, LocalProtocolError, PersistenceError, RemoteProtocolError
from securefed.participation import ClientId
from securefed.schemes import SCHEMES
from securefed.wire.bundle import is_bundle, parse_bundle
from securefed.wire.header import SERVER, Header
from securefed.wire.specification import RoundSpec

__all__ = ["DEADLINE", "Participant"]

DEADLINE: Final = 24 * 3600.0
"""Seconds; generously more than a stage usually takes, training included."""


class Participant:
    """One client in the rounds of one job at a time.

    Each message may come to another process: what is between two is in `state`. A round's input, consent and release
    are written in the record (inside the session), then sessions and answer are stored, then the answer leaves. A crash
    between the first two costs this client the round (R10), and nothing else.

    Args:
        state: what it keeps; one object or folder for one client.
        policy: what it demands of every round. It belongs to the client: nothing of it comes from the server.
        client: its id; None to take it from the terms, once, where nothing else says it.
        credentials: its identity key and the identity roster; without them it takes part in no round against a
            malicious server.
        deadline: seconds after its last answer after which it has left its rounds: sessions and answer are destroyed
            (`protocols/pairwise_masking/README.md`, obligation 3) when the next message comes, or by `expire`.
        clock: seconds since the epoch, for tests.

    Raises:
        ConfigError: a deadline that is none, a policy that allows no scheme, or credentials of another client.
    """

    def __init__(
        self,
        state: ClientState,
        policy: Policy,
        *,
        client: ClientId | None = None,
        credentials: Credentials | None = None,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not deadline > 0:
            raise ConfigError("deadline", f"{deadline} seconds are no time to answer in")
        if not policy.schemes:
            raise ConfigError("policy.schemes", "no scheme is allowed (by the client file and the job both): name one")
        self._state = state
        self._policy = _OnState(
            policy.schemes, policy.adversary, policy.least_cohort, policy.least_sum, policy.greatest_clip,
            policy.least_bits, policy=policy, durable=state.durable,
        )  # fmt: skip
        self._client = _own_id(credentials) if client is None else client
        self._credentials = credentials
        self._deadline = deadline
        self._clock = clock

    @classmethod
    def of(cls, file: ClientFile, policy: Policy | None = None) -> Participant:
        """The client that a client file is of.

        Args:
            policy: of the job's code. Where the file has one too, both must hold; where neither has, `Policy()` does.
        """
        if file.policy is not None:
            policy = file.policy if policy is None else both(file.policy, policy)
        return cls(
            file.state, policy or Policy(), client=file.id, credentials=file.credentials, deadline=file.deadline
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Participant(client={self._client}, state={self._state!r})"

    def answer(self, terms: JobTerms, request: bytes, update: Callable[[], Update]) -> bytes:
        """The answer to a request; to the very same request as the last one the same again, and nothing is computed.

        Args:
            terms: what came beside the request.
            request: bytes from the server's session.
            update: trains; called in the one stage that needs it. Raises it anything, or is its process killed, then
                nothing has changed and the request can be answered again.

        Raises:
            RemoteProtocolError: the request is refused, with the server as peer: R7 for another client, O1 below the
                policy, R4 an older request once more, or what the session says. This client is then out of its round.
            LocalProtocolError: the update breaks a rule (V1 …), or R10: the process ended in mid-answer before.
            PersistenceError: the state is damaged or cannot be stored: nothing has left.
        """
        _check_addressed(terms, self._client)
        if terms.scheme not in self._policy.schemes:
            allowed = ", ".join(sorted(self._policy.schemes))
            problem = f"scheme {terms.scheme!r}, this client takes part in {allowed}"
            raise RemoteProtocolError("O1", f"refused by the client's policy: {problem}", SERVER)
        with self._state.lock():
            kept = self._kept()
            _check_addressed(terms, kept.client if kept is not None else None)
            again = self._state.answered(request)
            if again is not None:
                return again
            return self._answer(kept, terms, request, update)

    def expire(self, *, wait: bool = False) -> bool:
        """Destroy sessions and answer if the deadline is over; for a timer. Whether there is nothing left.

        Args:
            wait: for another process that works with the state.

        Raises:
            PersistenceError: P5, where another process works with the state; P1 and others, where it is damaged.
        """
        with self._state.lock(wait=wait):
            return self._kept() is None

    def leave(self) -> None:
        """Leave all rounds now: sessions and answer are destroyed, also damaged ones.

        Raises:
            PersistenceError: P4, where the disk does not do it; P5, where another process works with the state.
        """
        with self._state.lock(wait=False):
            self._state.destroy()

    def _kept(self) -> KeptSessions | None:
        stored = self._state.sessions()
        if stored is None:
            return None
        with self._named():
            kept = KeptSessions.parse(stored)
        # A clock that was set back must not keep secrets for ever.
        if abs(self._clock() - kept.stored_at) <= self._deadline:
            return kept
        self._state.destroy()
        return None

    @contextmanager
    def _named(self) -> Iterator[None]:
        """While inside, stored sessions are read: an error says whose they are, and the way out."""
        try:
            yield
        except PersistenceError as error:
            way_out = "leave the round (`python -m securefed.deployment expire CLIENT.toml --now`)"
            raise PersistenceError(error.rule, f"{self._state!r}: {error.detail}; {way_out}") from None

    def _answer(
        self, kept: KeptSessions | None, terms: JobTerms, request: bytes, update: Callable[[], Update]
    ) -> bytes:
        name = digest(request).hex()
        if kept is not None and name in kept.requests[:-1]:
            # A duplicate that was long on its way: answered by the session it would end that.
            raise RemoteProtocolError("R4", "this request was answered before, and others after it", SERVER)
        identity = ClientIdentity(
            terms.client, terms.layout, self._policy, self._state.rounding_key, self._credentials, self._state.record
        )
        layouts = [terms.layout]
        if kept is not None and kept.scheme == terms.scheme:
            with self._named():
                chain, lost = kept.chain(identity)
            layouts += kept.layouts
            if _session_of(request) in lost:
                raise LocalProtocolError(
                    "R10", "stopped between writing an input down and storing it: this client is out of this round"
                )
        else:
            chain = ClientChain(SCHEMES[terms.scheme].make(), identity)

        def store(answer: bytes | None) -> None:
            snapshot = chain.snapshot()
            needed = layouts_in(snapshot)
            requests = (*(kept.requests if kept is not None else ()), name)[-REQUESTS_REMEMBERED:]
            by_digest = {layout.digest: layout for layout in layouts if layout.digest in needed}
            packed = KeptSessions(
                terms.scheme, terms.client, self._clock(), requests, tuple(by_digest.values()), snapshot
            ).pack()  # fmt: skip
            self._state.store(packed, request, answer)

        before = chain.snapshot()
        try:
            answer = chain.reply(request, update)
        except (RemoteProtocolError, LocalProtocolError) as error:
            # What is of no session (R1, a message of another job) changes nothing, and costs no stored answer.
            if error.rule != "R1" and chain.snapshot() != before:
                store(None)
            raise
        store(answer)
        return answer


@dataclass(frozen=True)
class _OnState(Policy):
    """A policy, and what the state allows: whoever forgets what it gave can be asked again."""

    policy: Policy = field(default_factory=Policy)
    durable: bool = False

    def check(self, scheme: str, spec: RoundSpec) -> None:
        """See `Policy`."""
        self.policy.check(scheme, spec)
        if spec.adversary.malicious and not self.durable:
            raise RemoteProtocolError(
                "O1",
                "a round against a malicious server needs a state that outlives a restart: keep it in a folder",
                SERVER,
            )

    def check_sums(self, least: int) -> None:
        """See `Policy`."""
        self.policy.check_sums(least)


def _check_addressed(terms: JobTerms, own: ClientId | None) -> None:
    if own is not None and terms.client != own:
        raise RemoteProtocolError("R7", f"a request for client {terms.client}, this is {own}", SERVER)


def _own_id(credentials: Credentials | None) -> ClientId | None:
    if credentials is None:
        return None
    for client, public in credentials.identities.items():
        if public == credentials.key.public:
            return client
    raise ConfigError("identities", "the identity roster does not hold this client's own key")


def _session_of(request: bytes) -> bytes | None:
    """Of the present round's message, which is not checked here."""
    try:
        main = parse_bundle(request)[1] if is_bundle(request) else request
        return Header.parse(main).session
    except RemoteProtocolError:
        return None
