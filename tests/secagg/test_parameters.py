"""Neighbours and thresholds: known values, their tails by brute force, and the conditions of the text in fractions."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.aggregation import Adversary
from securefed.secagg.parameters import MOST_NEIGHBOURS, Parameters
from securefed.secagg.tails import exactly, roughly
from tests.secagg.modes import both_modes

# An independent parameter finder, 2026: (k, t) for σ = 40, η = 20, corrupt = dropouts = the share of the row.
KNOWN = {
    ("semi-honest", 0.05): {10**3: (30, 17), 10**4: (34, 20), 10**6: (38, 22)},
    ("semi-honest", 0.10): {10**3: (48, 27), 10**4: (54, 31), 10**6: (64, 36)},
    ("semi-honest", 0.20): {10**3: (98, 54), 10**4: (122, 67), 10**6: (144, 78)},
    ("malicious", 0.05): {10**3: (52, 37), 10**4: (62, 44), 10**6: (74, 52)},
    ("malicious", 0.10): {10**3: (96, 67), 10**4: (122, 85), 10**6: (146, 101)},
    ("malicious", 0.20): {10**3: (302, 206), 10**4: (482, 328), 10**6: (600, 407)},
}


@pytest.mark.parametrize(
    ("server", "share", "cohort", "expected"),
    [(*key, cohort, expected) for key, row in KNOWN.items() for cohort, expected in row.items()],
)
def test_neighbours_and_threshold_are_those_of_an_independent_finder(
    server: str, share: float, cohort: int, expected: tuple[int, int]
) -> None:
    found = Parameters.of(cohort, Adversary(server, share, share))
    assert (found.neighbours, found.threshold) == expected
    assert not found.complete


def at_least(population: int, marked: int, draws: int, x: int) -> Fraction:
    """P[X ≥ x], from the definition."""
    ways = sum(comb(marked, hit) * comb(population - marked, draws - hit) for hit in range(max(x, 0), draws + 1))
    return Fraction(ways, comb(population, draws))


@given(st.integers(1, 9), st.data())
def test_tails_by_counting(population: int, data: st.DataObject) -> None:
    """Every draw there is, counted."""
    marked, draws = data.draw(st.integers(0, population)), data.draw(st.integers(0, population))
    hits = [sum(one < marked for one in chosen) for chosen in itertools.combinations(range(population), draws)]
    tail, ways = exactly(population, marked, draws)
    assert tail == [sum(hit >= x for hit in hits) for x in range(draws + 2)]
    assert tail[0] == ways == comb(population, draws)
    assert tail[-1] == 0


@given(st.integers(1, 400), st.data())
def test_tails_in_fractions(population: int, data: st.DataObject) -> None:
    marked, draws = data.draw(st.integers(0, population)), data.draw(st.integers(0, min(population, 60)))
    tail, ways = exactly(population, marked, draws)
    assert [Fraction(one, ways) for one in tail] == [at_least(population, marked, draws, x) for x in range(draws + 2)]


class Text:
    """The section "Parameters" of the protocol, line by line and slowly."""

    def __init__(self, n: int, adversary: Adversary) -> None:
        self.n, self.adversary = n, adversary
        self.corrupt, self.lost = adversary.corrupt_clients(n), adversary.lost_clients(n)
        self.eta, self.sigma = adversary.correctness, adversary.security

    def enough_left(self, population: int, k: int, t: int) -> bool:
        return self.n * at_least(population, self.lost, k, k - t + 1) <= Fraction(1, 2**self.eta)

    def find(self, population: int, bad: int, k: int, doubled: bool, bits: int) -> int | None:
        """The t of this k: the least that is safe, if so many are left; `doubled` where both kinds may be asked for."""
        for t in range(1, k + 1):
            margin = 2 * t - k if doubled else t
            if margin >= 1 and self.n * at_least(population, bad, k, margin) <= Fraction(1, 2**bits):
                return t if self.enough_left(population, k, t) else None
        return None

    def open(self, k: int, t: int, gone: int, most: int, bits: int) -> bool:
        n, a, j = self.n, 1, 0
        while a <= most:
            b = min(2 * a, most + 1)
            p = at_least(n - 1, min(gone + b - 2, n - 1), k, t)
            if a == 1 and not n * p <= Fraction(1, 2 ** (bits + 1)):
                return False
            if a >= 2 and not 3 * (n - self.corrupt) * p <= a * Fraction(1, 2 ** max(1, -(-(bits + 2 + j) // a))):
                return False
            a, j = 2 * a, j + 1
        return True

    def masks(self, k: int) -> int | None:
        """The τ of this κ under a malicious server."""
        for t in range(1, k + 1):
            if self.open(k, t, self.corrupt, self.n // 4, self.sigma + 2):
                return t if self.enough_left(self.n - 1, k, t) else None
        return None

    def signatures(self, q: int) -> int | None:
        return self.find(self.n, (self.n + self.corrupt) // 2, q, False, self.sigma + 2)


CASES = [
    (n, Adversary(server, *shares, *bits))
    for server in ("malicious", "semi-honest")
    for n, shares, bits in (
        (24, (0.04, 0.1), (2, 2)),
        (60, (0.05, 0.05), (20, 10)),
        (100, (0.1, 0.05), (40, 20)),
        (200, (0.05, 0.1), (40, 20)),
        (300, (0.2, 0.05), (30, 8)),
        (250, (0.0, 0.0), (128, 64)),
        (120, (0.3, 0.1), (40, 20)),
        (140, (0.4, 0.3), (128, 64)),
    )
]


@pytest.mark.parametrize(("n", "adversary"), CASES, ids=str)
def test_the_conditions_hold_where_they_are_said_to_and_not_before(n: int, adversary: Adversary) -> None:
    text, found = Text(n, adversary), Parameters.of(n, adversary)
    assert n > text.sigma
    most = min((n - 1) // 2, MOST_NEIGHBOURS)
    if adversary.malicious:
        by_masks = {k: text.masks(k) for k in range(2, most + 1, 2)}
        peers = next(((k, t) for k, t in by_masks.items() if t is not None), None)
        by_shares = {k: text.find(n - 1, text.corrupt, k, True, text.sigma + 1) for k in by_masks}
        shares = peers and next(((k, t) for k, t in by_shares.items() if t is not None and k >= peers[0]), None)
    else:
        gone = text.corrupt + text.lost
        masks = next((k for k in range(1, most + 1) if text.open(k, k, gone, n // 2, text.sigma + 1)), None)
        peers = None if masks is None else (masks, 0)
        by_shares = {k: text.find(n - 1, text.corrupt, k, False, text.sigma + 1) for k in range(2, most + 1, 2)}
        shares = peers and next(((k, t) for k, t in by_shares.items() if t is not None and k >= peers[0]), None)
    if peers is None or shares is None:
        assert found.complete
        return
    assert not found.complete
    assert (found.neighbours, found.threshold) == shares
    assert (found.masks, found.least_masks) == peers
    assert found.least_inputs == (adversary.least_survivors(n) if adversary.malicious else n - text.lost)
    if adversary.malicious:
        by_consent = ((q, text.signatures(q)) for q in range(2, min(n // 2, MOST_NEIGHBOURS) + 1, 2))
        consent = next(((q, t) for q, t in by_consent if t is not None), (n, adversary.least_survivors(n)))
        assert (found.signatures, found.least_signatures) == consent


def test_the_cases_above_are_of_every_kind() -> None:
    kinds = {(adversary.malicious, Parameters.of(n, adversary).complete) for n, adversary in CASES}
    assert kinds == set(itertools.product((True, False), repeat=2))


@both_modes
@pytest.mark.parametrize("n", [2, 3, 4, 8, 20])
def test_a_small_cohort_is_a_complete_graph(n: int, adversary: Adversary) -> None:
    """Everyone holds a share of everyone, masks with everyone, and under a malicious server verifies everyone."""
    found, least = Parameters.of(n, adversary), adversary.least_survivors(n)
    assert found == Parameters(True, n, least, n, 0, *((n, least) if adversary.malicious else (0, 0)), least)
    assert found.least_in_a_sum(n) == least
    assert found.attested is False


@pytest.mark.parametrize("server", ["malicious", "semi-honest"])
@pytest.mark.parametrize("security", [8, 40, 128])
def test_no_sparse_graph_for_as_many_clients_as_bits(server: str, security: int) -> None:
    """Where few are corrupt, tails of few clients are exactly zero: two neighbours would be right, and lost at once."""
    for corrupt in (0.0, 0.1):
        stated = Adversary(server, corrupt, 0.1, security=security, correctness=8)
        assert all(Parameters.of(n, stated).complete for n in range(2, security + 1))
    assert not Parameters.of(max(10 * security, 200), stated).complete


def test_the_sparsest_graph_that_is_too_dense() -> None:
    """1024 neighbours are the most: where they are not enough, the graph is complete."""
    stated = Adversary("malicious", 0.22, 0.25, security=33)
    assert Parameters.of(20_500, stated).neighbours == 1024
    assert Parameters.of(40_000, stated).complete


@given(st.integers(2, 2**20), st.data())
def test_a_rough_tail_is_the_exact_one_and_never_says_no_where_that_says_yes(n: int, data: st.DataObject) -> None:
    """So a size that the rough look refuses is none that counting would have found."""
    marked, draws = data.draw(st.integers(0, n)), data.draw(st.integers(1, min(n, 300)))
    (exact, ways), (rough, whole) = exactly(n, marked, draws), roughly(n, marked, draws)
    assert len(exact) == len(rough)
    for ways_of_x, tail in zip(exact, rough, strict=True):
        share = float(Fraction(ways_of_x, ways))
        assert tail / whole <= share
        assert tail == pytest.approx(share, rel=1e-6, abs=1e-300)


def test_the_worst_offers_cost_about_a_second() -> None:
    """A client answers any offer that is not W15; before the rough look these took it up to 20 s each."""
    worst = [
        Adversary("malicious", 0.499, 0.1, 1, 64),
        Adversary("malicious", 0.45, 0.1, 128, 64),
        Adversary("semi-honest", 0.499, 0.499, 128, 64),
        Adversary("semi-honest", 0.4, 0.4, 40, 64),
    ]
    Parameters.of(2**19, worst[0])  # what is loaded with the first
    for adversary in worst:
        begin = process_time()
        Parameters.of(2**20, adversary)
        assert process_time() - begin < 2  # of one core, however busy the machine is


def test_a_semi_honest_round_with_few_corrupt_clients_is_sparse() -> None:
    """Two holders are enough against one corrupt client, and too few to mask with: the search begins with the masks."""
    for n, corrupt in ((1000, 0.0), (1000, 0.001), (10_000, 0.0), (2**20, 0.0)):
        adversary = Adversary("semi-honest", corrupt, 0.1)
        found = Parameters.of(n, adversary)
        assert not found.complete
        assert found.masks <= found.neighbours < 40
        assert found.threshold <= found.neighbours // 2


@given(st.integers(2, 10**6), st.integers(0, 499))
def test_two_disjoint_majorities_of_honest_clients_do_not_exist(n: int, thousandths: int) -> None:
    """L: two sets of survivors share an honest client under a malicious server; under the other each sum holds one."""
    for server in ("malicious", "semi-honest"):
        adversary = Adversary(server, thousandths / 1000, 0.0)
        corrupt, least = adversary.corrupt_clients(n), adversary.least_survivors(n)
        assert corrupt == max(1, -(-n * thousandths // 1000))
        assert least > corrupt
        assert 2 * least > n
        if adversary.malicious:
            assert 2 * (least - corrupt) > n - corrupt
            assert 2 * (least - 1 - corrupt) <= n - corrupt


@pytest.mark.parametrize(
    "weaker",
    [
        Adversary("semi-honest", 0.2, 0.1),
        Adversary("malicious", 0.199, 0.1),
        Adversary("malicious", 0.2, 0.1, security=39),
    ],
)
def test_what_covers_what(weaker: Adversary) -> None:
    base = Adversary("malicious", 0.2, 0.1)
    assert base.covers(weaker)
    assert base.covers(base)
    assert not weaker.covers(base)
    assert base.covers(Adversary("malicious", 0.2, 0.4, correctness=64))


def test_the_smallest_sum_in_a_sparse_graph() -> None:
    """A malicious server may part the survivors, into more than n/4 each; who follows the protocol parts nothing."""
    for n, adversary in CASES:
        found = Parameters.of(n, adversary)
        parted = adversary.malicious and not found.complete
        assert found.attested == parted
        assert found.least_in_a_sum(n) == (n // 4 + 1 if parted else found.least_inputs)
