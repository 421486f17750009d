"""Something is answered, counted or accepted that must not be."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from securefed.aggregation import MemoryRecord
from securefed.audit.own_rounds import OwnRound
from securefed.audit.protocol import ClientId, Contribution, Round
from securefed.errors import LocalProtocolError, RemoteProtocolError
from securefed.secagg.client import MaskingClient
from securefed.secagg.client_release import Held, Masked
from securefed.secagg.stages import Stage
from tests.audit.broken.wrapping import Broken, ClientInFront, ServerInFront, as_broken
from tests.audit.rounds import SEMI_HONEST


class CountsTwice(Broken):
    """The server adds the same upload again."""

    fails = "test_a_second_answer_changes_nothing"

    class Server(ServerInFront):
        def receive(self, client: int, reply: bytes) -> None:
            answered = self.server._present._answered
            if self.stage == Stage.INPUT and client in answered:
                answered.remove(client)
            super().receive(client, reply)


class AnswersAgain(Broken):
    """The client keeps its last answer, and gives it to whoever asks the same again."""

    fails = "test_a_repeated_request_gets_no_second_answer"

    class Client(ClientInFront):
        last = (b"", b"")

        def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
            if request != self.last[0]:
                self.last = request, super().reply(request, update)
            return self.last[1]


class AnyRound(Broken):
    """The server takes answers out of other rounds for answers of this one."""

    fails = "test_messages_of_another_round_are_refused"
    adversary = SEMI_HONEST

    class Server(ServerInFront):
        def receive(self, client: int, reply: bytes) -> None:
            super().receive(client, reply[:8] + self.own.spec.session + reply[40:])


class AnySurvivors(Broken):
    """The client does not look whether the survivors can be."""

    fails = "test_forged_requests_are_refused"

    class Client(ClientInFront):
        def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
            if isinstance(self.client._stage, Masked):
                self.client._stage = Masked(as_broken(self.client._stage.held, _Unchecked))
            return super().reply(request, update)


class _Unchecked(Held):
    def check(self, survived: tuple[int, ...]) -> None:
        pass


class ForgetfulRecord(MemoryRecord):
    """Holds nothing."""

    def claim(self, step: str, round_number: int, session: bytes) -> None:
        pass


class LenientRecord(MemoryRecord):
    """Writes down in another record, and lets through what that one holds already."""

    def __init__(self, record: Any, forgotten: tuple[str, ...]) -> None:
        super().__init__()
        self._record = record
        self._forgotten = forgotten

    def claim(self, step: str, round_number: int, session: bytes) -> None:
        try:
            self._record.claim(step, round_number, session)
        except LocalProtocolError:
            if step not in self._forgotten:
                raise


class TwoFaced(Broken):
    """The client answers once for every set of survivors that it is shown; started again it is honest."""

    fails = "test_never_both_kinds_of_shares"

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        good, own = self.made(contributions)
        lenient = {
            c: replace(one, record=LenientRecord(one.record, (Stage.CONSENT, Stage.RELEASE)))
            for c, one in own.identities.items()
        }
        return replace(good, new_client=lambda c: self.Client(MaskingClient(lenient[c]), own, c))

    class Client(ClientInFront):
        def __init__(self, client: Any, own: OwnRound, me: ClientId) -> None:
            super().__init__(client, own, me)
            self.answered: set[bytes] = set()
            self.states: list[Any] = []

        def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
            if request in self.answered:
                raise RemoteProtocolError("R4", "this was answered")
            self.states.append(self.client._stage)
            for state in reversed(self.states):
                self.client._stage = state
                try:
                    answer = super().reply(request, update)
                except RemoteProtocolError as error:
                    refused = error
                else:
                    self.answered.add(request)
                    return answer
            raise refused


class Unwritten(Broken):
    """The client writes down nowhere what it has given: an older copy of it gives it for another set of survivors."""

    fails = "test_older_copies_never_give_both_kinds_of_shares"

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        good, own = self.made(contributions)
        forgetful = {c: replace(one, record=ForgetfulRecord()) for c, one in own.identities.items()}
        return replace(
            good,
            new_client=lambda c: MaskingClient(forgetful[c]),
            resume_client=lambda c, snapshot: MaskingClient.resume(forgetful[c], snapshot),
        )


class SingleMask(Broken):
    """A self mask that everyone knows, and a threshold that leaves no room for a client that is the server's."""

    cohort = (2, 3, 5, 8, 9)
    fails = "test_two_sets_of_survivors_give_no_two_sums"
    adversary = SEMI_HONEST
    colluders = 1

    class Client(ClientInFront):
        def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
            with patch("securefed.secagg.client_input.self_mask_key", _known_to_all):
                return super().reply(request, update)

    class Server(ServerInFront):
        def advance(self) -> None:
            with patch("securefed.secagg.unmask.self_mask_key", _known_to_all):
                super().advance()

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        round_ = super().make_round(contributions)
        shares = round_.held_shares
        assert shares is not None
        # The self-mask seed protects nothing here, so a share of it is none.
        return replace(
            round_,
            lying_server=True,
            held_shares=lambda client: {c: (os.urandom(33), both[1]) for c, both in shares(client).items()},
        )


def _known_to_all(seed: bytes, session: bytes, client: int) -> bytes:
    return bytes(32)


class LosesInputs(Broken):
    """A server that is started again has forgotten the sum so far."""

    fails = "test_restarts_between_all_messages_change_nothing"

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        round_ = super().make_round(contributions)
        resume = round_.resume_server
        assert resume is not None

        def resumed(snapshot: bytes) -> Any:
            server: Any = resume(snapshot)
            server.server._inputs.total[:] = 0
            return server

        return replace(round_, resume_server=resumed)


class RollsBack(Broken):
    """A client that is started again from an older copy rounds afresh, under the same masks, and no record stops it."""

    fails = "test_a_restarted_client_gives_no_other_answer"

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        good, own = self.made(contributions)

        def resumed(client: ClientId, snapshot: bytes) -> MaskingClient:
            identity = own.identities[client]
            if identity.record.last_round >= own.spec.round:
                record = LenientRecord(identity.record, (Stage.INPUT,))
                identity = replace(identity, rounding_key=os.urandom(32), record=record)
            return own.scheme.resume_client(identity, snapshot)

        return replace(good, resume_client=resumed)
