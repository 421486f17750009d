"""The same adversary as a hypothesis state machine: it searches for a schedule instead of drawing one, and shortens it.

TestMine = adversary_machine(make_round).TestCase
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from securefed.audit.arena import Arena, State
from securefed.audit.round import ClientId, Round

__all__ = ["adversary_machine"]

_WHO = st.integers(0, 2**16)
"""Chooses one of however many there are, modulo their number."""


def adversary_machine(make: Callable[[int], Round]) -> type[RuleBasedStateMachine]:
    """A state machine over rounds of `make`, to be run as a test case; the invariants are those of `arena`.

    Args:
        make: the round of a seed, the same one for the same seed.
    """

    class AdversaryMachine(RuleBasedStateMachine):
        """One round; every rule is one thing that an adversary may do."""

        arena: Arena
        requests: dict[ClientId, bytes]
        seen: list[bytes]
        on_the_way: list[tuple[ClientId, bytes]]

        @initialize(seed=st.integers(0, 2**32))
        def begin(self, seed: int) -> None:
            """A new round."""
            self._begin(seed)

        @precondition(lambda self: not self._goes_on())
        @rule(seed=st.integers(0, 2**32))
        def begin_another(self, seed: int) -> None:
            """After the end of one."""
            self._begin(seed)

        def _begin(self, seed: int) -> None:
            self.arena = Arena(make(seed))
            self.on_the_way, self.seen = [], []
            self._look()

        def _look(self) -> None:
            self.requests = dict(self.arena.requests())
            self.seen += self.requests.values()

        def _client(self, who: int) -> ClientId:
            return self.arena.round.cohort[who % len(self.arena.round.cohort)]

        def _goes_on(self) -> bool:
            return self.arena.over is None

        def _deliver(self, client: ClientId, request: bytes, *, stored: bool = True) -> None:
            answer = self.arena.ask(client, request, "a request")
            if answer is not None and stored:
                self.arena.store(answer)
                self.on_the_way.append((client, self.arena.leave(answer)))

        @precondition(_goes_on)
        @rule(but=st.sets(_WHO, max_size=2))
        def everyone_but_a_few_answers(self, but: set[int]) -> None:
            """All requests and all answers arrive, but those of a few; the stage ends."""
            gone = {self._client(who) for who in but}
            for client, request in self.requests.items():
                if client not in gone:
                    self._deliver(client, request)
            for client, reply in self.on_the_way:
                self.arena.receive(client, reply, "an answer")
            self.end_the_stage()

        @precondition(_goes_on)
        @rule(who=_WHO)
        def a_request_arrives(self, who: int) -> None:
            """The one that is meant for the client."""
            if (client := self._client(who)) in self.requests:
                self._deliver(client, self.requests[client])

        @precondition(_goes_on)
        @rule(who=_WHO, which=_WHO)
        def another_request_arrives(self, who: int, which: int) -> None:
            """One of another client or stage."""
            if self.seen:
                self._deliver(self._client(who), self.seen[which % len(self.seen)])

        @precondition(_goes_on)
        @rule(who=_WHO, which=_WHO, bit=st.integers(0, 2**20))
        def a_changed_request_arrives(self, who: int, which: int, bit: int) -> None:
            """With one bit the other way."""
            if self.seen:
                self._deliver(self._client(who), _flipped(self.seen[which % len(self.seen)], bit))

        @precondition(_goes_on)
        @rule(who=_WHO, lacking=_WHO)
        def a_lie_about_a_dropout_arrives(self, who: int, lacking: int) -> None:
            """What a second server would say, which did not get someone's answer."""
            client = self._client(who)
            self.arena.tell_two_stories(self._client(lacking))
            request = self.arena.twin_request(client)
            if request is not None:
                self._deliver(client, request)

        @precondition(lambda self: self._goes_on() and self.on_the_way)
        @rule(which=_WHO, keep=st.booleans())
        def an_answer_arrives(self, which: int, keep: bool) -> None:
            """Any of those on the way, which may come again."""
            at = which % len(self.on_the_way)
            client, reply = self.on_the_way[at] if keep else self.on_the_way.pop(at)
            self.arena.receive(client, reply, "an answer")

        @precondition(lambda self: self._goes_on() and self.on_the_way)
        @rule(which=_WHO, who=_WHO, bit=st.one_of(st.none(), st.integers(0, 2**20)))
        def a_changed_answer_arrives(self, which: int, who: int, bit: int | None) -> None:
            """With one bit the other way, or on the channel of another client."""
            client, reply = self.on_the_way[which % len(self.on_the_way)]
            if bit is None:
                client = self._client(who)
            else:
                reply = _flipped(reply, bit)
            self.arena.receive(client, reply, "a changed answer")

        @precondition(_goes_on)
        @rule(who=_WHO, state=st.sampled_from(("latest", "older", "nothing")), asked=st.booleans())
        def a_client_crashes(self, who: int, state: State, asked: bool) -> None:
            """It is started again, perhaps before an answer that it had computed was stored."""
            client = self._client(who)
            if asked and client in self.requests:
                self._deliver(client, self.requests[client], stored=False)
            self.arena.restart_client(client, state)

        @precondition(_goes_on)
        @rule()
        def the_server_crashes(self) -> None:
            """It is started again."""
            self.arena.restart_server()
            if self._goes_on():
                self._look()

        @precondition(_goes_on)
        @rule()
        def end_the_stage(self) -> None:
            """Who has not answered has dropped out."""
            self.arena.advance()
            if self._goes_on():
                self._look()

    return AdversaryMachine


def _flipped(message: bytes, bit: int) -> bytes:
    changed = bytearray(message)
    if changed:
        at = bit % (8 * len(changed))
        changed[at // 8] ^= 1 << at % 8
    return bytes(changed)
