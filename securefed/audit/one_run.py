"""A lower bound of ε from one training run (Steinke, Nasr, Jagielski 2023, arXiv 2305.08846).

Each of m canaries is put into the training or left out by a coin of its own. Afterwards an adversary scores every
canary and guesses, for the r canaries that it is surest of, which way the coin fell. Under (ε, δ)-DP more than
`e^ε/(1 + e^ε)` of the guesses are right only by luck, so many right guesses refute a claimed ε. The bound says what
this adversary could see and no more: a small one is no proof of privacy.

Neighbours are data sets with and without one canary (add or remove, or its record zeroed out: what is left out must
change nothing else), and all canaries must be in distinct records of the privacy unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.dp.noise.source import Source

__all__ = ["OneRun", "Outcome", "epsilon_lower_bound", "guess", "p_value"]

GREATEST: Final = 64.0
"""No number of canaries that fits into a training run refutes an ε of this size."""
_HALVINGS: Final = 60


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """How likely so many right guesses are at most, where the training is (ε, δ)-DP: theorem 5.2 and appendix D.

    With `W ~ Binomial(r, 1/(1 + e^−ε))`:
    `P[W ≥ v] + 2·m·δ·max_{i = 1 … v} P[v > W ≥ v − i] / i`, and 1 where that is more.

    Args:
        canaries: m, each of which was put in with probability 1/2.
        guesses: r, for how many a guess was made; their number must not depend on the coins.
        correct: v, how many guesses were right.
        epsilon: ε ≥ 0 of the claim.
        delta: δ of the claim, 0 … 1.

    Returns:
        A probability.

    Raises:
        ValueError: numbers that do not belong together.
    """
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(f"{correct} right of {guesses} guesses for {canaries} canaries")
    if not (epsilon >= 0 and 0 <= delta <= 1):
        raise ValueError(f"ε = {epsilon}, δ = {delta}: ε ≥ 0 and 0 ≤ δ ≤ 1 are needed")
    mass = _binomial(guesses, epsilon)
    tail = float(mass[correct:].sum())
    below = np.cumsum(mass[:correct][::-1])
    slack = float(np.max(below / np.arange(1, correct + 1), initial=0.0))
    return min(1.0, tail + 2.0 * canaries * delta * slack)


def epsilon_lower_bound(canaries: int, guesses: int, correct: int, delta: float, false_alarm: float = 0.05) -> float:
    """The greatest ε that the guesses refute: the true one is below it with probability `false_alarm` at most.

    Args:
        canaries, guesses, correct, delta: as in `p_value`.
        false_alarm: β, in (0, 1).

    Returns:
        A lower bound of ε at this δ, 0 where nothing is refuted.

    Raises:
        ValueError: as in `p_value`.
    """
    if not 0 < false_alarm < 1:
        raise ValueError(f"a false-alarm rate of {false_alarm} is not in (0, 1)")

    def refuted(epsilon: float) -> bool:
        return p_value(canaries, guesses, correct, epsilon, delta) <= false_alarm

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, GREATEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def guess(scores: npt.NDArray[np.floating], guesses: int) -> npt.NDArray[np.int8]:
    """ "In" for the half of the guesses with the greatest scores, "out" for the half with the least, else no guess.

    Args:
        scores: [m]; the greater, the more likely is the canary in.
        guesses: r, chosen before the coins are looked at.

    Returns:
        int8 [m]: 1 in, −1 out, 0 no guess.

    Raises:
        ValueError: more guesses than canaries, or a score that is not a number.
    """
    if not 0 <= guesses <= len(scores):
        raise ValueError(f"{guesses} guesses for {len(scores)} canaries")
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    order = np.argsort(scores, kind="stable")
    made = np.zeros(len(scores), np.int8)
    made[order[: guesses // 2]] = -1
    made[order[len(scores) - (guesses - guesses // 2) :]] = 1
    return made


@dataclass(frozen=True)
class Outcome:
    """What the adversary achieved.

    Attributes:
        canaries, guesses, correct: m, r, v.
        delta: at which ε is bounded.
    """

    canaries: int
    guesses: int
    correct: int
    delta: float

    def lower_bound(self, false_alarm: float = 0.05) -> float:
        """See `epsilon_lower_bound`."""
        return epsilon_lower_bound(self.canaries, self.guesses, self.correct, self.delta, false_alarm)

    def refutes(self, epsilon: float, false_alarm: float = 0.05) -> bool:
        """Whether a claim of (ε, δ) is refuted: a true one is with probability `false_alarm` at most."""
        return p_value(self.canaries, self.guesses, self.correct, epsilon, self.delta) <= false_alarm


class OneRun:
    """The coins of one audit.

    Train on the canaries for which `included` is true, score all of them, and call `outcome` once.

    Args:
        canaries: m.
        source: of the coins; by default a fresh one from the operating system.
    """

    def __init__(self, canaries: int, source: Source | None = None) -> None:
        self.included: npt.NDArray[np.bool_] = (source or Source.fresh()).words(canaries, "<u1") >= 128
        self._scored = False

    def outcome(self, scores: npt.NDArray[np.floating], guesses: int, delta: float) -> Outcome:
        """Guess from the scores, and compare with the coins.

        Args:
            scores: [m], computed without the coins.
            guesses: r, chosen before the training; the best of several r is no valid bound.
            delta: at which ε is to be bounded; the term 2·m·δ of the bound is of use where δ is far below 1/m.

        Raises:
            ValueError: another number of scores; a second call, which would choose the better of two.
        """
        if len(scores) != len(self.included):
            raise ValueError(f"{len(scores)} scores for {len(self.included)} canaries")
        if self._scored:
            raise ValueError("the coins were used: a second try needs a new run")
        self._scored = True
        made = guess(scores, guesses)
        right = np.count_nonzero(made == np.where(self.included, 1, -1))
        return Outcome(len(scores), guesses, int(right), delta)


def _binomial(trials: int, epsilon: float) -> npt.NDArray[np.float64]:
    """Probabilities of 0 … r successes, each with probability 1/(1 + e^−ε)."""
    successes = np.arange(trials + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    ways = factorials[-1] - factorials - factorials[::-1]
    right, wrong = -math.log1p(math.exp(-epsilon)), -epsilon - math.log1p(math.exp(-epsilon))
    mass: npt.NDArray[np.float64] = np.exp(ways + successes * right + (trials - successes) * wrong)
    return mass
