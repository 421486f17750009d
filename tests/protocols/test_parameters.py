"""The parameters against an independent finder, against their definition in fractions, and the draws from a stream."""

import itertools
from fractions import Fraction
from math import ceil, comb

import pytest

from protocols.notation import RuleBroken, stream
from protocols.pairwise_masking import graph
from protocols.pairwise_masking.parameters import Parameters, find, least_open, parameters_of, tail
from protocols.vector_files import seed
from protocols.wire.specification import (
    MALICIOUS,
    SEMI_HONEST,
    Adversary,
    check_adversary,
    corrupt_clients,
    dropouts,
    least_survivors,
)

# Neighbours and thresholds (k, t) for σ = 40 and η = 20 by the corrupt share, which is the dropout share too, and by
# the size of the cohort; against a semi-honest and against a malicious server. Source: computed with an independent
# parameter finder, 2026.
FOUND_BY_OTHERS = {
    (50, 10**3): ((30, 17), (52, 37)),
    (50, 10**4): ((34, 20), (62, 44)),
    (50, 10**6): ((38, 22), (74, 52)),
    (100, 10**3): ((48, 27), (96, 67)),
    (100, 10**4): ((54, 31), (122, 85)),
    (100, 10**6): ((64, 36), (146, 101)),
    (200, 10**3): ((98, 54), (302, 206)),
    (200, 10**4): ((122, 67), (482, 328)),
    (200, 10**6): ((144, 78), (600, 407)),
}


@pytest.mark.parametrize(("share", "n"), FOUND_BY_OTHERS)
@pytest.mark.parametrize("server", [SEMI_HONEST, MALICIOUS])
def test_neighbours_and_thresholds_are_those_that_others_found(server, share, n):
    p = parameters_of(n, Adversary(server, 40, 20, share, share))
    assert not p.complete
    assert (p.neighbours, p.threshold) == FOUND_BY_OTHERS[share, n][server - 1]


def test_tails_count_all_draws():
    """Against every draw from a small urn."""
    for N in range(1, 8):
        for marked, drawn in itertools.product(range(N + 1), repeat=2):
            counts = [sum(ball < marked for ball in draw) for draw in itertools.combinations(range(N), drawn)]
            expected = [sum(count >= m for count in counts) for m in range(drawn + 2)]
            assert tail(N, marked, drawn) == expected
            assert expected[0] == comb(N, drawn)


def P(N: int, marked: int, drawn: int, least: int) -> Fraction:
    """P[X(N, marked, drawn) ≥ least], term by term."""
    terms = (comb(marked, x) * comb(N - marked, drawn - x) for x in range(max(0, least), drawn + 1))
    return Fraction(sum(terms), comb(N, drawn))


def first(n, adversary, N, bad, least, margin, s):
    """`find`, written as the text is."""
    D, eta = dropouts(n, adversary), adversary.correctness
    for k in range(least, N // 2 + 1, 2):
        for t in range(1, k + 1):
            if n * P(N, bad, k, margin(k, t)) <= Fraction(1, 2**s):
                if n * P(N, D, k, k - t + 1) <= Fraction(1, 2**eta):
                    return k, t
                break
    return None


def is_open(n, adversary, kappa, tau, gone, most, s):
    """`open`, written as the text is."""
    C, a, j = corrupt_clients(n, adversary), 1, 0
    while a <= most:
        b = min(2 * a, most + 1)
        p = P(n - 1, min(gone + b - 2, n - 1), kappa, tau)
        if a == 1 and n * p > Fraction(1, 2 ** (s + 1)):
            return False
        if a >= 2 and 3 * (n - C) * p > a * Fraction(1, 2 ** max(1, ceil(Fraction(s + 2 + j, a)))):
            return False
        a, j = 2 * a, j + 1
    return True


def by_definition(n: int, adversary: Adversary) -> Parameters:
    """The table of the text, in fractions."""
    C, D, L = (f(n, adversary) for f in (corrupt_clients, dropouts, least_survivors))
    sigma, eta = adversary.security, adversary.correctness
    if n <= sigma:
        q, theta = (n, L) if adversary.server == MALICIOUS else (0, 0)
        return Parameters(True, n, L, n, 0, q, theta, L)
    if adversary.server == SEMI_HONEST:
        complete = Parameters(True, n, L, n, 0, 0, 0, L)
        fit = (x for x in range(1, (n - 1) // 2 + 1) if is_open(n, adversary, x, x, C + D, n // 2, sigma + 1))
        kappa = next(fit, None)
        if kappa is None:
            return complete
        shares = first(n, adversary, n - 1, C, 2 * ceil(kappa / 2), lambda k, t: t, sigma + 1)
        return Parameters(False, *shares, kappa, 0, 0, 0, n - D) if shares else complete
    complete = Parameters(True, n, L, n, 0, n, L, L)
    for kappa in range(2, (n - 1) // 2 + 1, 2):
        fit = (x for x in range(1, kappa + 1) if is_open(n, adversary, kappa, x, C, n // 4, sigma + 2))
        tau = next(fit, None)
        if tau and n * P(n - 1, D, kappa, kappa - tau + 1) <= Fraction(1, 2**eta):
            break
    else:
        return complete
    shares = first(n, adversary, n - 1, C, kappa, lambda k, t: 2 * t - k, sigma + 1)
    if shares is None:
        return complete
    consent = first(n, adversary, n, (n + C) // 2, 2, lambda k, t: t, sigma + 2)
    return Parameters(False, *shares, kappa, tau, *(consent or (n, L)), L)


@pytest.mark.parametrize("server", [SEMI_HONEST, MALICIOUS])
@pytest.mark.parametrize("n", [2, 3, 4, 6, 9, 18, 25, 40])
def test_parameters_are_those_of_the_definition(server, n):
    seen = set()
    for fields in itertools.product((1, 3, 24, 25, 40), (1, 4, 20), (0, 100, 400), (0, 100, 150)):
        adversary = Adversary(server, *fields)
        try:
            check_adversary(n, adversary)
        except RuleBroken:
            continue
        seen.add(parameters_of(n, adversary))
        assert parameters_of(n, adversary) == by_definition(n, adversary), adversary
    assert n < 18 or not all(p.complete for p in seen)


def test_a_draw_is_never_larger_than_the_greatest():
    """Of 10,000, half of whom are bad, 1,024 are not enough for 128 bits; where few are bad, a few are enough."""
    adversary = Adversary(SEMI_HONEST, 128, 64, 499, 499)
    assert find(10_000, adversary, 9_999, 4_990, 2, lambda k, t: t, 129) is None
    assert parameters_of(10_000, adversary).complete
    assert not parameters_of(10_000, Adversary(SEMI_HONEST, 128, 64, 100, 100)).complete


@pytest.mark.parametrize(("choices", "wanted"), [(1, 1), (2, 2), (7, 3), (7, 7), (1000, 40)])
def test_a_draw_reads_words_and_skips_what_was_named(choices, wanted):
    key = seed(f"draw/{choices}")
    words = [int.from_bytes(stream(key, 8, 8 * i), "little") % choices for i in range(200)]
    assert graph.draw(key, choices, wanted) == list(dict.fromkeys(words))[:wanted]


def test_every_client_may_be_picked_and_none_picks_itself():
    """Over many secrets, each of the others comes first about equally often."""
    cohort, client = (2, 3, 5, 7, 11), 5
    firsts = [graph.drawn_picks(seed("S"), cohort, client, seed(f"r/{i}"), 1)[0] for i in range(2000)]
    counts = {other: firsts.count(other) for other in cohort}
    assert counts.pop(client) == 0
    assert all(400 < count < 600 for count in counts.values()), counts


def test_words_over_the_limit_are_skipped(monkeypatch):
    """Of 2^64 words those at the end would favour the low numbers."""
    words = [2**64 - 1, 2**64 - 2**64 % 7, 2**64 - 2**64 % 7 - 1, 5]
    data = b"".join(word.to_bytes(8, "little") for word in words)
    monkeypatch.setattr(graph, "stream", lambda key, length, start: data[start : start + length])
    assert graph.draw(b"", 7, 2) == [6, 5]


def test_small_sets_are_not_cut_off():
    """The union bound of the text, computed set size by set size: it is what `open` promises, for few and for many."""
    for n, gone, most, s in ((24, 3, 12, 3), (100, 10, 25, 42), (100, 25, 50, 41), (400, 60, 200, 41)):
        adversary = Adversary(SEMI_HONEST, 40, 20, 0, 0)
        for kappa in range(2, n // 2, 2):
            tau = least_open(n, adversary, kappa, gone, most, s)
            if tau is None:
                continue
            # C = 1: of a set of a honest clients each has at least τ of its κ picks among the gone and the others.
            union = sum(
                comb(n - 1, a) * P(n - 1, min(gone + a - 1, n - 1), kappa, tau) ** a for a in range(1, most + 1)
            )
            assert union <= Fraction(1, 2**s)
            break
        else:
            pytest.fail("no κ")
