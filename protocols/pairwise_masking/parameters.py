"""How many neighbours, and how many of them are needed: exact tails of hypergeometric distributions, in integers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import comb

from protocols.wire.specification import MALICIOUS, Adversary, corrupt_clients, dropouts, least_survivors

GREATEST_DRAW = 1024
"""No draw is larger, and none takes more than half: beyond, everyone is everyone's neighbour."""


@dataclass(frozen=True)
class Parameters:
    """What follows from the size of the cohort and from the adversary."""

    complete: bool  # everyone is everyone's neighbour
    neighbours: int  # k: who get shares
    threshold: int  # t: shares that open a seed
    mask_neighbours: int  # κ: of the k, the first so many are masked with
    mask_survivors: int  # τ: so many of these must survive
    sample: int  # q: consents that a client looks for
    consents: int  # θ: so many of these must hold
    inputs: int  # ℓ: so many must be in U1, U2 and U3


Draw = tuple[int, int]
"""How many are drawn, and how many of them are needed."""

Margin = Callable[[int, int], int]
"""Of k drawn, of whom t are needed, so many bad ones are too many."""


def tail(N: int, marked: int, drawn: int) -> list[int]:
    """`comb(N, drawn)` times P[X ≥ m], for m from 0 to drawn + 1: exact. Pre-condition: marked, drawn ≤ N."""
    tails = [0]
    for ways in reversed(all_ways(N, marked, drawn)):
        tails.append(tails[-1] + ways)
    return tails[::-1]


def all_ways(N: int, marked: int, drawn: int) -> list[int]:
    """In how many ways exactly x of the drawn are marked, for x from 0 to drawn."""
    first, last = max(0, drawn - (N - marked)), min(marked, drawn)
    ways = [0] * (drawn + 1)
    ways[first] = comb(marked, first) * comb(N - marked, drawn - first)
    for x in range(first, last):
        # C(m, x + 1) = C(m, x)·(m − x)/(x + 1), and C(u, d − x − 1) = C(u, d − x)·(d − x)/(u − d + x + 1).
        ways[x + 1] = ways[x] * (marked - x) * (drawn - x) // ((x + 1) * (N - marked - drawn + x + 1))
    return ways


def find(n: int, adversary: Adversary, N: int, bad: int, least: int, margin: Margin, s: int) -> Draw | None:
    """`find` of the text, which takes n, D and η from the round. None: there is no solution."""
    D, eta = dropouts(n, adversary), adversary.correctness
    for k in range(least, min(N // 2, GREATEST_DRAW) + 1, 2):
        t = least_threshold(n, N, bad, k, margin, s)
        if t is not None and n * tail(N, D, k)[k - t + 1] << eta <= comb(N, k):
            return k, t
    return None


def least_threshold(n: int, N: int, bad: int, k: int, margin: Margin, s: int) -> int | None:
    """The least t in 1 … k with n · P[X(N, bad, k) ≥ margin(k, t)] ≤ 2^−s."""
    tails, total = tail(N, bad, k), comb(N, k)
    for t in range(1, k + 1):
        if n * tails[max(0, margin(k, t))] << s <= total:
            return t
    return None


def least_open(n: int, adversary: Adversary, kappa: int, gone: int, most: int, s: int) -> int | None:
    """The least τ in 1 … κ for which `open(κ, τ, gone, most, s)` of the text holds: more than κ never survive."""
    tau, total, others = 1, comb(n - 1, kappa), n - corrupt_clients(n, adversary)
    for j, a in enumerate(powers_of_two(most)):
        b = min(2 * a, most + 1)
        tails = tail(n - 1, min(gone + b - 2, n - 1), kappa)

        def holds(tau: int, a: int = a, j: int = j, tails: list[int] = tails) -> bool:
            if a == 1:
                return n * tails[tau] << (s + 1) <= total
            return 3 * others * tails[tau] << max(1, -(-(s + 2 + j) // a)) <= a * total

        while not holds(tau):
            tau += 1  # what holds for a τ holds for all above it: tails fall
        if tau > kappa:
            return None
    return tau


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, … up to `most`."""
    return [2**j for j in range(most.bit_length())]


def masks_semi_honest(n: int, adversary: Adversary) -> int | None:
    """The least κ whose picks may not all be gone."""
    gone = corrupt_clients(n, adversary) + dropouts(n, adversary)
    for kappa in range(1, min((n - 1) // 2, GREATEST_DRAW) + 1):
        if least_open(n, adversary, kappa, gone, n // 2, adversary.security + 1) is not None:
            return kappa
    return None


def masks_malicious(n: int, adversary: Adversary) -> Draw | None:
    """The first even κ, and the least τ with it."""
    C, D, sigma = corrupt_clients(n, adversary), dropouts(n, adversary), adversary.security
    for kappa in range(2, min((n - 1) // 2, GREATEST_DRAW) + 1, 2):
        tau = least_open(n, adversary, kappa, C, n // 4, sigma + 2)
        if tau is not None:
            left = n * tail(n - 1, D, kappa)[kappa - tau + 1]
            if left << adversary.correctness <= comb(n - 1, kappa):
                return kappa, tau
    return None


@cache
def parameters_of(n: int, adversary: Adversary) -> Parameters:
    """The table of the text."""
    if n <= adversary.security:
        return complete_graph(n, adversary)
    found = malicious(n, adversary) if adversary.server == MALICIOUS else semi_honest(n, adversary)
    return found or complete_graph(n, adversary)


def semi_honest(n: int, adversary: Adversary) -> Parameters | None:
    """The first column. None: one of its rows has no solution."""
    C, D, sigma = corrupt_clients(n, adversary), dropouts(n, adversary), adversary.security
    kappa = masks_semi_honest(n, adversary)
    if kappa is None:
        return None
    shares = find(n, adversary, n - 1, C, kappa + kappa % 2, lambda k, t: t, sigma + 1)
    if shares is None:
        return None
    k, t = shares
    return Parameters(False, k, t, kappa, 0, 0, 0, n - D)


def malicious(n: int, adversary: Adversary) -> Parameters | None:
    """The second column. None: one of its first two rows has no solution."""
    C, sigma = corrupt_clients(n, adversary), adversary.security
    masks = masks_malicious(n, adversary)
    if masks is None:
        return None
    kappa, tau = masks
    shares = find(n, adversary, n - 1, C, kappa, lambda k, t: 2 * t - k, sigma + 1)
    if shares is None:
        return None
    k, t = shares
    consent = find(n, adversary, n, (n + C) // 2, 2, lambda k, t: t, sigma + 2)
    q, theta = consent or (n, least_survivors(n, adversary))
    return Parameters(False, k, t, kappa, tau, q, theta, least_survivors(n, adversary))


def complete_graph(n: int, adversary: Adversary) -> Parameters:
    """Everyone is everyone's neighbour."""
    L = least_survivors(n, adversary)
    q, theta = (n, L) if adversary.server == MALICIOUS else (0, 0)
    return Parameters(True, n, L, n, 0, q, theta, L)
