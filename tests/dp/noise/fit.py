"""Goodness of fit: how improbable what was drawn is under the law that was asked for.

Every statistic is turned into a standard normal one. Judged are m of them at a time, with Bonferroni's correction: a
correct sampler is blamed with a probability below `FALSE_ALARM`, and with fixed keys never twice differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, erfc, exp, lgamma, log, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FALSE_ALARM = 1e-7

Counts = npt.NDArray[np.float64]


def threshold(tests: int) -> float:
    """The greatest |z| that so many tests may show."""
    return -NormalDist().inv_cdf(FALSE_ALARM / (2 * tests))


def blamed(statistics: Sequence[float]) -> bool:
    """Whether any of these standard normal numbers is improbably far out."""
    return bool(np.abs(statistics).max() > threshold(len(statistics)))


def chi_square(seen: Counts, expected: Counts) -> float:
    """Pearson's statistic as a normal number (Wilson and Hilferty 1931); bins that expect less than 10 are joined."""
    seen, expected = joined(seen, expected)
    freedom = len(seen) - 1
    statistic = float(((seen - expected) ** 2 / expected).sum())
    return ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / sqrt(2 / (9 * freedom))


def joined(seen: Counts, expected: Counts) -> tuple[Counts, Counts]:
    """Neighbouring bins until each expects 10."""
    parts: list[list[float]] = [[0.0, 0.0]]
    for count, hoped in zip(seen, expected, strict=True):
        if parts[-1][1] >= 10:
            parts.append([0.0, 0.0])
        parts[-1][0] += count
        parts[-1][1] += hoped
    if parts[-1][1] < 10 and len(parts) > 1:
        last = parts.pop()
        parts[-1][0] += last[0]
        parts[-1][1] += last[1]
    both = np.array(parts)
    return both[:, 0], both[:, 1]


def dependence(values: npt.NDArray[np.number], lag: int) -> list[float]:
    """Correlations of neighbours, of their squares and of their signs, as normal numbers."""
    centred = values.astype(np.float64)
    centred /= centred.std() or 1.0
    shown = []
    for of in (centred, centred**2 - (centred**2).mean(), np.sign(centred)):
        spread = (of**2).mean() or 1.0
        shown.append(float((of[:-lag] * of[lag:]).mean() / spread * sqrt(len(of) - lag)))
    return shown


def gaussian_law(sigma: float) -> npt.NDArray[np.float64]:
    """P(x) of N_Z(0, σ²) for x = −k … k, up to 12 deviations and some."""
    k = int(12 * sigma) + 12
    weights = np.exp(-(np.arange(-k, k + 1) ** 2) / (2 * sigma * sigma))
    return weights / weights.sum()


def skellam_law(variance: float) -> npt.NDArray[np.float64]:
    """P(x) of Poisson(v/2) − Poisson(v/2), as the sum over the second one: no Bessel function is involved."""
    mean, k = variance / 2, int(12 * sqrt(variance)) + 20
    reach = int(12 * sqrt(mean)) + 40
    counts = range(max(0, int(mean) - reach), int(mean) + reach)
    poisson = np.array([exp(j * log(mean) - mean - lgamma(j + 1)) for j in counts])
    both = np.convolve(poisson, poisson[::-1])
    top = len(poisson) - 1
    padded = np.concatenate([np.zeros(max(0, k - top)), both, np.zeros(max(0, k - top))])
    middle = len(padded) // 2
    return padded[middle - k : middle + k + 1]


def normal_bins(edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Standard normal probabilities between these edges, and beyond the last ones."""
    below = np.array([0.5 * erfc(-e / sqrt(2)) if e < 0 else 0.5 + 0.5 * erf(e / sqrt(2)) for e in edges])
    return np.diff(below, prepend=0.0, append=1.0)
