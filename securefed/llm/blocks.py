"""Texts to token blocks: what a model trains on and is measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from securefed.errors import ConfigError
from securefed.llm.tokenizer import end_id, pad_id

__all__ = ["IGNORED", "Blocks", "pack", "spread", "tokens_of"]

IGNORED = -100
"""Label of a position that is not to be predicted."""


@dataclass(frozen=True)
class Blocks:
    """Token blocks.

    Attributes:
        tokens: int64 [n, context].
        labels: int64 [n, context]: the token itself, IGNORED where there is padding. Not shifted: position i
            is predicted from the positions before it, so the first one of a block is never predicted.
    """

    tokens: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or self.tokens.shape != self.labels.shape:
            shapes = f"tokens {self.tokens.shape}, labels {self.labels.shape}"
            raise ValueError(f"{shapes}: both must be the same [n, context]")

    @property
    def examples(self) -> int:
        """Number of blocks."""
        return int(self.tokens.shape[0])

    @property
    def context(self) -> int:
        """Tokens a block."""
        return int(self.tokens.shape[1])

    @property
    def targets(self) -> int:
        """Number of tokens that are predicted."""
        return int(np.count_nonzero(self.labels[:, 1:] != IGNORED))


def tokens_of(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> npt.NDArray[np.int64]:
    """All texts as one stream of token ids, int64 [tokens], with the end-of-text token after each text.

    A special token that is spelled out in a text is text: no document can end another one's context.
    """
    end = end_id(tokenizer)
    stream: list[int] = []
    if texts:
        encoded = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
        for ids in encoded["input_ids"]:
            stream.extend(ids)
            stream.append(end)
    return np.asarray(stream, dtype=np.int64)


def pack(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    *,
    most_tokens: int | None = None,
) -> Blocks:
    """The texts in order, cut into blocks; the last one is filled up with padding that is not predicted.

    Args:
        texts: documents.
        tokenizer: of the model that will see the blocks.
        context: tokens a block, ≥ 2.
        most_tokens: tokens beyond the first so many are left out; all are used by default.

    Raises:
        ConfigError: `context` or `most_tokens` is below 2.
    """
    if context < 2:
        raise ConfigError("model.context", f"{context} is below 2: nothing could be predicted")
    if most_tokens is not None and most_tokens < 2:
        raise ConfigError("data.tokens_per_client", f"{most_tokens} is below 2")
    stream = tokens_of(texts, tokenizer)[:most_tokens]
    count, rest = divmod(len(stream), context)
    padding = 0
    if rest == 1:
        stream = stream[:-1]  # one token alone predicts nothing
    elif rest:
        count, padding = count + 1, context - rest
    tokens = np.concatenate([stream, np.full(padding, pad_id(tokenizer), dtype=np.int64)])
    labels = tokens.copy()
    # By position, not by id: in many models pad is eos, and a real eos must be learnt.
    labels[len(stream) :] = IGNORED
    return Blocks(tokens.reshape(count, context), labels.reshape(count, context))


def spread(blocks: Blocks, most_tokens: int) -> Blocks:
    """At most so many tokens' worth of whole blocks (at least one), evenly spaced over all of them, in order.

    For held-out text: a cut at the front would measure on the first document or two alone.
    """
    count = min(blocks.examples, max(1, most_tokens // blocks.context))
    rows = np.arange(count, dtype=np.int64) * blocks.examples // max(1, count)
    return Blocks(blocks.tokens[rows], blocks.labels[rows])
