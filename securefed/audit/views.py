"""Properties against a server that lies about who survived: no two sums, never both kinds of shares of one client."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from unittest import SkipTest

from securefed.audit.audited import Audited, claim, not_exact
from securefed.audit.round import ClientId, Play, Round
from securefed.audit.two_views import Released, TwoViews

__all__ = ["ViewProperties"]

_MOST_SPLITS = 64


class ViewProperties(Audited):
    """A server that tells some clients that everyone's update arrived, and others that one client's did not.

    Attributes:
        colluders: clients at the end of the cohort that are the server's: they answer whatever they are asked.
    """

    colluders: int = 0

    def test_two_sets_of_survivors_give_no_two_sums(self) -> None:
        """However a lying server divides the honest clients between two sets of survivors, it gets at most one sum, and
        none where neither set has been shown to as many clients as the threshold (or as `shown_to`)."""
        round_ = self.needs_an_exact_sum()
        for told_all in self._splits(round_):
            views = self._views()
            views.play_out(told_all)
            results = views.results()
            told = f"clients {sorted(told_all)} told that all survived, the others that {views.victim} dropped out"
            claim(None in results, f"{told}: the server has both sums, and so the update of client {views.victim}")
            told_less = set(self.cohort[: len(self.cohort) - self.colluders]) - told_all - {views.victim}
            most = max(len(told_all), len(told_less)) + self.colluders
            for result in results:
                enough = round_.threshold if round_.shown_to is None else round_.shown_to
                claim(result is None or most >= enough, f"{told}: the server has a sum")
                problem = None if result is None else not_exact(views.play.round, result, result.survivors)
                claim(problem is None, f"{told}: {problem}")

    def test_never_both_kinds_of_shares(self) -> None:
        """Divided between two sets of survivors, asked again for the other one, or sent any request that `forge` makes:
        no client gives both shares of one peer, and no secret's two kinds are given by as many clients as open it."""
        round_ = self.needs("held_shares")
        self.needs("forge")
        for told_all in self._splits(round_):
            views = self._views()
            released = Released(views.play, self.colluders)
            views.play_out(told_all, released.ask, released.ask)
            problem = released.problem()
            claim(problem is None, f"with clients {sorted(told_all)} told that all survived: {problem}")
        for stage in round_.after_update():
            for lie in _lies(self.new_play().until(stage), stage, self.cohort[0]):
                play = self.new_play().until(stage)
                released = Released(play, self.colluders)
                for client in self.cohort[: len(self.cohort) - self.colluders]:
                    request = _lies(play, stage, client).get(lie)
                    if request is not None:
                        released.ask(client, request)
                claim(released.problem() is None, f"{stage}, {lie}: {released.problem()}")

    def test_older_copies_never_give_both_kinds_of_shares(self) -> None:
        """As before, but what is asked for the other set of survivors are copies of the client, started from each state
        of it that was ever stored: what it wrote down of its answers is there for all of them."""
        round_ = self.needs("held_shares")
        self.needs("resume_client")
        for told_all in self._splits(round_):
            views = self._views()
            released = Released(views.play, self.colluders)
            views.play_out(told_all, released.ask, released.ask_copies)
            problem = released.problem()
            claim(problem is None, f"with clients {sorted(told_all)} told that all survived: {problem}")

    def _views(self) -> TwoViews:
        return TwoViews(self.new_play(), self.cohort[0], self.cohort[len(self.cohort) - self.colluders :])

    def _splits(self, round_: Round) -> Iterator[frozenset[ClientId]]:
        """Which honest clients are told that everyone survived: every set of them, or so many of every size."""
        if not round_.lying_server:
            raise SkipTest("the protocol claims nothing against a server that lies (Round.lying_server)")
        if len(self.cohort) - 1 < round_.threshold:
            raise SkipTest("the threshold is the whole cohort: there is no second set of survivors to lie with")
        if not round_.after_update():
            return iter((frozenset(self.cohort),))
        honest = self.cohort[: len(self.cohort) - self.colluders]
        each = max(1, _MOST_SPLITS // (len(honest) + 1))
        return (
            frozenset(told)
            for count in range(len(honest) + 1)
            for told in itertools.islice(itertools.combinations(honest, count), each)
        )


def _lies(play: Play, stage: str, client: ClientId) -> dict[str, bytes]:
    forge, request = play.round.forge, play.server.requests().get(client)
    return dict(forge(stage, client, request)) if forge and request is not None else {}
