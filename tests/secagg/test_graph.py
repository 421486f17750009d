"""Draws are uniform, distinct and never of oneself; a neighbourhood follows from its pick secret and nothing else."""

from __future__ import annotations

import itertools
from collections import Counter
from math import comb, sqrt

import numpy as np
import pytest

from securefed.aggregation import Adversary
from securefed.secagg import graph
from securefed.secagg.graph import Neighbourhood, check_promise, draw, mask_peers, promise
from securefed.secagg.parameters import Parameters
from tests.rounds import seed, spec_of
from tests.rules import refused

DRAWS = 3000
WEAK = Adversary("malicious", 0.04, 0.1, security=2, correctness=2)
COHORT = tuple(3 * position + 1 for position in range(24))
SPEC = spec_of(cohort=COHORT, adversary=WEAK)
FOUND = Parameters.of(len(COHORT), WEAK)


def even(counts: Counter[object], cells: int) -> bool:
    """Chi-square over equally likely cells, within six standard deviations: under 1 in 10^6 by chance."""
    expected = sum(counts.values()) / cells
    statistic = sum((count - expected) ** 2 / expected for count in counts.values())
    statistic += (cells - len(counts)) * expected
    return abs(statistic - (cells - 1)) < 6 * sqrt(2 * (cells - 1))


@pytest.mark.parametrize(("below", "count"), [(1, 1), (2, 2), (7, 7), (10, 4), (500, 100), (2**20, 300)])
def test_draws_are_distinct_and_in_range(below: int, count: int) -> None:
    for at in range(20):
        drawn = draw(seed(f"draw {at}"), below, count)
        assert len(drawn) == len(set(drawn)) == count
        assert all(0 <= one < below for one in drawn)
        # A shorter draw from the same key is its beginning: the mask peers are the first of the holders.
        assert draw(seed(f"draw {at}"), below, count // 2) == drawn[: count // 2]


def test_draws_are_uniform() -> None:
    """Each number at each place, each pair at the first two, and each set of four of seven."""
    drawn = [draw(seed(f"key {at}"), 7, 4) for at in range(DRAWS)]
    for place in range(4):
        assert even(Counter(one[place] for one in drawn), 7)
    assert even(Counter((one[0], one[1]) for one in drawn), 7 * 6)
    assert even(Counter(frozenset(one) for one in drawn), comb(7, 4))


def test_the_statistic_finds_a_lean() -> None:
    """By 10% towards one number of seven."""
    drawn = [draw(seed(f"key {at}"), 7, 4)[0] if at % 10 else 3 for at in range(DRAWS)]
    assert not even(Counter(drawn), 7)


def test_words_over_the_greatest_multiple_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2^64 words the last 2^64 mod n are no number's: without that the small numbers would be likelier."""
    below = 3 * 2**62
    words = [2**64 - 1, below, below - 1, below + 5, 0, 0, 7]

    class Given:
        def __init__(self, key: bytes) -> None:
            assert key == seed("key")

        def take(self, count: int) -> np.ndarray:
            return np.resize(np.array(words, "<u8"), count // 8).view(np.uint8)

    monkeypatch.setattr(graph, "Reader", Given)
    assert draw(seed("key"), below, 3) == [below - 1, 0, 7]


def neighbourhood(client: int, secret: str) -> Neighbourhood:
    return Neighbourhood.of(SPEC, FOUND, client, seed(secret))


def test_a_neighbourhood_is_of_others_and_of_the_right_size() -> None:
    assert (FOUND.complete, FOUND.neighbours > 2, FOUND.neighbours < 12) == (False, True, True)
    for client in COHORT:
        for at in range(40):
            one = neighbourhood(client, f"secret {at}")
            assert client not in one.holders
            assert one.holders <= set(COHORT)
            assert one.picked_masks <= one.holders
            assert (len(one.holders), len(one.picked_masks)) == (FOUND.neighbours, FOUND.masks)
            assert one == neighbourhood(client, f"secret {at}")


@pytest.mark.parametrize("client", [COHORT[0], COHORT[11], COHORT[-1]])
def test_every_other_is_picked_as_often(client: int) -> None:
    """From either end of the cohort and from its middle: the gap where the client itself stands biases nothing."""
    picks = Counter(one for at in range(DRAWS) for one in neighbourhood(client, f"secret {at}").holders)
    assert set(picks) == set(COHORT) - {client}
    # k of n − 1 each time, without replacement: a little more even than independent draws.
    expected = DRAWS * FOUND.neighbours / (len(COHORT) - 1)
    deviation = sqrt(expected * (1 - FOUND.neighbours / (len(COHORT) - 1)))
    assert all(abs(count - expected) < 6 * deviation for count in picks.values())


def test_picks_follow_from_client_and_session_too() -> None:
    one, other = neighbourhood(COHORT[3], "secret"), neighbourhood(COHORT[4], "secret")
    again = Neighbourhood.of(spec_of(cohort=COHORT, adversary=WEAK, nonce=seed("x")), FOUND, COHORT[3], seed("secret"))
    assert len({one.holders, other.holders, again.holders}) == 3


def test_mask_peers_are_mutual_and_nothing_else() -> None:
    some = {client: neighbourhood(client, f"secret {client}") for client in COHORT[:20]}
    peers = mask_peers(some)
    assert peers.keys() == some.keys()
    for one, other in itertools.permutations(some, 2):
        assert (other in peers[one]) == (other in some[one].picked_masks or one in some[other].picked_masks)
    assert not any(client in peers[client] for client in peers)


@pytest.mark.rule("G1")
def test_g1_a_promise_binds_session_client_and_secret() -> None:
    good = promise(seed("secret"), SPEC.session, 5)
    check_promise(good, seed("secret"), SPEC.session, 5)
    for secret, session, client in (
        (seed("other"), SPEC.session, 5),
        (seed("secret"), seed("other"), 5),
        (seed("secret"), SPEC.session, 6),
    ):
        with refused("G1"):
            check_promise(good, secret, session, client)


@pytest.mark.rule("G3")
def test_g3_as_many_mask_peers_as_stated_and_no_fewer() -> None:
    one = neighbourhood(COHORT[5], "secret")
    masks, others = sorted(one.picked_masks), set(COHORT) - one.picked_masks
    one.check_survivors(others.union(masks[: FOUND.least_masks]))
    with refused("G3"):
        one.check_survivors(others.union(masks[: FOUND.least_masks - 1]))
    with refused("G3"):
        one.check_survivors(())
