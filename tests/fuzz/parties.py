"""The state machines of client and server, fed in every stage with what the other side may send."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np

from securefed.errors import LocalProtocolError, RemoteProtocolError, RoundAborted
from securefed.secagg.client import MaskingClient
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import Stage
from securefed.wire.header import SERVER, Header
from tests.fuzz.events import Event, Script, What, mutate_script
from tests.fuzz.honest import Played, played, same, twin
from tests.fuzz.messages import ASKED, told_in
from tests.fuzz.target import OUTCOMES, Finding, Havoc, Target, check_text, expect
from tests.rounds import LAYOUT

__all__ = ["client_target", "server_target"]

_ROLLED_BACK = 0x80
"""Bit of a client's selector: its record holds the whole round already."""
_IN_PIECES = 0x80
"""Bit of who answers the server: the answer comes in pieces."""
_STRANGER = 1
_LONGEST = 12_000


class _Client:
    """One execution against the victim."""

    def __init__(self, round_: Played, selector: int) -> None:
        self._round = round_
        self._at = (selector & ~_ROLLED_BACK) % len(round_.stages)
        self._rolled_back = bool(selector & _ROLLED_BACK)
        stage = round_.stages[self._at]
        self._client = round_.client(stage, Stage.DONE if self._rolled_back else stage)
        self._secrets = b"".join(round_.secrets)
        self._failed = False

    @property
    def stage(self) -> Stage:
        """Of the session, if nothing went wrong."""
        return self._round.stages[self._at]

    def play(self, event: Event) -> str:
        """What came of an event."""
        if event.what is What.RESUME:
            return self._resume()
        good = self._round.requests.get(self.stage, b"")
        # Whose message it is says nothing to a client: it says in which of its two ways the client answers.
        return self._ask(event.payload if event.what is What.MESSAGE else good, in_pieces=event.who % 2 == 1)

    def _ask(self, request: bytes, *, in_pieces: bool) -> str:
        try:
            if in_pieces:
                answer = b"".join(self._client.reply_in_pieces(request, lambda: self._round.update))
            else:
                answer = self._client.reply(request, lambda: self._round.update)
        except RemoteProtocolError as error:
            expect(error.peer == SERVER, f"the peer is {error.peer}")
            check_text(error, request, self._secrets)
            expect(not self._failed or error.rule == "R5", f"{error.rule} from a session that an error has closed")
            expect(self.stage is not Stage.DONE or error.rule in ("R4", "R5"), f"{error.rule} after the round")
            self._failed = self._failed or self.stage is not Stage.DONE
            rule = error.rule
        except LocalProtocolError as error:
            check_text(error, request, self._secrets)
            # The update is trained from one model; whoever names another one gets none.
            named = error.rule == "V9" and self._round.spec.prepared and self.stage is Stage.INPUT
            given = error.rule == "R10" and self._rolled_back
            expect(named or given, f"{error.rule}, local, and nothing was given before")
            expect(not self._failed, "a closed session asks its record")
            self._failed = True
            rule = error.rule
        else:
            expect(not self._failed, "a session answers after an error")
            header = Header.parse(answer)
            expect((header.type, header.sender) == (ASKED[self.stage], self._round.victim), "another answer than asked")
            rule = "answered"
            self._at += 1
        self._check_what_is_kept()
        return f"{self.stage} {rule}"

    def _resume(self) -> str:
        snapshot = self._client.snapshot()
        try:
            self._client = MaskingClient.resume(self._round.identity, snapshot)
        except LocalProtocolError as error:
            check_text(error, snapshot[32:], self._secrets)
            expect(error.rule == "R10" and self._rolled_back, f"{error.rule}, and nothing was given before")
            return f"{self.stage} resume R10"
        expect(self._client.snapshot() == snapshot, "a session is another one when it is taken up")
        return f"{self.stage} resumed"

    def _check_what_is_kept(self) -> None:
        """Nothing once the session is closed; no secret of its own once the input is out."""
        closed = self._failed or self.stage is Stage.DONE
        if not closed and self.stage not in (Stage.CONSENT, Stage.RELEASE):
            return
        kept = self._client.snapshot()
        round_secret, rounding, identity, seed, sample, *others = self._round.secrets
        gone = (round_secret, rounding, identity, *((seed, sample, *others) if closed else ()))
        expect(not any(secret in kept for secret in gone), "a session keeps a secret that it has no use for")


def client_target(name: str) -> Target:
    """The victim of one honest round."""
    round_ = played(name)

    def run(raw: bytes) -> str:
        script = Script.parse(raw)
        execution = _Client(round_, script.selector)
        return OUTCOMES.join([execution.play(event) for event in script.events])

    def changed(script: Script, index: int, rng: Random, havoc: Havoc) -> bytes:
        before = sum(event.what is not What.RESUME for event in script.events[:index])
        stage = _at(round_, (script.selector & ~_ROLLED_BACK) % len(round_.stages) + before)
        good = script.events[index].payload or round_.requests[stage]
        return round_.shape(told_in(round_.spec)[stage], SERVER).mutate(good, rng, havoc)

    every = [Script(at, (Event(What.GOOD),) * 5) for at in range(len(round_.stages))]
    one = [Script(at, (Event(What.MESSAGE, 0, round_.requests[stage]),)) for at, stage in enumerate(round_.requests)]
    resumed = [replace(script, events=(Event(What.RESUME), *script.events)) for script in every]
    back = [replace(script, selector=script.selector | _ROLLED_BACK) for script in every + resumed]
    return Target(
        f"client-{name}", "RemoteProtocolError of the server alone (R10 where the record holds it), then R5 for good",
        tuple(script.pack() for script in (*every, *one, *resumed, *back)), run,
        lambda raw, rng, havoc: mutate_script(raw, rng, havoc, changed), _LONGEST,
    )  # fmt: skip


class _Server:
    """One execution against the server."""

    def __init__(self, round_: Played, selector: int) -> None:
        self._round = round_
        self._server = twin(round_.servers[round_.stages[selector % len(round_.stages)]])
        self._aborted = False

    def play(self, event: Event) -> str:
        """What came of an event."""
        stage, cohort = self._server.stage, self._round.spec.cohort
        good = self._round.replies.get(stage, {})
        client = (*cohort, _STRANGER)[event.who % (len(cohort) + 1)]
        match event.what:
            case What.MESSAGE | What.GOOD:
                reply = event.payload if event.what is What.MESSAGE else good.get(client, b"")
                if event.who & _IN_PIECES:
                    return f"{stage} {self._receive_in_pieces(client, reply)}"
                return f"{stage} {self._receive(client, reply)}"
            case What.ALL_GOOD:
                return OUTCOMES.join([f"{stage} {self._receive(*one, compare=False)}" for one in good.items()])
            case What.ADVANCE:
                return f"{stage} {self._advance()}"
            case What.RESUME:
                return f"{stage} {self._resume()}"

    def _receive_in_pieces(self, client: int, reply: bytes) -> str:
        """An answer in pieces does what the whole one does."""
        other = twin(self._server)
        outcome = self._receive(client, reply)
        whole, self._server = self._server, other
        size = len(reply) % 50 + 1
        chunks = [reply[at : at + size] for at in range(0, len(reply), size)]
        in_pieces = self._receive(client, reply, chunks)
        expect(in_pieces == outcome, f"an answer is {outcome}, in pieces {in_pieces}")
        expect(same(whole, self._server), "an answer in pieces leaves another state")
        return outcome

    def _receive(self, client: int, reply: bytes, chunks: list[bytes] | None = None, *, compare: bool = True) -> str:
        before = twin(self._server) if compare else None
        try:
            if chunks is None:
                self._server.receive(client, reply)
            else:
                self._server.receive_in_pieces(client, chunks)
        except RemoteProtocolError as error:
            expect(error.peer == client, f"the peer is {error.peer}, the answer came from {client}")
            check_text(error, reply)
            expect(not self._aborted or error.rule == "R5", f"{error.rule} after the round was aborted")
            if before is not None and error.rule not in ("R3", "R5", "R6"):
                before._present.refuse([client])
            expect(before is None or same(before, self._server), "a refused answer has changed the server's state")
            return error.rule
        expect(client in self._round.spec.cohort, "an answer of nobody was taken")
        return "taken"

    def _advance(self) -> str:
        stage, before = self._server.stage, twin(self._server)
        try:
            self._server.advance()
        except RoundAborted as error:
            check_text(error)
            expect(error.stage == stage, f"aborted in {error.stage}, it was {stage}")
            expect(self._server.stage is Stage.DONE and self._server.aggregate is None, "an aborted round goes on")
            expect(not self._server.requests(), "an aborted round asks clients")
            self._aborted = True
            return "aborted"
        except LocalProtocolError as error:
            expect(same(before, self._server), "a refused call has changed the server's state")
            if error.rule == "R12":
                expect(self._unnamed, f"R12 in stage {stage}")
                self._server.name_model(self._round.update.model)
                return "named"
            expect(stage is Stage.DONE and error.rule == "R5", f"{error.rule} in stage {stage}")
            return "over"
        expect((self._server.aggregate is not None) is (self._server.stage is Stage.DONE), "over without a sum")
        self._check_sum()
        asks = self._server.stage is not Stage.DONE and not self._unnamed
        expect(bool(self._server.requests()) is asks, "nobody is asked")
        return "advanced"

    @property
    def _unnamed(self) -> bool:
        """Whether a prepared round waits for its model."""
        return self._server.stage is Stage.INPUT and not self._server.model

    def _check_sum(self) -> None:
        aggregate, spec = self._server.aggregate, self._round.spec
        for wrong in self._server.wrong_shares:
            check_text(wrong)
            expect(wrong.rule == "S7" and wrong.peer in spec.cohort, "a wrong share of nobody")
        if aggregate is not None:
            expect(spec.threshold <= len(aggregate.survivors), "a sum over fewer than L")
            expect(all(np.isfinite(tensor).all() for tensor in aggregate.tensors.values()), "a mean that is no number")

    def _resume(self) -> str:
        server, spec = self._server, self._round.spec
        snapshot = server.snapshot()
        self._server = MaskingServer.resume(spec, LAYOUT, self._round.identities, snapshot)
        expect(self._server.snapshot() == snapshot, "a session is another one when it is taken up")
        expect(self._server.stage is server.stage, "a session is in another stage when it is taken up")
        expect(self._server.requests() == server.requests(), "a session asks otherwise when it is taken up")
        named = [[str(wrong) for wrong in one.wrong_shares] for one in (self._server, server)]
        expect(named[0] == named[1], "other wrong shares are named when a session is taken up")
        one, other = self._server.aggregate, server.aggregate
        if (one is None) is not (other is None):
            raise Finding("a sum is lost or found when a session is taken up")
        expect(one is None or other is None or np.array_equal(one.words, other.words), "another sum when taken up")
        return "resumed"


def server_target(name: str) -> Target:
    """The server of one honest round."""
    round_ = played(name)

    def run(raw: bytes) -> str:
        script = Script.parse(raw)
        execution = _Server(round_, script.selector)
        return OUTCOMES.join([execution.play(event) for event in script.events])

    def changed(script: Script, index: int, rng: Random, havoc: Havoc) -> bytes:
        cohort, event = round_.spec.cohort, script.events[index]
        before = sum(one.what is What.ADVANCE for one in script.events[:index])
        stage = _at(round_, script.selector % len(round_.stages) + before)
        client = (*cohort, cohort[0])[event.who % (len(cohort) + 1)]
        good = round_.replies[stage].get(client, next(iter(round_.replies[stage].values())))
        return round_.shape(ASKED[stage], client).mutate(event.payload or good, rng, havoc)

    step = (Event(What.ALL_GOOD), Event(What.ADVANCE))
    each = [Script(at, step) for at in range(len(round_.stages))]
    slow = [Script(at, (Event(What.GOOD, 0), Event(What.GOOD, 1), Event(What.RESUME))) for at in range(len(each))]
    few = [Script(at, (Event(What.GOOD, 0), Event(What.ADVANCE), Event(What.RESUME))) for at in range(len(each))]
    pieces = [
        Script(at, (Event(What.MESSAGE, _IN_PIECES), Event(What.GOOD, _IN_PIECES | 1))) for at in range(len(each))
    ]
    over = [Script(len(each) - 2, (*step, Event(What.RESUME), Event(What.GOOD), Event(What.ADVANCE)))]
    whole = [Script(0, step * len(each))]
    return Target(
        f"server-{name}", "RemoteProtocolError of the sender alone and nothing else changed; RoundAborted from advance",
        tuple(script.pack() for script in (*each, *slow, *few, *pieces, *over, *whole)), run,
        lambda raw, rng, havoc: mutate_script(raw, rng, havoc, changed), _LONGEST,
    )  # fmt: skip


def _at(round_: Played, index: int) -> Stage:
    """A stage in which something is said."""
    return round_.stages[min(index, len(round_.stages) - 2)]
