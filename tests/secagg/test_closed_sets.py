"""How likely it is that a few honest clients can be cut off from all others: the sum over all sets, not the bound.

`Parameters` bounds sets of a … 2a − 1 clients together. Here every size has a term of its own, so that a mistake in
the bound, or in the text's reasoning about it, would be seen.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, isclose, lgamma, log, log2

import pytest

from securefed.aggregation import Adversary
from securefed.secagg.parameters import Parameters
from securefed.secagg.tails import exactly

_EVERY_SIZE = 400
"""Up to this cohort every size of a set is summed; beyond it sizes within 2% of each other are bounded together."""


def log2_comb(n: int, k: int) -> float:
    return (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(2)


def log2_sum(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high if low == -inf else high + log2(1 + 2 ** (low - high))


def log2_tail(population: int, marked: int, draws: int, x: int) -> float:
    """log2 P[X ≥ x]: its first term, and the others as multiples of it."""
    clear = population - marked
    lowest = max(x, draws - clear, 0)
    if lowest > min(draws, marked):
        return -inf
    first = log2_comb(marked, lowest) + log2_comb(clear, draws - lowest) - log2_comb(population, draws)
    term = total = 1.0
    for hit in range(lowest, min(draws, marked)):
        term *= (marked - hit) * (draws - hit) / ((hit + 1) * (clear - draws + hit + 1))
        total += term
    return first + log2(total)


def log2_closed(n: int, adversary: Adversary, found: Parameters) -> float:
    """log2 of the expected number of closed sets of up to n/4 honest clients (semi-honest: n/2)."""
    corrupt, most = adversary.corrupt_clients(n), n // 4
    gone, needed = corrupt, found.least_masks
    if not adversary.malicious:
        gone, needed, most = corrupt + adversary.lost_clients(n), found.masks, n // 2
    total, first = -inf, 1
    while first <= most:
        last = first if n <= _EVERY_SIZE else min(most, first + first // 50)
        each = log2_tail(n - 1, min(gone + last - 1, n - 1), found.masks, needed)
        # Of sizes first … last the last has the most sets, and a set of the first size the greatest probability.
        sets = log2_comb(n - corrupt, min(last, (n - corrupt) // 2))
        total = log2_sum(total, log2(last - first + 1) + sets + first * each)
        first = last + 1
    return total


SHARES = (0.0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.333, 0.4)
GRID = [
    (n, Adversary(server, corrupt, dropouts))
    for server in ("malicious", "semi-honest")
    for corrupt in SHARES
    for dropouts in (0.0, 0.1, 0.2, 0.3)
    for n in (*range(5, 60, 6), 100, 150, 400, 1000)
    if corrupt + 2 * dropouts < 0.95
]
WEAK = [
    (n, Adversary("malicious", corrupt, 0.1, security=bits, correctness=bits))
    for corrupt in (0.0, 0.04, 0.1)
    for bits in (1, 2, 8, 20)
    for n in (12, 24, 40, 100, 300)
]


def bound(adversary: Adversary) -> int:
    return -(adversary.security + (2 if adversary.malicious else 1))


def test_nobody_is_cut_off_by_any_set_on_the_grid() -> None:
    """Under a malicious server 2^−(σ+2), under a semi-honest one 2^−(σ+1), as the text says."""
    over, seen = [], {True: 0, False: 0}
    for n, adversary in GRID + WEAK:
        found = Parameters.of(n, adversary)
        if found.complete or adversary.least_survivors(n) > n - adversary.lost_clients(n):
            continue
        seen[adversary.malicious] += 1
        closed = log2_closed(n, adversary, found)
        if closed > bound(adversary):
            over.append((n, adversary, found, closed))
    assert not over
    assert min(seen.values()) > 100


@pytest.mark.parametrize(
    ("n", "corrupt", "dropouts"),
    [(10**4, 0.05, 0.05), (10**4, 0.1, 0.2), (10**4, 0.2, 0.1), (10**4, 0.0, 0.3), (10**6, 0.1, 0.1), (2**20, 0.05, 0)],
)
@pytest.mark.parametrize("server", ["malicious", "semi-honest"])
def test_nobody_is_cut_off_in_large_cohorts(server: str, n: int, corrupt: float, dropouts: float) -> None:
    adversary = Adversary(server, corrupt, dropouts)
    assert log2_closed(n, adversary, Parameters.of(n, adversary)) <= bound(adversary)


@pytest.mark.parametrize("n", [300, 1000, 10**4])
@pytest.mark.parametrize("server", ["malicious", "semi-honest"])
def test_with_less_demanded_the_sum_is_over_its_bound(server: str, n: int) -> None:
    """Two mask peers less that must survive: so the sum above can fail, and little is wasted."""
    adversary = Adversary(server, 0.1, 0.1)
    found = Parameters.of(n, adversary)
    less = replace(found, least_masks=found.least_masks - 2, masks=found.masks - (0 if adversary.malicious else 2))
    assert log2_closed(n, adversary, less) > bound(adversary)


def test_single_clients_are_not_all_there_is() -> None:
    """Two corrupt of 200: nobody has three corrupt picks, but any two clients may have each other and both of them."""
    adversary = Adversary("malicious", 0.01, 0.01)
    found = replace(Parameters.of(200, adversary), masks=6, least_masks=3)
    assert log2_tail(199, 2, 6, 3) == -inf
    assert log2_closed(200, adversary, found) > bound(adversary)


def test_the_tail_in_logarithms() -> None:
    """Against exact integers."""
    for population, marked, draws in ((5, 2, 2), (99, 30, 20), (199, 2, 6), (999, 350, 100)):
        exact, _ = exactly(population, marked, draws)
        for x, ways in enumerate(exact):
            found = log2_tail(population, marked, draws, x)
            assert found == -inf if ways == 0 else isclose(found, log2(ways) - log2(exact[0]), abs_tol=1e-6)
