"""The server's side of a job, whatever carries the bytes: round numbers, restarts, and what came of whom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

from securefed.aggregation import Adversary, Aggregate, ClientId, RoundSpec
from securefed.chains import RoundPlan, ServerChain
from securefed.deployment.round_store import RoundStore
from securefed.deployment.round_tally import RoundTally
from securefed.deployment.terms import JobTerms
from securefed.encoding.layout import Layout
from securefed.errors import (
    ConfigError,
    LocalProtocolError,
    PersistenceError,
    RemoteProtocolError,
    RoundAborted,
    SecurefedError,
)  # fmt: skip
from securefed.schemes import SCHEMES

__all__ = ["Coordinator", "Exchange", "RoundReport"]

SMALL: Final = 2**23
"""Bytes of a state that is stored after an answer too, not only between two stages."""
_STORING: Final = 1.0
"""Seconds between two such."""
_PIECE: Final = 2**22


class Exchange(Protocol):
    """Carries the requests of one stage to their clients, and the answers back."""

    def __call__(
        self, stage: str, requests: Mapping[ClientId, tuple[JobTerms, bytes]]
    ) -> Iterable[tuple[ClientId, bytes | SecurefedError]]:
        """Send all; give answers as they come, in any order, until all are there or it is time to go on.

        A client that refused comes with its error. One that does not come is lost. Whatever is raised leaves `run`, and
        the round can be taken up.
        """
        ...


@dataclass(frozen=True)
class RoundReport:
    """A finished round.

    Attributes:
        aggregate: what the server learnt.
        spec: of the round.
        exchanges: times that requests were sent; what a stopped process sent of a stage is not counted.
        seconds: in `Coordinator.run`, training and waiting included, over all processes that took the round up.
        bytes_up, bytes_down: by client, of messages, without the transport's framing.
        lost: by client, the first stage that it did not answer.
        refused: by client, the first error with its rule: what it refused, or what of it was refused.
    """

    aggregate: Aggregate
    spec: RoundSpec
    exchanges: int
    seconds: float
    bytes_up: Mapping[ClientId, int]
    bytes_down: Mapping[ClientId, int]
    lost: Mapping[ClientId, str]
    refused: Mapping[ClientId, str]


class Coordinator:
    """The rounds of one job.

    Args:
        scheme: name in `schemes.SCHEMES`.
        adversary: whom every round is protected against.
        bits, clip, greatest_weight: how numbers are written (`wire.specification.RoundSpec`).
        identities: public identity keys by client id; needed where the adversary's server is malicious. Clients bring
            their own roster: this one protects nobody.
        folder: where numbers and the present round are kept, so that a server that was stopped takes the round up where
            it was; for one job, on a disk that is not rolled back. With None, or an empty one, numbers begin at the
            clock's seconds, above those of an earlier process; with None a stopped round is lost with the process.
        clock: seconds since the epoch, for tests.

    Raises:
        ConfigError: no such scheme, a missing identity roster, or a folder that cannot be made.
    """

    def __init__(
        self,
        scheme: str,
        adversary: Adversary,
        *,
        bits: int,
        clip: float,
        greatest_weight: int = 1,
        identities: Mapping[ClientId, bytes] | None = None,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if scheme not in SCHEMES:
            raise ConfigError("scheme", f"{scheme!r} is none of {', '.join(SCHEMES)}")
        self._scheme = scheme
        self._adversary = adversary
        self._numbers = (bits, clip, greatest_weight)
        self._identities = identities
        self._clock = clock
        self._store = RoundStore(Path(folder)) if folder is not None else None
        self._last: int | None = None
        self._chain: ServerChain | None = None
        self._tally = RoundTally()
        self._open = False
        self._model = b""
        self._stored_bytes = SMALL

    def __repr__(self) -> str:
        return f"Coordinator(scheme={self._scheme!r}, last_round={self._last}, open={self._open})"

    def run(
        self,
        cohort: tuple[ClientId, ...],
        layout: Layout,
        model: bytes,
        exchange: Exchange,
        *,
        more: bool = True,
    ) -> RoundReport:
        """One round.

        A round that was stopped (this raised, or the process was killed) is taken up where it was if it is of the same
        cohort, layout and model: its requests are the same bytes, so clients answer the same again. It is also taken up
        where it was finished and its report may not have been seen. Else a new one begins, under a higher number.

        After `RoundAborted` the caller may run again: a new attempt, under a new number, with all of the cohort.
        Clients accept it also where they gave an input for the old number, as the new one is higher. A server that is
        not honest can end two attempts with a sum each, of much the same updates; where their survivors differ by few
        clients, so do the sums, and against that only noise helps. So do not change a cohort between two attempts
        without need.

        Args:
            cohort: client ids, in any order.
            layout: of their updates.
            model: digest of what they train from, 32 bytes (`model_digest`).
            exchange: carries messages.
            more: whether another round with the same cohort and layout is expected: then its set-up rides along, and it
                takes fewer exchanges. A wrong guess costs nothing but its messages.

        Raises:
            RoundAborted: too few clients are left, or the sum makes no sense; its text names who was lost or refused.
            ConfigError: a round that cannot be: cohort, adversary, bits, clip.
            PersistenceError: the folder's files are damaged, another server's, or cannot be written.
        """
        if self._store is None:
            return self._run(cohort, layout, model, exchange, more)
        with self._store.lock():
            return self._run(cohort, layout, model, exchange, more)

    def _run(
        self, cohort: tuple[ClientId, ...], layout: Layout, model: bytes, exchange: Exchange, more: bool
    ) -> RoundReport:
        started = monotonic()
        self._load(layout)
        chain = self._chain
        if chain is None or not self._open or not self._is(chain.spec, cohort, layout, model):
            chain = self._begin(cohort, layout, model, more)
        before = self._tally.seconds
        try:
            while chain.aggregate is None:
                self._tally.seconds = before + monotonic() - started
                self._stage(chain, layout, exchange)
        except RoundAborted as error:
            self._give_up()
            raise RoundAborted(error.stage, error.detail + self._tally.losses()) from None
        except BaseException:
            if self._store is not None:
                self._chain = None  # what is stored counts: another process may take the round up
            raise
        self._tally.seconds = before + monotonic() - started
        self._open = False
        tally, aggregate, spec = self._tally, chain.aggregate, chain.spec
        chain.let_go()  # the caller has the sum, and between rounds it is nowhere else
        return RoundReport(
            aggregate, spec, tally.exchanges, tally.seconds, tally.bytes_up, tally.bytes_down, tally.lost,
            tally.refused,
        )  # fmt: skip

    def _plan(self, number: int, cohort: tuple[ClientId, ...], layout: Layout) -> RoundPlan:
        return RoundPlan(number, cohort, self._adversary, layout, *self._numbers)

    def _is(self, spec: RoundSpec, cohort: tuple[ClientId, ...], layout: Layout, model: bytes) -> bool:
        # The specification of a round that was prepared names no model.
        return self._model == model and self._plan(spec.round, cohort, layout).is_of(spec)

    def _begin(self, cohort: tuple[ClientId, ...], layout: Layout, model: bytes, more: bool) -> ServerChain:
        number = (int(self._clock()) if self._last is None else self._last) + 1
        plan = self._plan(number, cohort, layout)
        plan.specification(model)  # a round that cannot be takes no number
        chain = self._chain if self._chain is not None else ServerChain(SCHEMES[self._scheme].make(), self._identities)
        self._open = False
        if self._store is not None:
            self._store.store_number(number)
        self._last = number
        chain.begin(plan, model, self._plan(number + 1, cohort, layout) if more else None)
        self._chain, self._tally, self._open, self._model = chain, RoundTally(), True, model
        self._save(chain)
        return chain

    def _stage(self, chain: ServerChain, layout: Layout, exchange: Exchange) -> None:
        stage, requests = chain.stage, chain.requests()
        if requests:
            self._tally.sent(requests)
            missing, stored_at = set(requests), monotonic()
            addressed = {
                client: (JobTerms(self._scheme, layout, client), request) for client, request in requests.items()
            }
            for client, answer in exchange(stage, addressed):
                missing.discard(client)
                if isinstance(answer, SecurefedError):
                    self._tally.refuse(client, answer)
                    continue
                self._tally.received(client, answer)
                try:
                    if len(answer) < SMALL:
                        chain.receive(client, answer)
                    else:  # which copies the message out of its bundle
                        chain.receive_in_pieces(client, _pieces(answer))
                except RemoteProtocolError as error:
                    self._tally.refuse(client, error)
                if self._stored_bytes + len(answer) < SMALL and monotonic() - stored_at >= _STORING:
                    self._save(chain)
                    stored_at = monotonic()
            self._tally.miss(missing, stage)
        try:
            chain.advance()
        except LocalProtocolError:
            self._give_up()  # a stage that ended halfway, for want of memory perhaps, cannot be ended again
            raise
        self._save(chain)

    def _give_up(self) -> None:
        """Forget the round: of one that was aborted nothing is used again."""
        self._chain, self._open = None, False
        if self._store is not None:
            self._store.forget()

    def _save(self, chain: ServerChain) -> None:
        if self._store is None:
            self._stored_bytes = SMALL
            return
        snapshot = chain.snapshot()
        self._stored_bytes = len(snapshot)
        head = {"scheme": self._scheme, "layout": chain.spec.layout.hex(), "model": self._model.hex()}
        self._store.store(head | {"tally": self._tally.to_json()}, snapshot)

    def _load(self, layout: Layout) -> None:
        """Take up what the folder holds, unless this object stored it last and has gone on with nothing since."""
        if self._store is None:
            return
        number = self._store.number
        if self._chain is not None and number == self._last and not self._open:
            return
        self._chain, self._open, self._last = None, False, number
        stored = self._store.load()
        if number is None or stored is None:
            return
        head, snapshot = stored
        if head.get("scheme") != self._scheme or head.get("layout") != layout.digest.hex():
            return
        try:
            self._tally, self._model = RoundTally.from_json(head["tally"]), bytes.fromhex(head["model"])
            scheme = SCHEMES[self._scheme].make()
            self._chain = ServerChain.resume(scheme, [layout], snapshot, self._identities)
        except (PersistenceError, KeyError, TypeError, ValueError):
            raise self._store.damaged() from None
        # A higher number means that a later round was begun, and its state not stored: no request of it has left.
        self._open = self._chain.spec.round == number


def _pieces(answer: bytes) -> Iterator[memoryview]:
    whole = memoryview(answer)
    return (whole[start : start + _PIECE] for start in range(0, len(whole), _PIECE))
