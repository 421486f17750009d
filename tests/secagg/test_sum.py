"""The sum is exact whoever drops out whenever, bit for bit the plain one; below L answers there is none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from securefed.aggregation import Adversary, Update
from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import ConfigError, RoundAborted
from securefed.plain import PlainIntegers
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import Stage
from tests.rounds import COHORT, LAYOUT, Drops, Round, identity_of, plain_sum, spec_of, update_of
from tests.secagg.modes import both_modes, every_stage, stages_of

NEVER = Stage.DONE
SEVEN = (1, 2, 3, 5, 8, 13, 2**32 - 1)


def left(adversary: Adversary, cohort: tuple[int, ...], drops: Drops, stage: Stage) -> tuple[int, ...]:
    """Who answers this stage."""
    stages = [*stages_of(adversary), NEVER]
    return tuple(c for c in cohort if stages.index(stage) < stages.index(drops.get(c, NEVER)))


@cache
def words_in_clear(cohort: tuple[int, ...], survivors: tuple[int, ...], bits: int) -> list[int]:
    """Both of them: the integers, and the aggregate of the plain scheme."""
    spec = spec_of(cohort=cohort, adversary=Adversary("semi-honest", 0.0, 0.0), bits=bits)
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


def check(adversary: Adversary, cohort: tuple[int, ...], drops: Drops, bits: int = 16) -> None:
    """The round ends as this pattern of dropouts says it must."""
    spec = spec_of(cohort=cohort, adversary=adversary, bits=bits)
    round_, least = Round(spec), adversary.least_survivors(len(cohort))
    too_few = (stage for stage in stages_of(adversary) if len(left(adversary, cohort, drops, stage)) < least)
    ends_in = next(too_few, None)
    if ends_in is not None:
        with pytest.raises(RoundAborted) as caught:
            round_.until(Stage.DONE, drops)
        assert caught.value.stage == ends_in
        assert round_.server.aggregate is None
        assert not round_.server.requests()
        return
    aggregate = round_.until(Stage.DONE, drops).server.aggregate
    assert aggregate is not None
    assert aggregate.words is not None
    survivors = left(adversary, cohort, drops, Stage.INPUT)
    assert aggregate.survivors == survivors
    assert aggregate.words.tolist() == words_in_clear(cohort, survivors, bits)
    assert aggregate.weight == sum(update_of(client).weight for client in survivors)
    assert round_.server.wrong_shares == ()


def patterns(adversary: Adversary, cohort: tuple[int, ...], most: int) -> list[Drops]:
    """Every stage for each of up to so many clients."""
    return [
        dict(zip(who, stages, strict=True))
        for count in range(most + 1)
        for who in itertools.combinations(cohort, count)
        for stages in itertools.product(stages_of(adversary), repeat=count)
    ]


@both_modes
def test_every_pattern_of_dropouts_among_four(adversary: Adversary) -> None:
    """All 5^4 (under a malicious server 6^4) of them: the exact sum or, with too few answers, an aborted round."""
    every = patterns(adversary, COHORT, 4)
    assert len(every) == (1 + len(stages_of(adversary))) ** 4
    for drops in every:
        check(adversary, COHORT, drops)


@both_modes
def test_every_pattern_that_leaves_enough_among_seven(adversary: Adversary) -> None:
    """Two lost of seven: each pair of stages in which they may go."""
    of_seven = replace(adversary, corrupt=0.2, dropouts=0.29)
    assert (of_seven.lost_clients(7), of_seven.least_survivors(7)) == (2, 5 if adversary.malicious else 4)
    for stages in itertools.product(stages_of(adversary), repeat=2):
        for who in ((1, 2), (1, 2**32 - 1), (3, 8)):
            check(of_seven, SEVEN, dict(zip(who, stages, strict=True)))


@settings(max_examples=2 * settings().max_examples)
@given(
    cohort=st.lists(st.integers(1, 2**32 - 1), min_size=2, max_size=7, unique=True).map(sorted).map(tuple),
    adversary=st.builds(
        Adversary,
        st.sampled_from(["malicious", "semi-honest"]),
        st.integers(0, 499).map(lambda thousandths: thousandths / 1000),
        st.integers(0, 499).map(lambda thousandths: thousandths / 1000),
    ),
    bits=st.integers(2, 32),
    data=st.data(),
)
def test_any_cohort_adversary_and_number_of_bits(
    cohort: tuple[int, ...], adversary: Adversary, bits: int, data: st.DataObject
) -> None:
    # Sparse graphs have tests of their own: there a few losses may leave one client without enough neighbours.
    assume(Parameters.of(len(cohort), adversary).complete)
    stages = st.sampled_from(stages_of(adversary))
    drops = data.draw(st.dictionaries(st.sampled_from(cohort), stages, max_size=len(cohort)))
    if adversary.least_survivors(len(cohort)) > len(cohort) - adversary.lost_clients(len(cohort)):
        with pytest.raises(ConfigError):
            spec_of(cohort=cohort, adversary=adversary)
    else:
        check(adversary, cohort, drops, bits)


@every_stage
def test_the_order_of_clients_does_not_matter(adversary: Adversary, stage: Stage) -> None:
    """Not even for one byte of what the server sends, whenever one is lost."""
    one, other = (Round(spec_of(adversary=adversary)).until(Stage.DONE, {3: stage}, order) for order in (1, -1))
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


@both_modes
def test_any_t_of_the_releases_open_the_sum(adversary: Adversary) -> None:
    """With more answers than needed, whichever are there: the same sum."""
    sums = []
    for absent in ((), (2,), (3,), (5,), (8,)):
        round_ = Round(spec_of(adversary=adversary)).until(Stage.RELEASE)
        round_.play(absent)
        assert round_.server.aggregate is not None
        assert round_.server.aggregate.words is not None
        sums.append(round_.server.aggregate.words.tolist())
    assert all(words == sums[0] for words in sums)


@both_modes
def test_what_each_exchange_is_called(adversary: Adversary) -> None:
    """Five of them under a malicious server, four else; then there is no more to ask."""
    round_, seen = Round(spec_of(adversary=adversary)), []
    while round_.server.requests():
        seen.append(round_.server.stage)
        round_.play()
    assert tuple(seen) == stages_of(adversary)
    assert len(seen) == (5 if adversary.malicious else 4)
    assert round_.server.stage is Stage.DONE
