"""A client of a homomorphic round, the key holder too, fed in every stage with what a server may send."""

from __future__ import annotations

import copy
from random import Random
from typing import Final

from securefed.errors import LocalProtocolError, PersistenceError, RemoteProtocolError
from securefed.he.stages import Stage
from securefed.wire.header import HEADER_BYTES, SERVER, Header, MessageType
from tests.fuzz.events import Event, Script, What, mutate_script
from tests.fuzz.homomorphic_honest import HE_ASKED, HE_TOLD, LONGEST, HePlayed, he_played
from tests.fuzz.target import OUTCOMES, Havoc, Target, check_text, expect
from tests.he.rounds import round_secret
from tests.rounds import seed, update_of

__all__ = ["he_client_target"]

_ROLLED_BACK: Final = 0x80
"""Bit of a client's selector: its record holds the whole round already."""


def _secrets(played: HePlayed, client: int) -> bytes:
    """What no error of the client may hold."""
    key = played.round.round_key()
    return b"".join((round_secret(client), seed(f"rounding {client}"), seed(f"identity {client}"), key.raw,
                     key.secret[:64].tobytes()))  # fmt: skip


class _Client:
    """One execution against a client."""

    def __init__(self, played: HePlayed, who: int, selector: int) -> None:
        self._played, self._who = played, who
        self._stages = played.stages_of(who)
        self._at = (selector & ~_ROLLED_BACK) % len(self._stages)
        self._rolled_back = bool(selector & _ROLLED_BACK)
        self._identity = played.identity(who, Stage.DONE if self._rolled_back else self._opened())
        self._client = copy.copy(played.clients[who][self._opened()])
        self._adopt()
        self._secrets = _secrets(played, who)
        self._failed = False

    def _opened(self) -> Stage:
        """The stage of the round that the client's is: one that is not asked to hold the key skips two."""
        return self._stages[self._at]

    def _adopt(self) -> None:
        """The session gets the record of this execution."""
        self._client._identity = self._identity
        state = self._client._state
        if hasattr(state, "identity"):
            self._client._state = type(state)(**{**vars(state), "identity": self._identity})

    @property
    def stage(self) -> Stage:
        """Of the session, if nothing went wrong."""
        return self._stages[self._at]

    def play(self, event: Event) -> str:
        """What came of an event."""
        if event.what is What.RESUME:
            return self._resume()
        good = self._played.round.requests.get(self.stage, {}).get(self._who, b"")
        return self._ask(event.payload if event.what is What.MESSAGE else good)

    def _ask(self, request: bytes) -> str:
        stage, honest = self.stage, self._played.round.replies
        try:
            answer = self._client.reply(request, lambda: update_of(self._who))
        except RemoteProtocolError as error:
            expect(error.peer == SERVER, f"the peer is {error.peer}")
            check_text(error, request, self._secrets)
            expect(not self._failed or error.rule == "R5", f"{error.rule} from a session that an error has closed")
            expect(stage is not Stage.DONE or error.rule in ("R4", "R5"), f"{error.rule} after the round")
            self._failed = self._failed or stage is not Stage.DONE
            outcome = error.rule
        except LocalProtocolError as error:
            check_text(error, request, self._secrets)
            expect(error.rule == "R10" and self._rolled_back, f"{error.rule}, local, and nothing was given before")
            expect(not self._failed, "a closed session asks its record")
            self._failed = True
            outcome = error.rule
        else:
            expect(not self._failed and stage is not Stage.DONE, "a session answers after its end")
            header = Header.parse(answer)
            expect(header.sender == self._who, "an answer in another's name")
            if header.type is MessageType.OPENED:
                # Also of a holder that was not asked for its input.
                expect(stage in (Stage.INPUT, Stage.OPEN), f"a sum is opened in stage {stage}")
                expect(answer == honest[Stage.OPEN][self._who], "another sum than the true one was opened")
                self._at = len(self._stages) - 1
            else:
                expect(header.type == HE_ASKED[stage], "another answer than asked")
                if header.type is MessageType.CIPHERTEXTS:
                    key = honest[Stage.INPUT][self._who][HEADER_BYTES : HEADER_BYTES + 32]
                    expect(answer[HEADER_BYTES : HEADER_BYTES + 32] == key, "an input under another key")
                self._at += 1
            outcome = "answered"
        self._check_what_is_kept()
        return f"{stage} {outcome}"

    def _resume(self) -> str:
        snapshot = self._client.snapshot()
        try:
            self._client = self._played.round.scheme.resume_client(self._identity, snapshot)
        except LocalProtocolError as error:
            check_text(error, snapshot[32:], self._secrets)
            expect(error.rule == "R10" and self._rolled_back, f"{error.rule}, and nothing was given before")
            return f"{self.stage} resume R10"
        except PersistenceError as error:
            # An offer that was changed and taken: of another round than the record's.
            expect(error.rule == "P3" and self._rolled_back, f"a session does not take up its own snapshot: {error}")
            return f"{self.stage} resume P3"
        expect(self._client.snapshot() == snapshot, "a session is another one when it is taken up")
        return f"{self.stage} resumed"

    def _check_what_is_kept(self) -> None:
        kept = self._client.snapshot()
        over = self._failed or self.stage is Stage.DONE
        expect(not over or round_secret(self._who) not in kept, "a closed session keeps its secret")
        expect(self._played.round.round_key().raw not in kept, "a session keeps the round's key")


def he_client_target(server: str, who: int, name: str) -> Target:
    """The key holder, or another client, of an honest round."""
    played = he_played(server)
    stages = played.stages_of(who)

    def run(raw: bytes) -> str:
        script = Script.parse(raw)
        execution = _Client(played, who, script.selector)
        return OUTCOMES.join([execution.play(event) for event in script.events])

    def changed(script: Script, index: int, rng: Random, havoc: Havoc) -> bytes:
        before = sum(event.what is not What.RESUME for event in script.events[:index])
        at = (script.selector & ~_ROLLED_BACK) % len(stages) + before
        stage = stages[min(at, len(stages) - 2)]
        good = script.events[index].payload or played.round.requests[stage][who]
        return played.shape(HE_TOLD[stage], SERVER).mutate(good, rng, havoc)

    every = [Script(at, (Event(What.GOOD),) * 5) for at in range(len(stages))]
    requests = [played.round.requests[stage][who] for stage in stages[:-1]]
    one = [Script(at, (Event(What.MESSAGE, 0, request),)) for at, request in enumerate(requests)]
    early = [Script(at, (Event(What.MESSAGE, 0, requests[-1]), Event(What.GOOD))) for at in range(len(stages))]
    resumed = [Script(script.selector, (Event(What.RESUME), *script.events)) for script in every]
    back = [Script(script.selector | _ROLLED_BACK, script.events) for script in every + resumed]
    return Target(
        name, "RemoteProtocolError of the server alone (R10 of the record), then R5; no sum but the true one",
        tuple(script.pack() for script in (*every, *one, *early, *resumed, *back)), run,
        lambda raw, rng, havoc: mutate_script(raw, rng, havoc, changed), LONGEST,
    )  # fmt: skip
