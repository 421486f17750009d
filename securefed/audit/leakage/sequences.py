"""From the spans of two layers to whole texts, for models whose layers look back only (DAGER, Petrov et al. 2024).

A first layer's input depends on one token (and its position), so each token is checked by itself. A second layer's
input depends on all tokens up to there, so a beginning that was in the batch goes on with the one token that lies on
the second span: texts grow token by token, without any guess at language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from securefed.audit.leakage import row_span
from securefed.audit.leakage.row_span import Evidence, on_span
from securefed.errors import ConfigError

__all__ = ["Decoder", "Recovered", "likeliest", "recover"]

Floats = npt.NDArray[np.float64]


class Decoder(Protocol):
    """The model that the client trained from, as the server knows it."""

    @property
    def positional(self) -> bool:
        """Whether the first layer's input depends on the position (GPT-2), or on the token alone (rotary ones)."""
        ...

    def first_inputs(self, position: int) -> Floats:
        """What the first attention layer's projections get for each token of the vocabulary there: [vocabulary, d]."""
        ...

    def second_inputs(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """What those of the second layer get at the last position of each beginning: [B, T] → [B, d]."""
        ...


@dataclass(frozen=True)
class Recovered:
    """What was found in one update.

    Attributes:
        tokens: ids at any position, in order.
        positions: for each position, the ids that may stand there; one entry for all where the model's first layer
            does not see positions.
        texts: token sequences from position 0 on, as far as they could be followed; a last token that is only a label
            leaves no trace in these layers.
        scores: [vocabulary]: greater is likelier, at any position; they tell something also where nothing is exact.
    """

    tokens: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]
    texts: tuple[tuple[int, ...], ...]
    scores: Floats


def recover(
    decoder: Decoder,
    first: Sequence[Evidence],
    second: Sequence[Evidence] = (),
    *,
    longest: int,
    most: int = 1000,
) -> Recovered:
    """Tokens from the first layer's evidence and, where there is some of the second, texts.

    Args:
        decoder: the model before the update.
        first: of the first attention layer's projections (queries, keys, values).
        second: of the second one's.
        longest: positions to look at, ≥ 1.
        most: beginnings to follow at a time; the likeliest are kept.

    With rotary positions a text that begins with one token twice looks like one that begins with it once for as long:
    such repetitions are left out where another text begins with the token.

    Returns:
        No tokens and no texts, only scores, where the update has full rank, such as a masked one.

    Raises:
        ConfigError: `longest` or `most` below 1.
    """
    if longest < 1 or most < 1:
        raise ConfigError("leakage", f"longest = {longest} and most = {most}: both must be 1 or more")
    everything = decoder.first_inputs(0)
    first = [one.among(everything) for one in first]
    if second:
        beginnings = decoder.second_inputs(np.arange(len(everything))[:, None])
        second = [one.among(beginnings) for one in second]
    found, scores = [], []
    for position in range(longest if decoder.positional else 1):
        inputs = decoder.first_inputs(position)
        scores.append(row_span.scores(first, inputs))
        found.append(np.flatnonzero(on_span(first, inputs)))
    positions = tuple(tuple(ids.tolist()) for ids in found)
    texts = _grow(decoder, found, second, longest, most) if second else ()
    return Recovered(tuple(sorted(set().union(*positions))), positions, texts, np.max(scores, axis=0))


def likeliest(scores: npt.ArrayLike, count: int) -> tuple[int, ...]:
    """The tokens with the greatest scores: for an adversary who knows about how many there are, where nothing is exact.

    Args:
        scores: [vocabulary].
        count: how many.

    Returns:
        Ids in order; none where all scores are the same.
    """
    values = np.asarray(scores, np.float64)
    if values.min() == values.max():
        return ()
    return tuple(sorted(np.argsort(-values, kind="stable")[:count].tolist()))


def _grow(
    decoder: Decoder,
    found: list[npt.NDArray[np.int64]],
    second: Sequence[Evidence],
    longest: int,
    most: int,
) -> tuple[tuple[int, ...], ...]:
    """Every beginning that cannot be continued, or has the greatest length."""
    open_ = np.empty((1, 0), np.int64)
    done: list[tuple[int, ...]] = []
    for position in range(longest):
        here = found[min(position, len(found) - 1)]
        if not len(here) or not len(open_):
            break
        further = np.concatenate([np.repeat(open_, len(here), axis=0), np.tile(here, len(open_))[:, None]], axis=1)
        inputs = decoder.second_inputs(further)
        fits = np.flatnonzero(on_span(second, inputs))
        fits = fits[np.argsort(-row_span.scores(second, inputs[fits]), kind="stable")[:most]]
        continued = set((fits // len(here)).tolist())
        done += [tuple(text) for number, text in enumerate(open_.tolist()) if text and number not in continued]
        open_ = further[fits]
    done += [tuple(text) for text in open_.tolist() if text]
    begun = {text[0] for text in done if len(set(text)) > 1}
    return tuple(sorted(text for text in done if len(set(text)) > 1 or text[0] not in begun))
