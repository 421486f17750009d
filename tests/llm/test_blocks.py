"""Tokenizers, and texts to token blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from securefed.errors import ConfigError
from securefed.llm.blocks import IGNORED, Blocks, pack, spread, tokens_of
from securefed.llm.tokenizer import END, PAD, end_id, load_tokenizer, pad_id, train_tokenizer

TEXTS = ("def f(x):\n    return x + 1\n", "import this\n\n\nclass A:\n\tpass\n", "def g(y):\n    return y\n") * 3


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 300)


@pytest.fixture(scope="module")
def without_pad() -> PreTrainedTokenizerFast:
    """As that of many models: pad is eos."""
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@pytest.mark.parametrize(
    "text", [TEXTS[0], " leading, trailing \n\n", "tabs\t\r\n", "naïve σ 漢字 🙂", "\x00\x7f", "a . b , c 's"]
)
def test_any_text_survives(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_vocabulary_is_of_the_asked_size_and_the_same_each_time(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(train_tokenizer(("abcdefg hijklmn " * 50, "the cat sat on the mat " * 50), 270)) == 270
    assert train_tokenizer(TEXTS, 300).get_vocab() == tokenizer.get_vocab()
    assert tokenizer.eos_token == tokenizer.bos_token == END
    assert tokenizer.pad_token == PAD
    assert len({tokenizer.eos_token_id, tokenizer.pad_token_id}) == 2


def test_a_tokenizer_comes_back_from_its_directory(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(str(tmp_path))
    again = load_tokenizer(tmp_path)
    assert np.array_equal(tokens_of(TEXTS, again), tokens_of(TEXTS, tokenizer))
    assert (end_id(again), pad_id(again)) == (end_id(tokenizer), pad_id(tokenizer))


def test_impossible_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="below 258"):
        train_tokenizer(TEXTS, 257)
    with pytest.raises(ConfigError, match="no public text"):
        train_tokenizer(("",), 300)
    with pytest.raises(ConfigError, match=r"model\.base: no tokenizer"):
        load_tokenizer(tmp_path)


def test_every_document_ends_with_the_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = tokens_of(("ab", "", "cd"), tokenizer)
    end = end_id(tokenizer)
    assert stream.dtype == np.int64
    assert stream.tolist() == [*tokenizer("ab")["input_ids"], end, end, *tokenizer("cd")["input_ids"], end]
    assert tokens_of((), tokenizer).shape == (0,)


def test_a_text_that_spells_the_end_token_does_not_end_a_document(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = tokens_of((f"a {END} b",), tokenizer)
    assert np.count_nonzero(stream == end_id(tokenizer)) == 1
    assert tokenizer.decode(stream[:-1]) == f"a {END} b"


def test_blocks_hold_the_stream_and_mask_the_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = tokens_of(TEXTS, tokenizer)
    blocks = pack(TEXTS, tokenizer, 16)
    rest = len(stream) % 16
    assert rest not in (0, 1)  # else this tests less than it says
    assert blocks.tokens.dtype == blocks.labels.dtype == np.int64
    assert blocks.tokens.shape == blocks.labels.shape == (len(stream) // 16 + 1, 16)
    assert np.array_equal(blocks.tokens.ravel()[: len(stream)], stream)
    assert np.array_equal(blocks.labels.ravel()[: len(stream)], stream)
    assert (blocks.labels.ravel()[len(stream) :] == IGNORED).all()
    assert (blocks.tokens.ravel()[len(stream) :] == tokenizer.pad_token_id).all()
    assert blocks.targets == len(stream) - blocks.examples


def test_padding_is_masked_where_pad_is_eos_and_the_true_end_is_not(without_pad: PreTrainedTokenizerFast) -> None:
    end = end_id(without_pad)
    assert pad_id(without_pad) == end
    blocks = pack(("ab", "cd"), without_pad, 64)
    length = len(tokens_of(("ab", "cd"), without_pad))
    assert (blocks.tokens[0, length:] == end).all()
    assert (blocks.labels[0, length:] == IGNORED).all()
    assert np.count_nonzero(blocks.labels == end) == 2
    assert blocks.targets == length - 1


def test_a_cap_keeps_the_first_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    whole, capped = pack(TEXTS, tokenizer, 8), pack(TEXTS, tokenizer, 8, most_tokens=20)
    assert capped.tokens.shape == (3, 8)
    assert np.array_equal(capped.tokens.ravel()[:20], whole.tokens.ravel()[:20])
    assert np.count_nonzero(capped.labels != IGNORED) == 20


def test_a_single_token_left_over_is_dropped(tokenizer: PreTrainedTokenizerFast) -> None:
    assert pack(TEXTS, tokenizer, 8, most_tokens=17).tokens.shape == (2, 8)
    assert pack((), tokenizer, 8).tokens.shape == (0, 8)
    assert pack((), tokenizer, 8).targets == 0


def test_blocks_are_spread_evenly() -> None:
    tokens = np.arange(40).reshape(10, 4)
    blocks = Blocks(tokens, tokens)
    assert spread(blocks, 17).tokens[:, 0].tolist() == [0, 8, 20, 28]
    assert spread(blocks, 1).examples == 1
    assert np.array_equal(spread(blocks, 10**6).tokens, tokens)
    assert spread(Blocks(tokens[:0], tokens[:0]), 8).examples == 0


def test_impossible_blocks_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match=r"model\.context"):
        pack(TEXTS, tokenizer, 1)
    with pytest.raises(ConfigError, match=r"data\.tokens_per_client"):
        pack(TEXTS, tokenizer, 8, most_tokens=1)
    with pytest.raises(ValueError, match="same"):
        Blocks(np.zeros((2, 3), np.int64), np.zeros((2, 4), np.int64))
