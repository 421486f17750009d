"""Coins: exactly as probable as asked for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.distributed_noise import samplers as reference
from protocols.vector_files import seed
from securefed.dp.noise import Source, bernoulli
from tests.dp.noise.fit import blamed
from tests.dp.noise.scripted import Scripted, StreamWords


@given(probability=st.fractions(0, 1) | st.floats(0, 1).map(Fraction), key=st.binary(min_size=32, max_size=32))
def test_same_as_the_reference(probability: Fraction, key: bytes) -> None:
    ours = bernoulli(Source(key), probability, 50).tolist()
    assert ours == reference.bernoulli(probability, 50, StreamWords(key))


@given(probability=st.fractions(0, 1) | st.floats(0, 1).map(Fraction), agreeing=st.integers(0, 3), data=st.data())
def test_same_as_the_reference_where_many_digits_agree(
    probability: Fraction, agreeing: int, data: st.DataObject
) -> None:
    words = []
    rest = probability
    for _ in range(agreeing):
        digit, rest = divmod(rest * 2**64, 1)
        words.append(min(int(digit), 2**64 - 1))
    near = min(max(int(rest * 2**64) + data.draw(st.integers(-2, 2)), 0), 2**64 - 1)
    script = b"".join(word.to_bytes(8, "little") for word in [*words, near, 3])
    ours: Any = Scripted(script)
    theirs = Scripted(script)
    expected = reference.bernoulli(probability, 1, lambda count, bits: theirs.words(count, f"<u{bits // 8}").tolist())
    assert bernoulli(ours, probability, 1).tolist() == expected
    assert ours.used == theirs.used


@pytest.mark.parametrize("probability", [Fraction(1, 3), 0.1, 1e-4, Fraction(999, 1000)])
def test_frequencies(probability: Any) -> None:
    size, p = 2**20, float(probability)
    shown = []
    for at in range(4):
        heads = int(bernoulli(Source(seed(f"coins/{at}")), probability, size).sum())
        shown.append((heads - size * p) / (size * p * (1 - p)) ** 0.5)
    assert not blamed(shown)


def test_certain_coins() -> None:
    assert not bernoulli(Source.fresh(), 0, 100).any()
    assert bernoulli(Source.fresh(), 1, 100).all()
