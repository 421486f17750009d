"""The sum is exact whoever drops out whenever, bit for bit the plain one; below the threshold there is none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.aggregation import Update
from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import RoundAborted
from securefed.plain import PlainIntegers
from securefed.secagg import default_threshold
from securefed.secagg.stages import STAGES, Stage
from tests.rounds import COHORT, LAYOUT, Drops, Round, identity_of, plain_sum, spec_of, update_of

NEVER = Stage.DONE
FIVE = (2, 3, 5, 8, 2**32 - 1)


def left(cohort: tuple[int, ...], drops: Drops, stage: Stage) -> tuple[int, ...]:
    """Who answers this stage."""
    return tuple(c for c in cohort if STAGES.index(stage) < ([*STAGES, NEVER].index(drops.get(c, NEVER))))


@cache
def words_in_clear(cohort: tuple[int, ...], survivors: tuple[int, ...], bits: int) -> list[int]:
    """Both of them: the integers, and the aggregate of the plain scheme."""
    spec = spec_of(cohort=cohort, threshold=1, bits=bits)
    scheme = PlainIntegers()
    server = scheme.server(spec, LAYOUT)
    for client, request in server.requests().items():
        if client in survivors:
            server.receive(client, scheme.client(identity_of(client)).reply(request, updater(client)))
    server.advance()
    assert server.aggregate is not None
    assert server.aggregate.words is not None
    words: list[int] = server.aggregate.words.tolist()
    assert words == plain_sum(spec, survivors)
    return words


def updater(client: int) -> Callable[[], Update]:
    return lambda: update_of(client)


def check(cohort: tuple[int, ...], threshold: int, drops: Drops, bits: int = 16) -> None:
    """The round ends as this pattern of dropouts says it must."""
    spec = spec_of(cohort=cohort, threshold=threshold, bits=bits)
    round_ = Round(spec)
    too_few = next((stage for stage in STAGES if len(left(cohort, drops, stage)) < threshold), None)
    if too_few is not None:
        with pytest.raises(RoundAborted) as caught:
            round_.until(Stage.DONE, drops)
        assert caught.value.stage == too_few
        assert round_.server.aggregate is None
        assert not round_.server.requests()
        return
    aggregate = round_.until(Stage.DONE, drops).server.aggregate
    assert aggregate is not None
    assert aggregate.words is not None
    survivors = left(cohort, drops, Stage.INPUT)
    assert aggregate.survivors == survivors
    assert aggregate.words.tolist() == words_in_clear(cohort, survivors, bits)
    assert aggregate.weight == sum(update_of(client).weight for client in survivors)


def patterns(cohort: tuple[int, ...], most: int) -> list[Drops]:
    """Every stage for each of up to so many clients."""
    return [
        dict(zip(who, stages, strict=True))
        for count in range(most + 1)
        for who in itertools.combinations(cohort, count)
        for stages in itertools.product(STAGES, repeat=count)
    ]


@pytest.mark.parametrize("threshold", [2, 3, 4])
def test_every_pattern_of_dropouts_among_four(threshold: int) -> None:
    """All 5^4 of them: the exact sum or, below the threshold, an aborted round."""
    every = patterns(COHORT, 4)
    assert len(every) == 5**4
    for drops in every:
        check(COHORT, threshold, drops)


def test_every_pattern_that_leaves_a_threshold_among_five() -> None:
    every = patterns(FIVE, 2)
    assert len(every) == 1 + 5 * 4 + 10 * 16
    for drops in every:
        check(FIVE, 3, drops)


@settings(max_examples=2 * settings().max_examples)
@given(
    cohort=st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=7, unique=True).map(sorted).map(tuple),
    bits=st.integers(2, 32),
    data=st.data(),
)
def test_any_cohort_threshold_and_number_of_bits(cohort: tuple[int, ...], bits: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, len(cohort)))
    drops = data.draw(st.dictionaries(st.sampled_from(cohort), st.sampled_from(STAGES), max_size=len(cohort)))
    check(cohort, threshold, drops, bits)


@pytest.mark.parametrize("drops", [{}, {3: Stage.INPUT}, {8: Stage.RELEASE}], ids=str)
def test_the_order_of_clients_does_not_matter(drops: Drops) -> None:
    """Not even for one byte of what the server sends."""
    one, other = (Round().until(Stage.DONE, drops, order) for order in (1, -1))
    assert one.requests == other.requests
    assert one.replies == other.replies
    assert one.server.aggregate is not None
    assert other.server.aggregate is not None
    assert one.server.aggregate.words is not None
    assert (one.server.aggregate.words == other.server.aggregate.words).all()


def test_the_mean_is_that_of_the_survivors() -> None:
    aggregate = Round().until(Stage.DONE, {5: Stage.INPUT}).server.aggregate
    assert aggregate is not None
    updates = [update_of(client) for client in (2, 3, 8)]
    weight = sum(update.weight for update in updates)
    step = spec_of().numbers.step * 100 / weight
    for name, mean in aggregate.tensors.items():
        exact = sum(np.clip(u.tensors[name].astype("<f8") * u.weight / 100, -0.5, 0.5) * 100 for u in updates) / weight
        assert np.abs(mean - exact).max() <= 3 * step + 1e-7
    loss = sum(update.metrics["loss"] * update.weight for update in updates) / weight
    assert aggregate.metrics["loss"] == pytest.approx(loss, abs=1e-6)


def test_a_vector_of_several_pieces_is_summed_exactly() -> None:
    """Longer than a piece of the encoding and than a block of the stream, with one client lost."""
    layout = Layout((TensorSpec("long", (200_003,)),))
    aggregate = Round(spec_of(layout), layout).until(Stage.DONE, {3: Stage.INPUT}).server.aggregate
    assert aggregate is not None
    assert aggregate.words is not None
    assert aggregate.words.tolist() == plain_sum(spec_of(layout), (2, 5, 8), layout)


def test_only_the_first_threshold_of_releases_is_needed() -> None:
    """With more answers than needed, whichever are there: the same sum."""
    sums = []
    for absent in ((), (2,), (3,), (5,), (8,)):
        round_ = Round().until(Stage.RELEASE)
        round_.play(absent)
        assert round_.server.aggregate is not None
        assert round_.server.aggregate.words is not None
        sums.append(round_.server.aggregate.words.tolist())
    assert all(words == sums[0] for words in sums)


@pytest.mark.parametrize(("cohort", "threshold"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (8, 6), (100, 67)])
def test_the_default_threshold_is_the_least_over_two_thirds(cohort: int, threshold: int) -> None:
    assert default_threshold(cohort) == threshold
    assert 3 * threshold > 2 * cohort >= 3 * (threshold - 1)
