"""A server with two views of who survived, and an eye on the shares that leave the clients."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from securefed.audit.round import ClientId, Play, Server, Sum

__all__ = ["Released", "TwoViews"]

Ask = Callable[[ClientId, bytes], bytes | None]
"""Hand a client a request: its answer, or None where it refuses."""


class TwoViews:
    """Two servers of one round, of which the second did not get the victim's update.

    Args:
        play: a new round; it is played to the end of the update stage here.
        victim: whose update the second server did not get.
        colluders: who answers in both views at once, as if there were no other.
    """

    def __init__(self, play: Play, victim: ClientId, colluders: Collection[ClientId]) -> None:
        round_ = play.round
        self.play, self.victim, self._colluders = play, victim, colluders
        play.until(round_.update_stage)
        play.answer()
        self._servers: tuple[Server, Server] = (play.server, round_.new_server())
        self._aborted = [False, False]
        for stage in round_.stages[: round_.stages.index(round_.update_stage) + 1]:
            for client, reply in play.replies[stage].items():
                if stage != round_.update_stage or client != victim:
                    self._servers[1].receive(client, reply)
            if stage != round_.update_stage:
                self._servers[1].advance()
        self._advance()
        self._second = {client: copy.deepcopy(play.clients[client]) for client in colluders}

    def play_out(self, told_all: Collection[ClientId], ask: Ask | None = None, ask_again: Ask | None = None) -> None:
        """The stages behind the update.

        Args:
            told_all: clients that are shown the first server's requests; the others are shown the second's.
            ask: how an honest client is asked.
            ask_again: how it is then asked by the other server; None where it is not.
        """
        for _stage in self.play.round.after_update():
            requests = [
                {} if aborted else dict(server.requests())
                for aborted, server in zip(self._aborted, self._servers, strict=True)
            ]
            for client in self.play.round.cohort:
                own = 0 if client in told_all else 1
                if client in self._colluders:
                    self._pass_on(client, 0, requests[0], self.play.ask_or_none)
                    self._pass_on(client, 1, requests[1], self._ask_second)
                    continue
                self._pass_on(client, own, requests[own], ask or self.play.ask_or_none)
                if ask_again is not None:
                    self._pass_on(client, 1 - own, requests[1 - own], ask_again)
            self._advance()

    def results(self) -> list[Sum | None]:
        """What either server has."""
        sums = [server.aggregate for server in self._servers]
        return [None if aggregate is None else self.play.round.read(aggregate) for aggregate in sums]

    def _advance(self) -> None:
        for at, server in enumerate(self._servers):
            if not self._aborted[at]:
                try:
                    server.advance()
                except self.play.round.aborts:
                    self._aborted[at] = True

    def _ask_second(self, client: ClientId, request: bytes) -> bytes | None:
        round_ = self.play.round
        try:
            return self._second[client].reply(request, lambda: round_.update(client))
        except round_.refusals:
            return None

    def _pass_on(self, client: ClientId, view: int, requests: Mapping[ClientId, bytes], ask: Ask) -> None:
        reply = ask(client, requests[client]) if client in requests else None
        if reply is None:
            return
        try:
            self._servers[view].receive(client, reply)
        except self.play.round.refusals:
            return


class Released:
    """Which shares have left which clients.

    Args:
        play: the round.
        colluders: how many clients are the server's, and give it both shares of everyone.
    """

    def __init__(self, play: Play, colluders: int) -> None:
        self._play = play
        self._colluders = colluders
        self._held: dict[ClientId, dict[ClientId, tuple[bytes, bytes]]] = {}
        self._kinds: dict[ClientId, dict[ClientId, set[int]]] = {}
        self._copies: dict[ClientId, list[bytes]] = {}

    def ask(self, client: ClientId, request: bytes) -> bytes | None:
        """Ask a client, and look for shares that it held in what it answers."""
        return self._ask(client, self._play.clients[client], request)

    def ask_copies(self, client: ClientId, request: bytes) -> bytes | None:
        """Ask not the client, but copies of it: from all states that were ever stored, the latest first."""
        resume = self._play.round.resume_client
        for stored in reversed(self._copies.get(client, [])):
            try:
                session = resume(client, stored) if resume is not None else None
            except self._play.round.refusals:
                continue
            reply = None if session is None else self._ask(client, session, request)
            if reply is not None:
                return reply
        return None

    def _ask(self, client: ClientId, session: Any, request: bytes) -> bytes | None:
        round_ = self._play.round
        self._store(client, session)
        # What it held once it may still have: a client can forget shares without having lost them.
        held = self._held.setdefault(client, {})
        held.update(round_.held_shares(session) if round_.held_shares else {})
        try:
            reply: bytes = session.reply(request, lambda: round_.update(client))
        except round_.refusals:
            return None
        self._store(client, session)
        for owner, shares in held.items():
            kinds = self._kinds.setdefault(client, {}).setdefault(owner, set())
            kinds |= {kind for kind, share in enumerate(shares) if share in reply}
        return reply

    def _store(self, client: ClientId, session: Any) -> None:
        copies = self._copies.setdefault(client, [])
        if self._play.round.resume_client is not None and (stored := session.snapshot()) not in copies:
            copies.append(stored)

    def problem(self) -> str | None:
        """A peer of whom too much was given; None where there is none."""
        holders: Counter[tuple[ClientId, int]] = Counter()
        for client, by_owner in self._kinds.items():
            for owner, kinds in by_owner.items():
                if len(kinds) > 1:
                    return f"client {client} gave both shares of client {owner}"
                holders.update((owner, kind) for kind in kinds)
        round_ = self._play.round
        opens = round_.shares_to_open or round_.threshold
        for owner in round_.cohort:
            first, second = (holders[owner, kind] + self._colluders for kind in (0, 1))
            if min(first, second) >= opens:
                return f"{first} and {second} clients gave the two kinds of shares of client {owner}, {opens} open each"
        return None
