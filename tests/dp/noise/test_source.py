"""The source: the specified stream, each word once, and no key in sight."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.notation import KDF, stream
from protocols.vector_files import seed
from securefed.crypto.kdf import Label
from securefed.dp.noise import Source
from securefed.errors import ConfigError
from tests.rules import refused

SEGMENT = 4 * 2**20


@given(
    requests=st.lists(
        st.tuples(st.integers(0, 3000) | st.integers(0, 40_000), st.sampled_from(["<u1", "<u2", "<u4", "<u8"])),
        max_size=12,
    )
)
@settings(max_examples=25)
def test_requests_of_any_sizes_read_the_stream_in_order(requests: list[tuple[int, str]]) -> None:
    source, key = Source(seed("source")), seed("source")
    given = [source.words(size, dtype) for size, dtype in requests]
    assert [(len(words), words.dtype) for words in given] == [(size, np.dtype(dtype)) for size, dtype in requests]
    read = b"".join(words.tobytes() for words in given)
    assert read == stream(key, len(read))


@pytest.mark.parametrize("before", [0, 5, 16384, SEGMENT - 16384, SEGMENT - 8])
def test_across_segments(before: int) -> None:
    source = Source(seed("segments"))
    source.words(before, "<u1")
    read = source.words(SEGMENT // 8, "<u8").tobytes()
    for at in (0, SEGMENT - before - 64, SEGMENT - 64):
        start = max(0, min(at, SEGMENT - 128))
        assert read[start : start + 128] == stream(seed("segments"), 128, before + start)


def test_words_belong_to_the_caller() -> None:
    source = Source(seed("mine"))
    first = source.words(10)
    kept = first.copy()
    source.words(10)[:] = 0
    first[:] = 0
    again = Source(seed("mine"))
    assert np.array_equal(again.words(10), kept)


def test_fresh_sources_differ() -> None:
    assert not np.array_equal(Source.fresh().words(4), Source.fresh().words(4))


def test_derived_sources_are_bound_to_label_and_context() -> None:
    secret = seed("secret")
    words = {
        (label, context): Source.derived(secret, label, context).words(4).tobytes()
        for label in (Label.DP_NOISE, Label.DP_SAMPLING, Label.DP_ROUNDING, Label.DP_ROTATION)
        for context in (b"\x00", b"\x01")
    }
    assert len(set(words.values())) == len(words)
    for (label, context), read in words.items():
        assert read == stream(KDF(secret, label.value, context), 32)


def test_no_key_is_shown() -> None:
    key = seed("shown")
    source = Source(key)
    source.words(3, "<u2")
    shown = repr(source)
    assert shown == "Source(6 bytes used)"
    assert key.hex() not in shown


@pytest.mark.rule("N2")
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_source_is_not_copied(copied: object) -> None:
    with refused("N2"):
        copied(Source.fresh())  # type: ignore[operator]


@pytest.mark.rule("N2")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork here")
def test_a_forked_process_does_not_repeat_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source.fresh()
    source.words(1)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as a child sees itself
    with refused("N2"):
        source.words(1)


@pytest.mark.parametrize(("size", "dtype"), [(-1, "<u8"), (1, "<i8"), (1, ">u8"), (1, "<f8"), (1, "<u2,<u2")])
def test_other_words_are_refused(size: int, dtype: str) -> None:
    with pytest.raises(ConfigError, match="a source gives"):
        Source.fresh().words(size, dtype)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_keys_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(ConfigError, match=f"got {length}"):
        Source(bytes(length))
