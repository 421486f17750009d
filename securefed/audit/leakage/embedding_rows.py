"""Which rows of an embedding table an update changed: the tokens of the text (Melis et al. 2019, arXiv 1805.04049)."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.errors import ConfigError

__all__ = ["changed_rows", "row_strengths"]

Floats = npt.NDArray[np.float64]

LEAST_GAP: Final = 100.0
"""By what factor changed rows must stand out from those that only rounding has changed."""


def row_strengths(update: npt.ArrayLike, before: npt.ArrayLike | None = None) -> Floats:
    """How much each row changed in a way that is its own.

    Where the output layer shares the table, every row changes, those without a token nearly all in one direction: the
    median of the rows' directions, which is taken out. It is zero where most rows do not change at all.

    Args:
        update: [vocabulary, width]: new − old table.
        before: the old table, where the optimiser decays weights: then every row shrinks by one factor, which is found
            and taken out.

    Returns:
        [vocabulary], ≥ 0.

    Raises:
        ConfigError: not two axes, another shape, or something that is not a finite number.
    """
    change = np.asarray(update, np.float64)
    if change.ndim != 2 or not np.isfinite(change).all():
        raise ConfigError("leakage.update", f"a table of two axes and finite numbers is needed, not {change.shape}")
    if before is not None:
        old = np.asarray(before, np.float64)
        if old.shape != change.shape:
            raise ConfigError("leakage.update", f"the update is {change.shape}, the table before it {old.shape}")
        squares = (old**2).sum(axis=1)
        shrinks = (change * old).sum(axis=1)[squares > 0] / squares[squares > 0]
        change = change - (float(np.median(shrinks)) if len(shrinks) else 0.0) * old
    lengths = np.linalg.norm(change, axis=1, keepdims=True)
    common = np.median(change / np.where(lengths > 0, lengths, 1.0), axis=0)
    common /= np.linalg.norm(common) or 1.0
    strengths: Floats = np.linalg.norm(change - (change @ common)[:, None] * common, axis=1)
    return strengths


def changed_rows(update: npt.ArrayLike, before: npt.ArrayLike | None = None) -> npt.NDArray[np.int64]:
    """The tokens whose rows changed, where the others did not.

    The rows are cut where the strength falls by the greatest factor. With an output layer of its own, rows without a
    token do not change at all, and this is exact for any optimiser and number of steps. Where input and output share
    the table every row changes: take `likeliest(row_strengths(…), count)`, which finds tokens that are only labels too.

    Args:
        update, before: as in `row_strengths`.

    Returns:
        Token ids in order; none where no factor is `LEAST_GAP` or more, or half of the rows or more would stand out.

    Raises:
        ConfigError: as `row_strengths`.
    """
    strengths = row_strengths(update, before)
    order = np.argsort(-strengths, kind="stable")
    falling = strengths[order][: len(strengths) // 2 + 1]
    if not len(falling) or falling[0] == 0:
        return np.empty(0, np.int64)
    # What is this far below the strongest row is rounding of the decay.
    falling = np.maximum(falling, 1e-6 * falling[0])
    gaps = falling[:-1] / falling[1:]
    if not len(gaps) or gaps.max() < LEAST_GAP:
        return np.empty(0, np.int64)
    return np.sort(order[: int(np.argmax(gaps)) + 1])
