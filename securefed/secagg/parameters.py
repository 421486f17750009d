"""Neighbours and thresholds from the stated adversary, with exact hypergeometric tails.

Conditions and their reasons: `protocols/pairwise_masking/README.md`, Parameters; after Bell et al. 2020, section 3.
Each size is looked at roughly first and then exactly (`tails`): half a second for the worst offer there is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from securefed.secagg.tails import Tail, Tails, exactly, roughly
from securefed.wire.adversary import Adversary

__all__ = ["MOST_NEIGHBOURS", "Parameters"]

_Found = TypeVar("_Found")

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
        least_inputs: ℓ, fewest clients that advertise, share and give an input: the sum is over them. Who is lost
            afterwards is in the sum all the same.
    """

    complete: bool
    neighbours: int
    threshold: int
    masks: int
    least_masks: int
    signatures: int
    least_signatures: int
    least_inputs: int

    @staticmethod
    def of(cohort: int, adversary: Adversary) -> Parameters:
        """For n clients."""
        return _parameters(cohort, adversary)

    @property
    def attested(self) -> bool:
        """Whether inputs are attested: in a sparse graph under a malicious server."""
        return not self.complete and self.signatures > 0

    def least_in_a_sum(self, cohort: int) -> int:
        """Fewest clients in a sum that a server may learn: in a sparse graph a malicious one may part the survivors."""
        return cohort // 4 + 1 if self.attested else self.least_inputs


@lru_cache(maxsize=64)
def _parameters(n: int, adversary: Adversary) -> Parameters:
    least = adversary.least_survivors(n)
    consent = (n, least) if adversary.malicious else (0, 0)
    complete = Parameters(True, n, least, n, 0, *consent, least)
    if n <= adversary.security:
        # Tails of so few clients are often exactly zero: a sparse graph would be right, and lost with the first loss
        # beyond those that were stated.
        return complete
    return (_malicious(n, adversary) if adversary.malicious else _semi_honest(n, adversary)) or complete


def _semi_honest(n: int, adversary: Adversary) -> Parameters | None:
    """The first column of the text's table; None where one of its rows has no solution."""
    corrupt, lost = adversary.corrupt_clients(n), adversary.lost_clients(n)

    def connected(masks: int, tails: Tails) -> int | None:
        return _least_open(n, adversary, masks, corrupt + lost, n // 2, adversary.security + 1, tails, masks)

    sizes = range(1, min((n - 1) // 2, MOST_NEIGHBOURS) + 1)
    # One pick more is one more that must be gone: what holds for a number of picks holds for every greater one.
    at = bisect_left(sizes, True, key=lambda masks: connected(masks, roughly) is not None)
    masks = _first(sizes[at:], connected)
    if masks is None:
        return None
    shares = _find(n, adversary, n - 1, corrupt, masks + masks % 2, _itself, adversary.security + 1)
    return shares and Parameters(False, *shares, masks, 0, 0, 0, n - lost)


def _malicious(n: int, adversary: Adversary) -> Parameters | None:
    """The second column."""
    corrupt, security, least = adversary.corrupt_clients(n), adversary.security, adversary.least_survivors(n)

    def connected(masks: int, tails: Tails) -> tuple[int, int] | None:
        most = _most_after_losses(n, adversary, n - 1, masks, tails)
        needed = most and _least_open(n, adversary, masks, corrupt, n // 4, security + 2, tails, most)
        return (masks, needed) if needed else None

    peers = _first(range(2, min((n - 1) // 2, MOST_NEIGHBOURS) + 1, 2), connected)
    if peers is None:
        return None
    shares = _find(n, adversary, n - 1, corrupt, peers[0], lambda k, t: 2 * t - k, security + 1)
    if shares is None:
        return None
    consent = _find(n, adversary, n, (n + corrupt) // 2, 2, _itself, security + 2)
    return Parameters(False, *shares, *peers, *(consent or (n, least)), least)


def _first(sizes: Sequence[int], holds: Callable[[int, Tails], _Found | None]) -> _Found | None:
    """What is found for the first size for which a condition holds."""
    for size in sizes:
        if holds(size, roughly) is not None:
            found = holds(size, exactly)
            if found is not None:
                return found
    return None


def _find(
    n: int, adversary: Adversary, population: int, bad: int, least: int, margin: Callable[[int, int], int], bits: int
) -> tuple[int, int] | None:
    """`find` of the text."""

    def enough(k: int, tails: Tails) -> tuple[int, int] | None:
        most, many = _most_after_losses(n, adversary, population, k, tails), tails(population, bad, k)
        choices = range(1, most + 1)
        at = bisect_left(choices, True, key=lambda t: margin(k, t) >= 1 and _rare(many, margin(k, t), n, bits))
        return (k, choices[at]) if at < len(choices) else None

    return _first(range(least, min(population // 2, MOST_NEIGHBOURS) + 1, 2), enough)


def _most_after_losses(n: int, adversary: Adversary, population: int, k: int, tails: Tails) -> int:
    """Greatest t, of 0 … k, for which it is rare that fewer than t of k are left when the stated share is lost."""
    lost = tails(population, adversary.lost_clients(n), k)
    return k - bisect_left(range(k), True, key=lambda spare: _rare(lost, spare + 1, n, adversary.correctness))


def _least_open(
    n: int, adversary: Adversary, masks: int, gone: int, most_clients: int, bits: int, tails: Tails, most: int
) -> int | None:
    """`open` of the text: least τ, of 1 … most, for which no set of up to `most_clients` honest clients is closed.

    Sets of a … 2a − 1 clients are bounded together. Not all tails are asked for where one bound cannot be kept.
    """
    honest, needed = n - adversary.corrupt_clients(n), 1
    for j in range(most_clients.bit_length()):
        a = 1 << j
        tail, whole = tails(n - 1, min(gone + min(2 * a, most_clients + 1) - 2, n - 1), masks)
        factor, limit = (3 * honest, max(1, -(-(bits + 2 + j) // a))) if j else (n, bits + 1)
        while needed <= most and factor * tail[needed] * 2**limit > whole * a:
            needed += 1
        if needed > most:
            return None
    return needed


def _itself(_: int, t: int) -> int:
    return t


def _rare(tail: Tail, x: int, n: int, bits: int) -> bool:
    """Whether `n · P[X ≥ x] ≤ 2^−bits`."""
    numerators, whole = tail
    return bool(n * numerators[min(x, len(numerators) - 1)] * 2**bits <= whole)
