"""How much of a client's text an attack on its update found, against what guessing gives."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securefed.audit.leakage.intervals import Interval, Proportion, checked_confidence, mean_interval
from securefed.audit.leakage.measured import Figure, Sees
from securefed.audit.leakage.ranking import auc, midranks
from securefed.errors import ConfigError

__all__ = ["TokenRecovery", "token_recovery"]


@dataclass(frozen=True)
class TokenRecovery:
    """What an attack found of one or several updates, counted over different tokens of each.

    Attributes:
        attack: its name.
        updates: how many were attacked.
        precision: share of the tokens found that were there; None where nothing was found.
        recall: share of the tokens that were there that were found.
        chance: the precision of guessing, the share of the vocabulary that was there.
        p_value: how likely so many right ones are for as many guesses, exactly (hypergeometric).
        decoys: share of the tokens of other texts of the same kind, that were not there, that were found all the same:
            to be held against `recall`; None where no other texts were given.
        area: probability that a token that was there is scored above one that was not (of the other text, where one was
            given), in the mean over updates; None where there were no scores.
        texts: share of the texts that were found whole, to the last token that left a trace; None where texts were not
            looked for.
        sees: what the adversary has.
    """

    attack: str
    updates: int
    precision: Proportion | None
    recall: Proportion
    chance: float
    p_value: float
    decoys: Proportion | None
    area: Interval | None
    texts: Proportion | None
    sees: Sees = Sees.UPLOAD

    def figures(self) -> tuple[Figure, ...]:
        """Whole texts, recall, precision and the order of all tokens."""
        shares: tuple[tuple[str, Proportion | None, float | None], ...] = (
            ("texts found whole", self.texts, 0.0),
            ("tokens found (recall)", self.recall, None),
            ("tokens of another text found", self.decoys, None),
            ("found tokens that are right (precision)", self.precision, self.chance),
        )
        figures = [
            Figure(name, share.value, share.low, share.high, share.confidence, "share", chance)
            for name, share, chance in shares
            if share is not None
        ]
        if self.area is not None:
            area, other = self.area, "one that is not" if self.decoys is None else "one of another text"
            name = f"a token of the text above {other}"
            figures.append(Figure(name, area.value, area.low, area.high, area.confidence, "share", 0.5))
        return tuple(figures)


def token_recovery(
    found: Sequence[Collection[int]],
    present: Sequence[Collection[int]],
    vocabulary: int,
    *,
    scores: Sequence[npt.ArrayLike] | None = None,
    others: Sequence[Collection[int]] | None = None,
    texts: Sequence[tuple[Collection[tuple[int, ...]], Collection[tuple[int, ...]]]] | None = None,
    confidence: float = 0.95,
    attack: str = "token reconstruction (DAGER, Petrov et al. 2024)",
    sees: Sees = Sees.UPLOAD,
) -> TokenRecovery:
    """Hold what was found against the truth.

    The intervals of shares take tokens for independent trials, and so does that of the order where it is of one update.
    But tokens of one text stand or fall together: attack five updates or more, and believe the order's interval, which
    is then over updates.

    Args:
        found: for each update, the tokens that the attack named.
        present: for each, the tokens that were there: inputs, so without a last token that is only a label.
        vocabulary: how many tokens there are.
        scores: for each update [vocabulary], greater for likelier tokens.
        others: for each update, the tokens of a text that might as well have been trained on, drawn in the same way.
            With real language this is needed: frequent tokens can be guessed from the model alone, and chance is a half
            only between two texts that differ in nothing but which was used.
        texts: for each update, the texts found and the true ones, as tuples of tokens.
        confidence: of every interval.
        attack: its name.
        sees: what the adversary has.

    Raises:
        ConfigError: no update, numbers of updates that differ, no token present, or a token outside the vocabulary.
    """
    checked_confidence(confidence)
    if not found or len(found) != len(present):
        raise ConfigError("leakage", f"{len(found)} updates were attacked, the truth is known of {len(present)}")
    named, true = [set(map(int, one)) for one in found], [set(map(int, one)) for one in present]
    everything = set().union(*named, *true)
    if not all(true) or min(everything) < 0 or max(everything) >= vocabulary:
        raise ConfigError("leakage", f"every update needs tokens, and all of them in 0 … {vocabulary - 1}")
    decoys = None if others is None else [set(map(int, other)) - own for other, own in zip(others, true, strict=True)]
    if decoys is not None and not all(decoys):
        raise ConfigError("leakage", "every other text needs tokens that the attacked one has not")
    right = sum(len(a & b) for a, b in zip(named, true, strict=True))
    guesses, there = sum(map(len, named)), sum(map(len, true))
    pairs = list(zip(named, true, strict=True))
    whole = None
    if texts is not None:
        hits = sum(len(set(a) & set(b)) for a, b in texts)
        whole = Proportion(hits, sum(len(set(b)) for _, b in texts), confidence)
    return TokenRecovery(
        attack=attack,
        updates=len(named),
        precision=Proportion(right, guesses, confidence) if guesses else None,
        recall=Proportion(right, there, confidence),
        chance=there / (vocabulary * len(true)),
        p_value=_p_value([(len(a), len(b)) for a, b in pairs], right, vocabulary),
        decoys=None if decoys is None else _share(named, decoys, confidence),
        area=None if scores is None else _area(scores, _pairs(true, others, vocabulary), vocabulary, confidence),
        texts=whole,
        sees=sees,
    )


def _share(named: list[set[int]], of: list[set[int]], confidence: float) -> Proportion:
    hits = sum(len(a & b) for a, b in zip(named, of, strict=True))
    return Proportion(hits, sum(map(len, of)), confidence)


def _pairs(
    true: list[set[int]], others: Sequence[Collection[int]] | None, vocabulary: int
) -> list[tuple[set[int], set[int]]]:
    """What is compared in each update: the tokens of one text only against those of the other only."""
    if others is None:
        return [(own, set(range(vocabulary)) - own) for own in true]
    both = [(own, set(map(int, other))) for own, other in zip(true, others, strict=True)]
    return [(own - other, other - own) for own, other in both]


def _area(
    scores: Sequence[npt.ArrayLike], pairs: list[tuple[set[int], set[int]]], vocabulary: int, confidence: float
) -> Interval:
    """Over updates, where there are several: the scores of one text go together. Those of two are not to be compared,
    so ranks within each take their place."""
    high, low = [], []
    for values, (own, other) in zip(scores, pairs, strict=True):
        one = np.asarray(values, np.float64)
        if one.shape != (vocabulary,):
            raise ConfigError("leakage", f"scores of the shape [{vocabulary}] are needed, not {one.shape}")
        if not own or not other:
            raise ConfigError("leakage", "every text needs a token that the one beside it has not")
        rank = midranks(one)
        high.append(rank[sorted(own)])
        low.append(rank[sorted(other)])
    each = [float((a[:, None] > b).mean() + (a[:, None] == b).mean() / 2) for a, b in zip(high, low, strict=True)]
    if min(each) == max(each):
        return auc(np.concatenate(high), np.concatenate(low), confidence)
    found = mean_interval(np.array(each), confidence)
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high), confidence)


def _p_value(sizes: list[tuple[int, int]], right: int, vocabulary: int) -> float:
    """P[at least so many right], where each update's guesses are a random set of their number."""
    mass = np.ones(1)
    for guesses, there in sizes:
        log = [
            _choose(there, hits) + _choose(vocabulary - there, guesses - hits) - _choose(vocabulary, guesses)
            for hits in range(min(guesses, there) + 1)
        ]
        mass = np.convolve(mass, np.exp(log))
    return min(1.0, float(mass[right:].sum()))


def _choose(n: int, k: int) -> float:
    """ln of n over k."""
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
