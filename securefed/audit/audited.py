"""What all properties share: the rounds that they ask the adapter for, and how a property fails or is skipped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from unittest import SkipTest

import numpy as np
import numpy.typing as npt

from securefed.audit.round import ClientId, Contribution, Play, Round, Sum

__all__ = ["Audited", "PropertyViolated", "claim", "not_as_told", "not_exact"]


class PropertyViolated(AssertionError):
    """The protocol under audit does not have the property."""


def claim(holds: object, otherwise: str) -> None:
    """Fail the property unless this holds.

    Raises:
        PropertyViolated: with what was found instead.
    """
    if not holds:
        raise PropertyViolated(otherwise)


def not_exact(round_: Round, result: Sum | None, survivors: Collection[ClientId]) -> str | None:
    """What is wrong with a result that should be the exact sum over these survivors; None where nothing is."""
    if result is None:
        return f"there is no sum over {sorted(survivors)}"
    if list(result.survivors) != sorted(survivors):
        return f"the sum is said to be over {list(result.survivors)}, it should be over {sorted(survivors)}"
    found, expected = result.words.tolist(), round_.plain_sum(result.survivors)
    if found == expected:
        return None
    if len(found) != len(expected):
        return f"the sum has {len(found)} integers, the vectors have {len(expected)}"
    wrong = [at for at, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
    return f"{len(wrong)} of {len(expected)} integers of the sum are wrong, the first at {wrong[0]}"


def not_as_told(play: Play, drops: Mapping[ClientId, str], survivors: Collection[ClientId]) -> str | None:
    """Play on to the end with these clients silent: what is wrong with the result; None where nothing is."""
    result = play.finish(drops)
    if not play.round.gives_up(drops):
        return not_exact(play.round, result, survivors)
    if result is not None or play.aborted is None:
        return "the round was not aborted, and lacks a client that it cannot do without"
    return None


class Audited:
    """Base of the property classes.

    Attributes:
        cohort: client ids of the rounds that the suite asks for, ascending; at least 3.
        parameters: length of the float vectors, but for `many_parameters`.
        many_parameters: length of them where statistics are taken of an upload.
        clip: values lie in [−clip, clip].
        greatest_weight: weights lie in 1 … this; 1 for a protocol without weights.
        seed: of the suite's own choices.
    """

    cohort: tuple[ClientId, ...] = (1, 2, 3, 4, 5)
    parameters: int = 24
    many_parameters: int = 3000
    clip: float = 1.0
    greatest_weight: int = 100
    seed: int = 0

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        """A new round of the protocol under audit: to be written by whoever audits one.

        Fresh in all that the protocol draws (keys, nonces, seeds), for these contributions by client.
        """
        raise NotImplementedError("say how a round of your protocol is made: see docs/how-to/audit-your-aggregation.md")

    def contributions(self, *, parameters: int | None = None, seed: int = 0) -> dict[ClientId, Contribution]:
        """Something else for each client."""
        generator = np.random.default_rng((self.seed, seed))
        return {
            client: Contribution(
                generator.uniform(-self.clip, self.clip, parameters or self.parameters),
                int(generator.integers(1, self.greatest_weight + 1)),
                float(generator.normal()),
            )
            for client in self.cohort
        }

    def everyone(self, value: float, weight: int, *, parameters: int | None = None) -> dict[ClientId, Contribution]:
        """The same vector of one value for each client."""
        values: npt.NDArray[np.float64] = np.full(parameters or self.parameters, value)
        return {client: Contribution(values, weight, 0.0) for client in self.cohort}

    def new_play(self, seed: int = 0) -> Play:
        """A round over something else for each client."""
        return Play(self.make_round(self.contributions(seed=seed)))

    def needs_an_exact_sum(self) -> Round:
        """Skip a property that says nothing where the plain, undisturbed sum is wrong already."""
        play = self.new_play()
        problem = not_exact(play.round, play.finish(), self.cohort)
        if problem is not None:
            raise SkipTest(f"says nothing unless test_the_sum_is_exact holds: {problem}")
        return play.round

    def needs(self, hook: str) -> Round:
        """Skip a property for which the adapter lacks a hook."""
        round_ = self.make_round(self.contributions())
        if getattr(round_, hook) is None:
            raise SkipTest(f"needs the hook Round.{hook}")
        return round_

    def one_contribution(self, contributions: Mapping[ClientId, Contribution], only: Contribution) -> Play:
        """A new round in which the first client contributes something else."""
        return Play(self.make_round({**contributions, self.cohort[0]: only}))

    @classmethod
    def properties(cls) -> dict[str, Callable[[Audited], None]]:
        """All properties by name, in the order in which they are written."""
        found: dict[str, Callable[[Audited], None]] = {}
        for base in reversed(cls.__mro__):
            found |= {name: value for name, value in vars(base).items() if name.startswith("test_")}
        return found
