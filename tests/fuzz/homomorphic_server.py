"""The server of a homomorphic round, fed in every stage, and snapshots of all parties, taken up again."""

from __future__ import annotations

from random import Random
from typing import Final

import numpy as np

from securefed.errors import LocalProtocolError, RemoteProtocolError, RoundAborted
from securefed.he import bfv_2048
from securefed.he.stages import Stage
from securefed.participation import MemoryRecord
from securefed.wire.snapshot import Party
from tests.fuzz.events import Event, Script, What, mutate_script
from tests.fuzz.homomorphic_honest import HE_ASKED, LONGEST, HePlayed, he_played, he_resumed
from tests.fuzz.snapshots import mutate_snapshot, with_digest
from tests.fuzz.target import OUTCOMES, Havoc, Target, check_text, expect, reader_target
from tests.he.rounds import HOLDER, VICTIM, he_identity

__all__ = ["he_server_target", "he_snapshot_target"]

_STRANGER: Final = 1


class _Server:
    """One execution against the server."""

    def __init__(self, played: HePlayed, selector: int) -> None:
        self._played = played
        self._server = played.server(list(played.servers)[selector % len(played.servers)])
        self._aborted = False

    def play(self, event: Event) -> str:
        """What came of an event."""
        stage, cohort = self._server.stage, self._played.round.spec.cohort
        good = self._played.round.replies.get(stage, {})
        client = (*cohort, _STRANGER)[event.who % (len(cohort) + 1)]
        match event.what:
            case What.MESSAGE | What.GOOD:
                reply = event.payload if event.what is What.MESSAGE else good.get(client, b"")
                return f"{stage} {self._receive(client, reply)}"
            case What.ALL_GOOD:
                return OUTCOMES.join([f"{stage} {self._receive(*one)}" for one in good.items()] or ["nobody"])
            case What.ADVANCE:
                return f"{stage} {self._advance()}"
            case What.RESUME:
                return f"{stage} {self._resume()}"

    def _receive(self, client: int, reply: bytes) -> str:
        before = self._server.snapshot()
        try:
            self._server.receive(client, reply)
        except RemoteProtocolError as error:
            expect(error.peer == client, f"the peer is {error.peer}, the answer came from {client}")
            check_text(error, reply)
            expect(not self._aborted or error.rule == "R5", f"{error.rule} after the round was aborted")
            after = self._server.snapshot()
            if error.rule not in ("R3", "R5", "R6"):
                earlier = he_resumed(self._played, before)
                earlier._present.refuse([client])
                before = earlier.snapshot()
            expect(before == after, "a refused answer has changed the server's state")
            return error.rule
        expect(client in self._played.round.spec.cohort, "an answer of nobody was taken")
        return "taken"

    def _advance(self) -> str:
        stage, before = self._server.stage, self._server.snapshot()
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
            expect(stage is Stage.DONE and error.rule == "R5", f"{error.rule} in stage {stage}")
            expect(before == self._server.snapshot(), "a refused call has changed the server's state")
            return "over"
        expect((self._server.aggregate is not None) is (self._server.stage is Stage.DONE), "over without a sum")
        if self._server.aggregate is not None:
            tensors, survivors = self._server.aggregate.tensors, self._server.aggregate.survivors
            expect(len(survivors) >= self._played.round.spec.threshold, "a sum over fewer than L")
            expect(all(np.isfinite(tensor).all() for tensor in tensors.values()), "a mean that is no number")
        return "advanced"

    def _resume(self) -> str:
        before, snapshot = self._server, self._server.snapshot()
        self._server = he_resumed(self._played, snapshot)
        expect(self._server.snapshot() == snapshot, "a session is another one when it is taken up")
        expect(self._server.stage is before.stage, "a session is in another stage when it is taken up")
        expect(self._server.requests() == before.requests(), "a session asks otherwise when it is taken up")
        expect((self._server.aggregate is None) is (before.aggregate is None), "a sum is lost or found when taken up")
        return "resumed"


def he_server_target(server: str, name: str) -> Target:
    """The server of an honest round."""
    played = he_played(server)
    stages = list(played.servers)

    def run(raw: bytes) -> str:
        script = Script.parse(raw)
        execution = _Server(played, script.selector)
        return OUTCOMES.join([execution.play(event) for event in script.events])

    def changed(script: Script, index: int, rng: Random, havoc: Havoc) -> bytes:
        cohort, event = played.round.spec.cohort, script.events[index]
        before = sum(one.what is What.ADVANCE for one in script.events[:index])
        stage = stages[min(script.selector % len(stages) + before, len(stages) - 2)]
        client = (*cohort, cohort[0])[event.who % (len(cohort) + 1)]
        replies = played.round.replies[stage]
        return played.shape(HE_ASKED[stage], client).mutate(
            event.payload or replies.get(client, next(iter(replies.values()))), rng, havoc
        )

    step = (Event(What.ALL_GOOD), Event(What.ADVANCE))
    each = [Script(at, step) for at in range(len(stages))]
    slow = [Script(at, (Event(What.GOOD, 0), Event(What.GOOD, 1), Event(What.RESUME))) for at in range(len(each))]
    lost = [Script(at, (Event(What.ADVANCE),) * 5) for at in range(len(each))]
    whole = [Script(0, step * (len(each) - 1))]
    return Target(
        name, "RemoteProtocolError of the sender alone and nothing else changed; RoundAborted from advance",
        tuple(script.pack() for script in (*each, *slow, *lost, *whole)), run,
        lambda raw, rng, havoc: mutate_script(raw, rng, havoc, changed), LONGEST,
    )  # fmt: skip


def he_snapshot_target(party: Party, name: str) -> Target:
    """Snapshots of clients and servers, taken up again."""
    rounds = [he_played("malicious"), he_played("semi-honest")]
    if party is Party.CLIENT:
        seeds = [one.snapshot() for played in rounds for who in played.clients.values() for one in who.values()]
    else:
        seeds = [stored for played in rounds for stored in played.servers.values()]
        for played in rounds:
            for stage in (Stage.ADVERTISE, Stage.KEYS, Stage.INPUT, Stage.OPEN):
                some = played.server(stage)
                some.receive(HOLDER, played.round.replies[stage][HOLDER])
                seeds.append(some.snapshot())
    victims = {client: he_identity(client) for client in (HOLDER, VICTIM)}

    def read(raw: bytes) -> None:
        if party is Party.CLIENT:
            identity = victims.get(int.from_bytes(raw[20:24], "big"), victims[HOLDER])
            vars(identity.record).update(vars(MemoryRecord()))
            bfv_2048().resume_client(identity, raw).snapshot()
            return
        played = next((one for one in rounds if one.round.spec.pack() in raw), rounds[0])
        server = he_resumed(played, raw)
        server.snapshot()
        server.requests()

    return reader_target(name, seeds, read, mutate_snapshot(party), with_digest)
