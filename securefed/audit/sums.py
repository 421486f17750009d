"""Properties of the result: exact, over the survivors, whoever drops out when, in whatever order answers come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import cycle
from unittest import SkipTest

import numpy as np

from securefed.audit.audited import Audited, claim, not_as_told, not_exact
from securefed.audit.round import ClientId, Contribution, Play, Round

__all__ = ["SumProperties"]


class SumProperties(Audited):
    """What the server gets."""

    def test_the_sum_is_exact(self) -> None:
        """Without a fault, the sum is the plain integer sum of all vectors to the last bit: random ones, zeros, the
        greatest and the smallest values, the greatest weight."""
        for name, contributions in self._inputs():
            play = Play(self.make_round(contributions))
            problem = not_exact(play.round, play.finish(), self.cohort)
            claim(problem is None, f"{name}: {problem}{_why(play)}")

    def _inputs(self) -> Iterator[tuple[str, Mapping[ClientId, Contribution]]]:
        yield "random vectors", self.contributions()
        for value in (0.0, self.clip, -self.clip):
            for weight in sorted({1, self.greatest_weight}):
                yield f"everyone {value:g} with weight {weight}", self.everyone(value, weight)
        one = self.everyone(0.0, 1)
        alone = Contribution(np.full(self.parameters, self.clip), self.greatest_weight, 1.0)
        yield "one greatest among zeros", {**one, self.cohort[-1]: alone}

    def test_dropouts_down_to_the_threshold_are_survived(self) -> None:
        """Whoever falls silent at whatever stage: while as many as the threshold are left, the round ends with the
        exact sum of exactly those whose updates had arrived, or without one where the protocol gives it up."""
        round_ = self.needs_an_exact_sum()
        spare = len(self.cohort) - round_.threshold
        if spare == 0:
            raise SkipTest("the threshold is the whole cohort: no dropout is meant to be survived")
        for drops in _patterns(round_, spare):
            play = self.new_play()
            last = round_.stages.index(round_.update_stage)
            survivors = [c for c in self.cohort if c not in drops or round_.stages.index(drops[c]) > last]
            problem = not_as_told(play, drops, survivors)
            claim(problem is None, f"{_told(drops)}: {problem}{_why(play)}")

    def test_too_few_left_aborts(self) -> None:
        """With one less than the threshold at any stage, the server says that the round is aborted, and has no sum."""
        round_ = self.needs_an_exact_sum()
        lost = len(self.cohort) - round_.threshold + 1
        for at, stage in enumerate(round_.stages):
            for who in (self.cohort[:lost], self.cohort[-lost:]):
                play = self.new_play()
                result = play.finish(dict.fromkeys(who, stage))
                asked = {client for later in round_.stages[at:] for client in play.requests.get(later, {})}
                if asked.isdisjoint(who):
                    continue  # nothing was wanted of those who are silent
                told = _told(dict.fromkeys(who, stage))
                claim(result is None, f"{told}: a sum with fewer answers than the threshold of {round_.threshold}")
                claim(play.aborted is not None, f"{told}: no sum, and nobody is told that the round was aborted")

    def test_the_order_of_answers_does_not_matter(self) -> None:
        """The same sum to the last bit, in whatever order the answers of each stage come."""
        self.needs_an_exact_sum()
        generator = np.random.default_rng(self.seed)
        orders = [self.cohort[::-1], *(tuple(generator.permutation(self.cohort).tolist()) for _ in range(5))]
        for order in orders:
            play = self.new_play()
            problem = not_exact(play.round, play.finish(order=order), self.cohort)
            claim(problem is None, f"answers in the order {list(order)}: {problem}{_why(play)}")


def _patterns(round_: Round, spare: int) -> Iterator[dict[ClientId, str]]:
    """Each client alone at each stage; then as many as may, at one stage and one stage after the other."""
    for stage in round_.stages:
        for client in round_.cohort:
            yield {client: stage}
        if spare > 1:
            yield dict.fromkeys(round_.cohort[:spare], stage)
            yield dict.fromkeys(round_.cohort[-spare:], stage)
    if spare > 1:
        yield dict(zip(round_.cohort[:spare], cycle(round_.stages), strict=False))


def _told(drops: Mapping[ClientId, str]) -> str:
    return "silent from " + ", ".join(f"{stage} on: {client}" for client, stage in drops.items())


def _why(play: Play) -> str:
    reasons = ([str(play.aborted)] if play.aborted is not None else []) + play.refused
    return f" ({'; '.join(reasons[:3])})" if reasons else ""
