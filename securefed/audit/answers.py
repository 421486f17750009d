"""Properties of single messages: each is answered once and counted once, and only in its own round."""

from __future__ import annotations

from unittest import SkipTest

import numpy as np

from securefed.audit.audited import Audited, claim, not_as_told, not_exact
from securefed.audit.round import Contribution, Play

__all__ = ["AnswerProperties"]


class AnswerProperties(Audited):
    """Repeated, replayed, forged and late messages."""

    def test_a_second_answer_changes_nothing(self) -> None:
        """Every client answers every stage again: the same bytes, one bit of them changed, another client's answer, its
        own of the stage before. The sum is exact all the same."""
        self.needs_an_exact_sum()
        for what in ("the same", "with a bit changed", "another client's", "of the stage before"):
            play = self.new_play()
            before: dict[int, bytes] = {}
            while (stage := play.stage) is not None:
                play.answer()
                sent = play.replies[stage]
                for client, reply in sent.items():
                    second = {
                        "the same": reply,
                        "with a bit changed": _flipped(reply),
                        "another client's": sent[min(sent.keys() - {client}, default=client)],
                        "of the stage before": before.get(client, reply),
                    }[what]
                    play.hand_in(client, second)
                before = dict(sent)
                play.advance()
            problem = not_exact(play.round, play.result, self.cohort)
            claim(problem is None, f"a second answer, {what}: {problem}")

    def test_a_repeated_request_gets_no_second_answer(self) -> None:
        """A client that is asked the same thing again, in the same stage or in the next, refuses."""
        round_ = self.needs_an_exact_sum()
        victim = self.cohort[0]
        for later in (0, 1):
            for stage in round_.stages[: len(round_.stages) - later]:
                play = self.new_play().until(stage)
                play.answer()
                request = play.requests[stage][victim]
                if later:
                    play.advance()
                refused = play.refuses(victim, request)
                claim(refused, f"{stage}: asked again{' a stage later' if later else ''}, the client answers again")

    def test_messages_of_another_round_are_refused(self) -> None:
        """A request of another round of the same parties is refused; an answer out of another round is not counted:
        the round ends as if that client had fallen silent."""
        round_ = self.needs_an_exact_sum()
        victim, others = self.cohort[0], self.cohort[1:]
        for stage in round_.stages:
            survivors = self.cohort if stage in round_.after_update() else others
            if not_as_told(self.new_play(), {victim: stage}, survivors) is not None:
                raise SkipTest("says nothing unless test_dropouts_down_to_the_threshold_are_survived holds")
            play, other = self.new_play().until(stage), self.new_play(seed=1).until(stage)
            other.answer()
            if stage != round_.stages[0]:  # a first request of another round is an offer like any other
                refused = play.refuses(victim, other.requests[stage][victim])
                claim(refused, f"{stage}: the client answers a request of another round")
            play = self.new_play().until(stage)
            play.hand_in(victim, other.replies[stage][victim])
            problem = not_as_told(play, {victim: stage}, survivors)
            claim(problem is None, f"{stage}: with an answer out of another round, {problem}")

    def test_forged_requests_are_refused(self) -> None:
        """Each request that the adapter's `forge` makes in place of an honest one is refused by the client."""
        round_ = self.needs("forge")
        victim, told = self.cohort[0], 0
        for stage in round_.stages:
            for lie in _lies(self.new_play().until(stage), stage, victim):
                play = self.new_play().until(stage)
                told += 1
                refused = play.refuses(victim, _lies(play, stage, victim)[lie])
                claim(refused, f"{stage}: the client answers a forged request: {lie}")
        if not told:
            raise SkipTest("Round.forge makes no lie for any stage")

    def test_a_vector_that_is_not_finite_is_refused(self) -> None:
        """A client whose own vector holds a NaN or an infinity says so instead of sending it."""
        others = self.contributions()
        for value in (np.nan, np.inf, -np.inf):
            values = others[self.cohort[0]].values.copy()
            values[-1] = value
            play = self.one_contribution(others, Contribution(values, 1, 0.0))
            play.until(play.round.update_stage)
            refused = play.refuses(self.cohort[0], play.server.requests()[self.cohort[0]])
            claim(refused, f"the client sends a vector with {value}")

    def test_restarts_between_all_messages_change_nothing(self) -> None:
        """Every client and the server are stored and started again after every message: the sum is exact."""
        self.needs_an_exact_sum()
        self.needs("resume_client")
        self.needs("resume_server")
        play = self.new_play()
        while play.stage is not None:
            for client in self.cohort:
                play.answer(absent=[other for other in self.cohort if other != client])
                play.restart_client(client, play.snapshot(client))
                play.restart_server()
            play.advance()
            play.restart_server()
        problem = not_exact(play.round, play.result, self.cohort)
        claim(problem is None, f"with restarts: {problem}")

    def test_a_restarted_client_gives_no_other_answer(self) -> None:
        """A client that was stored before or after its answer and is started again: asked the same thing, it refuses
        or sends the very same bytes."""
        self.needs_an_exact_sum()
        round_ = self.needs("resume_client")
        victim = self.cohort[0]
        for stage in round_.stages:
            for when in ("before", "after"):
                play = self.new_play().until(stage)
                stored = play.snapshot(victim)
                play.answer()
                try:
                    play.restart_client(victim, stored if when == "before" else play.snapshot(victim))
                    again = play.ask(victim, play.requests[stage][victim])
                except round_.refusals:
                    continue
                same = again == play.replies[stage][victim]
                claim(same, f"{stage}: stored {when} its answer and restarted, the client gives another one")


def _flipped(message: bytes) -> bytes:
    """One bit in the middle the other way."""
    changed = bytearray(message)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def _lies(play: Play, stage: str, client: int) -> dict[str, bytes]:
    forge = play.round.forge
    request = play.server.requests().get(client)
    return dict(forge(stage, client, request)) if forge and request is not None else {}
