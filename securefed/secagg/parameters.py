"""Neighbours and thresholds from the stated adversary, with exact hypergeometric tails.

Conditions and their reasons: `protocols/pairwise_masking/README.md`, Parameters; after Bell et al. 2020, section 3.
Integers throughout: probabilities are compared as numerators over one binomial coefficient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import comb
from typing import Final

from securefed.wire.adversary import Adversary

__all__ = ["MOST_NEIGHBOURS", "Parameters", "drawn"]

MOST_NEIGHBOURS: Final = 1024
"""No sparser graph with more: it bounds what a client computes for an offer, and a graph so dense saves little."""


@dataclass(frozen=True)
class Parameters:
    """What follows from a cohort's size and its adversary; never sent.

    Attributes:
        complete: everyone is everyone's neighbour.
        neighbours: k, holders of the shares of one client's seeds.
        threshold: t, shares that open a seed.
        masks: κ, the first of a client's picks, with whom it masks.
        least_masks: τ, how many of these must survive for the client's self-mask to be opened.
        signatures: q, consents that a client verifies; 0 where the server is semi-honest.
        least_signatures: θ, how many of them must hold.
    """

    complete: bool
    neighbours: int
    threshold: int
    masks: int
    least_masks: int
    signatures: int
    least_signatures: int

    @staticmethod
    def of(cohort: int, adversary: Adversary) -> Parameters:
        """For n clients."""
        return _parameters(cohort, adversary)

    @property
    def attested(self) -> bool:
        """Whether inputs are attested: in a sparse graph under a malicious server."""
        return not self.complete and self.signatures > 0

    def least_in_a_sum(self, cohort: int, least_survivors: int) -> int:
        """Fewest clients in a sum that a server may learn: in a sparse graph a malicious one may part the survivors."""
        return cohort // 4 + 1 if self.attested else least_survivors


def drawn(population: int, marked: int, draws: int) -> list[int]:
    """`comb(population, draws) · P[X ≥ x]`, x = 0 … draws + 1, for X marked among so many drawn without replacement."""
    clear = population - marked
    lowest, highest = max(0, draws - clear), min(draws, marked)
    exactly = [0] * (draws + 2)
    if lowest <= highest:
        term = comb(marked, lowest) * comb(clear, draws - lowest)
        exactly[lowest] = term
        for x in range(lowest, highest):
            term = term * (marked - x) * (draws - x) // ((x + 1) * (clear - draws + x + 1))
            exactly[x + 1] = term
    return list(accumulate(reversed(exactly)))[::-1]


@lru_cache(maxsize=64)
def _parameters(n: int, adversary: Adversary) -> Parameters:
    corrupt, lost = adversary.corrupt_clients(n), adversary.lost_clients(n)
    security, malicious = adversary.security, adversary.malicious

    def find(
        population: int, bad: int, least: int, margin: Callable[[int, int], int], bits: int
    ) -> tuple[int, int] | None:
        for k in range(least, min(population // 2, MOST_NEIGHBOURS) + 1, 2):
            ways = comb(population, k)
            many = drawn(population, bad, k)
            t = next((t for t in range(1, k + 1) if _rare(many, margin(k, t), ways, n, bits)), None)
            if t is not None and _rare(drawn(population, lost, k), k - t + 1, ways, n, adversary.correctness):
                return k, t
        return None

    complete = Parameters(
        complete=True, neighbours=n, threshold=adversary.least_survivors(n), masks=n, least_masks=0,
        signatures=n if malicious else 0, least_signatures=adversary.least_survivors(n) if malicious else 0,
    )  # fmt: skip
    if n <= security:
        # Tails of so few clients are often exactly zero: a sparse graph would be right, and lost with the first loss
        # beyond those that were stated.
        return complete
    if not malicious:
        shares = find(n - 1, corrupt, 2, _itself, security + 1)
        masks = shares and _masks_if_semi_honest(n, adversary, shares[0])
        if not shares or not masks:
            return complete
        return Parameters(False, *shares, masks, 0, 0, 0)
    peers = _masks_if_malicious(n, adversary)
    shares = peers and find(n - 1, corrupt, peers[0], lambda k, t: 2 * t - k, security + 1)
    if not peers or not shares:
        return complete
    consent = find(n, (n + corrupt) // 2, 2, _itself, security + 2)
    return Parameters(False, *shares, *peers, *(consent or (complete.signatures, complete.least_signatures)))


def _masks_if_semi_honest(n: int, adversary: Adversary, most: int) -> int | None:
    """The least κ for which it is rare that any set of clients has all its picks corrupt, lost or in the set."""
    gone = adversary.corrupt_clients(n) + adversary.lost_clients(n)
    for k in range(1, most + 1):
        if _open(n, adversary, k, gone, n // 2, adversary.security + 1)(k):
            return k
    return None


def _masks_if_malicious(n: int, adversary: Adversary) -> tuple[int, int] | None:
    """The first even κ, with the least τ, for which no small set of honest clients can be cut off."""
    lost = adversary.lost_clients(n)
    for k in range(2, min((n - 1) // 2, MOST_NEIGHBOURS) + 1, 2):
        is_open = _open(n, adversary, k, adversary.corrupt_clients(n), n // 4, adversary.security + 2)
        t = next((t for t in range(1, k + 1) if is_open(t)), None)
        if t is not None and _rare(drawn(n - 1, lost, k), k - t + 1, comb(n - 1, k), n, adversary.correctness):
            return k, t
    return None


def _open(n: int, adversary: Adversary, k: int, gone: int, most: int, bits: int) -> Callable[[int], bool]:
    """Whether no set of up to `most` honest clients is closed where each needs t of its k picks, as a function of t.

    Sets of a … 2a − 1 clients are bounded together: `open` of the text.
    """
    ways, honest = comb(n - 1, k), n - adversary.corrupt_clients(n)
    bounds: list[tuple[list[int], int, int]] = []  # (tail, factor, limit): factor · P[X ≥ t] · 2^limit ≤ 1
    for j in range(most.bit_length()):
        a = 1 << j
        b = min(2 * a, most + 1)
        tail = drawn(n - 1, min(gone + b - 2, n - 1), k)
        bounds.append((tail, 3 * honest, max(1, -(-(bits + 2 + j) // a))) if j else (tail, n, bits + 1))
    return lambda t: all((factor * tail[t] << limit) <= ways << j for j, (tail, factor, limit) in enumerate(bounds))


def _itself(_: int, t: int) -> int:
    return t


def _rare(tail: list[int], x: int, ways: int, n: int, bits: int) -> bool:
    """Whether `n · P[X ≥ x] ≤ 2^−bits`; `tail` from `drawn`."""
    return x >= 1 and n * tail[min(x, len(tail) - 1)] << bits <= ways
