"""Tokenizers: byte-level BPE trained on public text, or the one of a given model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from securefed.errors import ConfigError
from securefed.llm.runtime import quiet

__all__ = ["END", "PAD", "end_id", "load_tokenizer", "pad_id", "train_tokenizer"]

END = "<|endoftext|>"
"""Ends every document; stands for the start of text as well."""

PAD = "<|pad|>"


def train_tokenizer(texts: Sequence[str], vocabulary: int = 1024) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with END as bos and eos, and PAD. Any text survives encoding and decoding.

    Args:
        texts: public text: the vocabulary shows pieces of what it was trained on.
        vocabulary: number of tokens, at least 258 (256 bytes and 2 specials); fewer come out where the text
            is short.

    Raises:
        ConfigError: there is no text, or the vocabulary is too small.
    """
    if vocabulary < 258:
        raise ConfigError("model.vocabulary", f"{vocabulary} is below 258: 256 bytes and 2 special tokens")
    if not any(texts):
        raise ConfigError("data", "no public text to train a tokenizer on")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Args:
        source: a directory (nothing else is then looked at: no network) or a hub id.

    Raises:
        ConfigError: there is none, or it has no end-of-text token.
    """
    local = Path(source).is_dir()
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                str(source), local_files_only=local, trust_remote_code=False, use_fast=True
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("model.base", f"no tokenizer at {source}: {_first_line(error)}") from error
    end_id(tokenizer)
    return tokenizer


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that ends a document.

    Raises:
        ConfigError: the tokenizer has none.
    """
    for name in ("eos_token_id", "sep_token_id", "bos_token_id"):
        token = getattr(tokenizer, name)
        if token is not None:
            return int(token)
    raise ConfigError("model.base", "the tokenizer has no end-of-text token (eos, sep or bos)")


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id that fills a block: eos where there is no pad. Padding is masked by position, so either will do."""
    return end_id(tokenizer) if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
