"""Decoding against its definition, searched through in a small field."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.crypto.reed_solomon import ReceivedWord, evaluate

PRIME = 7
Words = st.dictionaries(st.integers(0, PRIME - 1), st.integers(0, PRIME - 1), min_size=1)


def searched(points: dict[int, int], size: int) -> list[list[int]]:
    """All polynomials with so many coefficients that pass through all but ⌊(m − size)/2⌋ points."""
    found = []
    for coefficients in itertools.product(range(PRIME), repeat=size):
        wrong = sum(evaluate(coefficients, place, PRIME) != value for place, value in points.items())
        if 2 * wrong <= len(points) - size:
            found.append(list(coefficients))
    return found


def padded(polynomial: list[int], size: int) -> list[int]:
    assert not polynomial or polynomial[-1]
    return polynomial + [0] * (size - len(polynomial))


@given(coefficients=st.lists(st.integers(0, PRIME - 1)), place=st.integers(0, PRIME - 1))
def test_evaluates_as_the_sum_of_powers(coefficients: list[int], place: int) -> None:
    """On its own: with the sign turned round, all the rest would still fit together."""
    powers = sum(coefficient * place**power for power, coefficient in enumerate(coefficients))
    assert evaluate(coefficients, place, PRIME) == powers % PRIME


@given(points=Words, data=st.data())
def test_decodes_what_a_search_finds_and_nothing_else(points: dict[int, int], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, min(4, len(points))))
    decoded = ReceivedWord.of(points, PRIME).decoded(size)
    assert ([] if decoded is None else [padded(decoded, size)]) == searched(points, size)


@given(coefficients=st.lists(st.integers(0, PRIME - 1), min_size=1, max_size=4), data=st.data())
def test_decodes_what_was_sent(coefficients: list[int], data: st.DataObject) -> None:
    """Random words are mostly far from all polynomials: here one is near."""
    size, places = len(coefficients), range(data.draw(st.integers(len(coefficients), PRIME)))
    wrong = data.draw(st.permutations(places))[: (len(places) - size) // 2]
    points = {place: evaluate(coefficients, place, PRIME) for place in places}
    points |= {place: data.draw(st.integers(0, PRIME - 1)) for place in wrong}
    decoded = ReceivedWord.of(points, PRIME).decoded(size)
    assert decoded is not None
    assert padded(decoded, size) == coefficients


@given(Words)
def test_a_word_passes_through_its_points_and_vanishes_at_their_places(points: dict[int, int]) -> None:
    word = ReceivedWord.of(points, PRIME)
    assert {place: evaluate(word.through, place, PRIME) for place in points} == points
    assert len(word.through) <= word.length == len(points) == len(word.vanishing) - 1
    assert [x for x in range(PRIME) if not evaluate(word.vanishing, x, PRIME)] == sorted(points)


@given(Words, st.data())
def test_leaving_a_point_out_is_never_having_had_it(points: dict[int, int], data: st.DataObject) -> None:
    left_out = data.draw(st.sampled_from(sorted(points)))
    rest = {place: value for place, value in points.items() if place != left_out}
    assert ReceivedWord.of(points, PRIME).without(left_out) == ReceivedWord.of(rest, PRIME)


def test_wrong_use_is_refused() -> None:
    word = ReceivedWord.of({1: 3, 2: 3}, PRIME)
    with pytest.raises(ValueError, match="no point at this place"):
        word.without(3)
    with pytest.raises(ValueError, match="2 points do not decide a polynomial of 3 coefficients"):
        word.decoded(3)


def test_values_do_not_show_themselves() -> None:
    assert "3" not in repr(ReceivedWord.of({1: 3, 2: 3}, PRIME)).rpartition(" at ")[0]
