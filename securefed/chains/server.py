"""The server's side of rounds that follow each other; to a driver each of them is a `ServerSession`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from securefed.aggregation import Aggregate, ClientId, RoundSpec, Scheme, ServerSession
from securefed.chains.plan import RoundPlan
from securefed.crypto.hashing import DIGEST_BYTES
from securefed.encoding.layout import Layout
from securefed.errors import ConfigError, PersistenceError, RemoteProtocolError, RoundAborted
from securefed.wire.bundle import is_bundle, pack_bundle, parse_bundle, split_bundle
from securefed.wire.from_server import Offer
from securefed.wire.snapshot import Party, no_other_error, pack_snapshot, parse_snapshot
from securefed.wire.specification import NAMED_LATER

__all__ = ["ServerChain"]

_RIDER_BYTES: Final = 4096
_RIDER_BYTES_A_CLIENT: Final = 256


class ServerChain:
    """Rounds of one job.

    While a round goes on, the set-up of the one after it rides on its messages, where the scheme allows that
    (`Scheme.carriers`) and the caller knows what that round will be. The set-up is a session of its own, under secrets
    of its own: whatever becomes of it, the present round is not touched. A round that finds its set-up done has the
    exchanges from the scheme's input on alone.

    Args:
        scheme: of all rounds.
        identities: public identity keys by client id, where rounds are protected against a malicious server.
    """

    def __init__(self, scheme: Scheme, identities: Mapping[ClientId, bytes] | None = None) -> None:
        self._scheme = scheme
        self._identities = identities
        self._round: tuple[RoundSpec, ServerSession] | None = None
        self._next: tuple[RoundSpec, ServerSession] | None = None

    def begin(self, plan: RoundPlan, model: bytes, following: RoundPlan | None = None) -> RoundSpec:
        """Begin a round; what was going on is given up.

        Args:
            plan: of the round.
            model: digest of what clients train from, 32 bytes.
            following: the round after it, as far as it is known; None where there is none, or it is not known. A wrong
                guess costs nothing but its messages.

        Returns:
            The round's specification. Its session is a new one whether or not its set-up is done.

        Raises:
            ConfigError: a field of a plan is out of bounds, the model's digest is not one, or the identity roster does
                not hold the cohort. What was going on goes on then.
        """
        if len(model) != DIGEST_BYTES or model == NAMED_LATER:
            raise ConfigError("model", f"a digest has {DIGEST_BYTES} bytes that are not all zero")
        prepared, rider = self._next, None
        if following is not None and self._scheme.carriers:
            rider = self._new(following, None)
        if prepared is not None and self._fits(prepared, plan):
            prepared[1].name_model(model)  # type: ignore[attr-defined]
        else:
            prepared = self._new(plan, model)
        self._round, self._next = prepared, rider
        return prepared[0]

    def _new(self, plan: RoundPlan, model: bytes | None) -> tuple[RoundSpec, ServerSession]:
        spec = plan.specification(model)
        return spec, self._scheme.server(spec, plan.layout, self._identities)

    def _fits(self, prepared: tuple[RoundSpec, ServerSession], plan: RoundPlan) -> bool:
        """Whether the set-up is done, and with all whom the round wants: nobody is left out to save an exchange."""
        return plan.is_of(prepared[0]) and prepared[1].stage == self._scheme.update_stage and self._whole(prepared)

    @staticmethod
    def _whole(prepared: tuple[RoundSpec, ServerSession]) -> bool:
        """Whether nobody of its cohort is lost so far."""
        return prepared[1].awaited == prepared[0].cohort  # type: ignore[attr-defined, no-any-return]

    @property
    def spec(self) -> RoundSpec:
        """Of the present round; of one that was prepared it names no model."""
        return self._present[0]

    @property
    def model(self) -> bytes:
        """Digest of the model that the present round is of, 32 bytes."""
        spec, session = self._present
        return session.model if spec.prepared else spec.model  # type: ignore[attr-defined]

    @property
    def _present(self) -> tuple[RoundSpec, ServerSession]:
        if self._round is None:
            raise ValueError("no round has begun, or it was let go")
        return self._round

    def let_go(self) -> None:
        """Once its aggregate is taken, give up the present round and its vectors; what is prepared stays."""
        self._round = None

    @property
    def stage(self) -> str:
        """See `aggregation.ServerSession`: of the present round."""
        return self._present[1].stage

    @property
    def aggregate(self) -> Aggregate | None:
        """See `aggregation.ServerSession`: of the present round."""
        return self._present[1].aggregate

    def requests(self) -> Mapping[ClientId, bytes]:
        """See `aggregation.ServerSession`: of some the next round's set-up is asked too, in a bundle."""
        riders = self._riders()
        return {
            client: pack_bundle(riders[client], request) if client in riders else request
            for client, request in self._present[1].requests().items()
        }

    def _riders(self) -> Mapping[ClientId, bytes]:
        return self._next[1].requests() if self._next is not None and self._carrying else {}

    @property
    def _carrying(self) -> bool:
        """Whether the present exchange carries one of the next round's set-up."""
        return self._next is not None and self._scheme.carriers.get(self.stage) == self._next[1].stage

    def receive(self, client: ClientId, reply: bytes) -> None:
        """See `aggregation.ServerSession`. A rider that is missing or wrong is the client's end in the next round, and
        of no account in this one.

        Raises:
            RemoteProtocolError: of the present round's answer; or W16.
        """
        rider = b""
        if is_bundle(reply):
            try:
                rider, main = parse_bundle(reply)
            except RemoteProtocolError as error:
                raise self._refused(client, error) from None
            reply = bytes(main)
        self._present[1].receive(client, reply)
        self._receive_rider(client, rider)

    def receive_in_pieces(self, client: ClientId, chunks: Iterable[bytes | bytearray | memoryview]) -> None:
        """As `receive`, of an answer that comes in pieces: of an input of billions of parameters nothing but its rider
        is held here, and what the scheme's session holds of it."""
        try:
            rider, main = split_bundle(chunks, self._greatest_rider)
        except RemoteProtocolError as error:
            raise self._refused(client, error) from None
        session = self._present[1]
        if hasattr(session, "receive_in_pieces"):
            session.receive_in_pieces(client, main)
        else:
            session.receive(client, b"".join(main))
        self._receive_rider(client, rider)

    def _receive_rider(self, client: ClientId, rider: bytes) -> None:
        if rider and self._next is not None and self._carrying:
            with suppress(RemoteProtocolError):
                self._next[1].receive(client, rider)

    def _refused(self, client: ClientId, error: RemoteProtocolError) -> RemoteProtocolError:
        """What a broken bundle is refused by.

        To the session it is an empty message, so that its sender counts as dropped.
        """
        try:
            self._present[1].receive(client, b"")
        except RemoteProtocolError as own:
            if own.rule in ("R3", "R5", "R6"):
                return own
        return error.blame(client)

    @property
    def _greatest_rider(self) -> int:
        """More than any scheme's set-up has for a client."""
        return _RIDER_BYTES + (_RIDER_BYTES_A_CLIENT * len(self._next[0].cohort) if self._next is not None else 0)

    def advance(self) -> None:
        """See `aggregation.ServerSession`.

        Raises:
            RoundAborted: of the present round; the next one's set-up goes with it.
        """
        carried = self._carrying
        try:
            self._present[1].advance()
        except RoundAborted:
            self._next = None
            raise
        if carried and self._next is not None:
            try:
                self._next[1].advance()
                # Of no use any more where one of its cohort is lost: no message is spent on it.
                self._next = self._next if self._whole(self._next) else None
            except RoundAborted:
                self._next = None

    def snapshot(self) -> bytes:
        """See `aggregation.ServerSession`: of both. To be stored after `begin` and `advance`, before requests leave."""
        sections = []
        for spec, session in filter(None, (self._present, self._next)):
            sections += [Offer(spec).encode(self._scheme.suite), session.snapshot()]
        return pack_snapshot(Party.SERVER_CHAIN, sections)

    @classmethod
    def resume(
        cls,
        scheme: Scheme,
        layouts: Iterable[Layout],
        snapshot: bytes,
        identities: Mapping[ClientId, bytes] | None = None,
    ) -> ServerChain:
        """The server's side, as it was when the snapshot was taken.

        Args:
            layouts: of the present round and of the next one.

        Raises:
            PersistenceError: P1 damaged, P2 another version, P3 of other updates.
        """
        chain, known = cls(scheme, identities), {layout.digest: layout for layout in layouts}
        with no_other_error():
            sections = parse_snapshot(Party.SERVER_CHAIN, snapshot)
            if len(sections) not in (2, 4):
                raise PersistenceError("P1", "a snapshot of other than a round and the next one")
            taken_up = []
            for offer, state in zip(sections[::2], sections[1::2], strict=True):
                spec = Offer.decode(bytes(offer), scheme.suite).spec
                if spec.layout not in known:
                    raise PersistenceError("P3", "a snapshot of rounds with another layout")
                session = scheme.resume_server(spec, known[spec.layout], bytes(state), identities)
                taken_up.append((spec, session))
            chain._round, chain._next = taken_up[0], taken_up[1] if len(taken_up) > 1 else None
        return chain
