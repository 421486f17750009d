"""Samplers: the reference. Integers and fractions only; the words are an argument.

`words(count, bits)` gives the next so many words of the source. Weights are enclosed in intervals of integers, and a
comparison is repeated with twice the digits until the interval no longer contains the other side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import isqrt
from typing import Protocol

from protocols.notation import require

CELLS = 2**16
BATCH = 2**18
GREATEST_VARIANCE = Fraction(2**96)

Words = Callable[[int, int], list[int]]
Interval = tuple[Fraction, Fraction]


class Law(Protocol):
    """The weights of a law, by (x, digits): an interval that contains w(x), the shorter the more digits."""

    variance: Fraction
    least: Fraction  # variance

    def weight(self, x: int, digits: int) -> Interval:
        """The interval."""


class Gaussian:
    """w(x) = exp(−x²/2σ²) = 1/exp(x²/2σ²)."""

    least = Fraction(1, 2**8)

    def __init__(self, variance: Fraction) -> None:
        self.variance = variance

    @cache  # noqa: B019 - a law lives as long as its table
    def weight(self, x: int, digits: int) -> Interval:
        """The exponential series with positive terms, each rounded both ways to a multiple of 2^-digits."""
        y, unit = Fraction(x * x) / (2 * self.variance), 2**digits
        if y >= digits:
            return Fraction(0), Fraction(1, unit)
        low = high = low_term = high_term = unit
        k = 0
        while k < 2 * y or high_term > 1:
            k += 1
            low_term = low_term * y.numerator // (y.denominator * k)
            high_term = -(-high_term * y.numerator // (y.denominator * k))
            low, high = low + low_term, high + high_term
        if y:
            high += 2 * high_term  # from here on each term is less than half of the one before
        return Fraction(unit, high), Fraction(unit, low)


class Skellam:
    """w(x) = I_x(v)/I_0(v), from r_(k−1) = 1/(2k/v + r_k) with r_k = I_(k+1)/I_k in [0, 1] far out."""

    least = Fraction(1, 2**20)

    def __init__(self, variance: Fraction) -> None:
        self.variance = variance

    def weight(self, x: int, digits: int) -> Interval:
        """From the list of them all."""
        if x == 0:
            return Fraction(1), Fraction(1)
        weights = self._weights(digits)
        low, high = weights[abs(x)] if abs(x) < len(weights) else (0, weights[-1][1])
        return Fraction(low, 2**digits), Fraction(high, 2**digits)

    @cache  # noqa: B019 - a law lives as long as its table
    def _weights(self, digits: int) -> list[tuple[int, int]]:
        """Lower and upper bounds of 2^digits·w(0), 2^digits·w(1), …"""
        n, d, unit = self.variance.numerator, self.variance.denominator, 2**digits
        last = 2 * isqrt(int(self.variance) * digits + 1) + digits
        low, high = 0, unit
        ratios = [(low, high)]
        for k in range(last, 0, -1):
            low, high = n * unit**2 // (2 * k * d * unit + n * high), -(-n * unit**2 // (2 * k * d * unit + n * low))
            ratios.append((low, high))
        weights = [(unit, unit)]
        for low, high in reversed(ratios):
            weights.append((weights[-1][0] * low // unit, -(-weights[-1][1] * high // unit)))
        return weights


def settled(question: Callable[[int], int | None]) -> int:
    """The answer of a question that gives None where so many digits are too few."""
    digits = 128
    while (answer := question(digits)) is None:
        digits *= 2
    return answer


def same(low: int, high: int) -> int | None:
    """A number, where both bounds give the same."""
    return low if low == high else None


def ceiling(law: Law, factor: int, x: int) -> int:
    """⌈factor·w(x)⌉."""
    return settled(lambda digits: same(*(-(-factor * end.numerator // end.denominator)
                                         for end in law.weight(x, digits))))  # fmt: skip


def floor(law: Law, factor: int, x: int) -> int:
    """⌊factor·w(x)⌋."""
    return settled(lambda digits: same(*(factor * end.numerator // end.denominator
                                         for end in law.weight(x, digits))))  # fmt: skip


def halves(law: Law, x: int, further: int) -> bool:
    """Whether 2·w(x + further) ≤ w(x)."""

    def question(digits: int) -> int | None:
        near, far = law.weight(x, digits), law.weight(x + further, digits)
        return 1 if 2 * far[1] <= near[0] else 0 if 2 * far[0] > near[1] else None

    return bool(settled(question))


@dataclass(frozen=True)
class Table:
    """The table of a law, in the letters of the specification."""

    law: Law
    b: int
    R: int
    q: int
    N: int
    t: int
    sure: list[int]  # B·h
    open_cells: list[tuple[int, int]]  # B·h and level


def table(law: Law) -> Table:
    """The table. Pre-condition but for N1: none."""
    V = law.variance
    require(law.least <= V <= GREATEST_VARIANCE, "N1", "variance out of bounds")
    b = max([0, *(b for b in range(60) if 4 ** (b + 6) <= V)])
    B = 2**b
    H = max(1, isqrt(int(49 * V / (4 * B**2))))
    while 4 * (B * H) ** 2 < 49 * V:
        H += 1
    R = B * H
    q = next(q for q in range(60) if halves(law, R, 2 ** (b + q)))
    blocks = [B * h for h in range(-H, H)]
    nearest = {start: start if start >= 0 else start + B - 1 for start in blocks}
    farthest = {start: start + B - 1 if start >= 0 else start for start in blocks}

    def tail(N: int) -> int:
        return ceiling(law, N * 2 ** (q + 1), R)

    def cells(N: int) -> int:
        return 2 * tail(N) + sum(ceiling(law, N, nearest[start]) for start in blocks)

    N, step = 0, CELLS // 2
    while step:
        if cells(N + step) <= CELLS:
            N += step
        step //= 2
    sure, open_cells = [], []
    for start in blocks:
        under, levels = floor(law, N, farthest[start]), ceiling(law, N, nearest[start])
        sure += [start] * under
        open_cells += [(start, level) for level in range(under, levels)]
    return Table(law, b, R, q, N, tail(N), sure, open_cells)


@dataclass(frozen=True)
class Proposal:
    """Taken if level + f < N·2^e·w(x)."""

    place: int
    x: int
    level: int
    e: int


def sample(table: Table, size: int, words: Words) -> list[int]:
    """Independent values of the table's law."""
    values: list[int] = []
    while len(values) < size:
        values += batch(table, min(BATCH, size - len(values)), words)
    return values


def batch(table: Table, size: int, words: Words) -> list[int]:
    """The values of a batch: rounds for those that were refused, until none is."""
    values = [0] * size
    places = list(range(size))
    while places:
        places = one_round(table, values, places, words)
    return values


def one_round(table: Table, values: list[int], places: list[int], words: Words) -> list[int]:
    """Give values to these places; those that were refused one, in order."""
    width = 16 if table.b == 0 else 32 if table.b <= 16 else 64
    refused: list[int] = []
    proposals: list[Proposal] = []
    tails: list[tuple[int, int]] = []  # index among the proposals, cell among those of the tails
    first_tail = len(table.sure) + len(table.open_cells)
    for place, word in zip(places, words(len(places), width), strict=True):
        cell, l = word >> (width - 16), word % 2**table.b  # noqa: E741 - the name in the text
        if cell < len(table.sure):
            values[place] = table.sure[cell] + l
        elif cell < first_tail:
            start, level = table.open_cells[cell - len(table.sure)]
            proposals.append(Proposal(place, start + l, level, 0))
        elif cell < first_tail + 2 * table.t:
            tails.append((len(proposals), cell - first_tail))
            proposals.append(Proposal(place, 0, 0, 0))
        else:
            refused.append(place)
    blocks = trailing_zeros(len(tails), words)
    within = [word % 2 ** (table.b + table.q) for word in words(len(tails), 64)]
    for (at, cell), j, l in zip(tails, blocks, within, strict=True):  # noqa: E741
        x = table.R + j * 2 ** (table.b + table.q) + l
        proposals[at] = Proposal(
            proposals[at].place, x if cell < table.t else -1 - x, cell % table.t, table.q + 1 + j
        )  # fmt: skip
    digits = words(len(proposals), 64)
    still_open: list[tuple[Proposal, int]] = []
    for proposal, F in zip(proposals, digits, strict=True):
        answer = settled_by(table, proposal, F, 64)
        if answer is None:
            still_open.append((proposal, F))
        elif answer:
            values[proposal.place] = proposal.x
        else:
            refused.append(proposal.place)
    for proposal, F in still_open:
        if decided(table, proposal, F, words):
            values[proposal.place] = proposal.x
        else:
            refused.append(proposal.place)
    return sorted(refused)


def trailing_zeros(count: int, words: Words) -> list[int]:
    """The numbers j of the tails' blocks."""
    zeros = [0] * count
    waiting = list(range(count))
    while waiting:
        drawn = dict(zip(waiting, words(len(waiting), 64), strict=True))
        for at, word in drawn.items():
            zeros[at] += 64 if word == 0 else (word & -word).bit_length() - 1
        waiting = [at for at in waiting if drawn[at] == 0]
    return zeros


def decided(table: Table, proposal: Proposal, F: int, words: Words) -> bool:
    """Whether a proposal that 64 digits leave open is taken."""
    m = 64
    while True:
        F, m = F * 2**64 + words(1, 64)[0], m + 64
        answer = settled_by(table, proposal, F, m)
        if answer is not None:
            return answer


def settled_by(table: Table, proposal: Proposal, F: int, m: int) -> bool | None:
    """Whether level + f < N·2^e·w(x), where m digits F of f say it."""

    def question(digits: int) -> int | None:
        low, high = (table.N * 2**proposal.e * end for end in table.law.weight(proposal.x, digits))
        least, most = (proposal.level + Fraction(F + more, 2**m) for more in (0, 1))
        if most <= low:
            return 1
        if least >= high:
            return 0
        return 2 if least < low and high < most else None

    answer = settled(question)
    return None if answer == 2 else bool(answer)


def bernoulli(probability: Fraction, size: int, words: Words) -> list[bool]:
    """Coins."""
    require(0 <= probability <= 1, "N1", "a probability is in 0 … 1")
    digits = words(size, 64)
    return [coin(probability, F, words) for F in digits]


def coin(probability: Fraction, F: int, words: Words) -> bool:
    """One of them, from its first 64 digits."""
    m = 64
    while F < 2**m * probability < F + 1:
        F, m = F * 2**64 + words(1, 64)[0], m + 64
    return bool(2**m * probability >= F + 1)
