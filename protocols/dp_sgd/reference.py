"""DP-SGD in plain Python: the clipped, noisy sum, private quantiles, what a run costs. Randomness is an argument."""

import math
from dataclasses import dataclass

from protocols.notation import require

Vector = list[float]
RELATIONS = ("zero-out", "add-or-remove-one", "replace-one")


def norm(vector: Vector) -> float:
    """The ℓ₂ norm; not finite where an entry is not."""
    return math.sqrt(math.fsum(x * x for x in vector)) if all(map(math.isfinite, vector)) else math.nan


def clipped(gradient: Vector, bound: float) -> Vector:
    """One record's gradient in one group, scaled down to the bound; zero where it is not finite (D8)."""
    length = norm(gradient)
    if not math.isfinite(length):
        return [0.0] * len(gradient)
    factor = 1.0 if length <= bound else bound / length
    return [factor * x for x in gradient]


def clipped_sum(gradients: list[list[Vector]], losses: Vector, bounds: Vector, sizes: list[int]) -> list[Vector]:
    """Group by group, the sum over records of clipped gradients.

    Args:
        gradients: for each record, for each group, the gradient of the record's own loss.
        losses: of each record: where it is not finite, the record contributes zero to every group (D8).
        bounds: c_k > 0 of each group.
        sizes: entries of each group: an empty sample has a sum as well.
    """
    require(all(math.isfinite(c) and c > 0 for c in bounds), "D10", "a clip bound is not above 0 and finite")
    sums = [[0.0] * size for size in sizes]
    for record in (g for g, loss in zip(gradients, losses, strict=True) if math.isfinite(loss)):
        for k, gradient in enumerate(record):
            for j, x in enumerate(clipped(gradient, bounds[k])):
                sums[k][j] += x
    return sums


def released(
    sums: list[Vector], noise: list[Vector], multiplier: float, bounds: Vector, divisor: float
) -> list[Vector]:
    """What a step releases: the sum and z·C times standard normal noise, over the fixed divisor."""
    require(math.isfinite(multiplier) and multiplier >= 0, "D10", "the noise multiplier is below 0 or not finite")
    deviation = multiplier * norm(bounds)
    return [
        [(x + deviation * n) / divisor for x, n in zip(group, random, strict=True)]
        for group, random in zip(sums, noise, strict=True)
    ]


def quantile_update(
    norms: list[Vector], thresholds: Vector, noise: Vector, deviation: float, divisor: float, target: float, rate: float
) -> Vector:
    """The thresholds after one step: each towards the target's quantile of its group's norms.

    Args:
        norms: for each record, its norm in each group.
        thresholds: τ_k before.
        noise: one standard normal number a group.
        deviation: σ_b, in records.
        divisor: b.
        target: γ, the share of records that should lie within.
        rate: η.
    """
    moved = []
    for k, threshold in enumerate(thresholds):
        count = sum((0.5 if record[k] <= threshold else -0.5) for record in norms)
        share = (count + deviation * noise[k]) / divisor + 0.5
        moved.append(threshold * math.exp(-min(1.0, max(-1.0, rate * (share - target)))))
    return moved


def bounds_of(thresholds: Vector, total: float, ties: list[list[int]]) -> Vector:
    """The clip bounds: the thresholds, scaled so that one record moves the sum by the total at most.

    Args:
        thresholds: τ_k.
        total: C.
        ties: the groups, each in one list, together with those that it shares a parameter with.
    """
    scale = total / norm([math.fsum(thresholds[k] for k in tied) for tied in ties])
    return [scale * threshold for threshold in thresholds]


def effective_multiplier(multiplier: float, groups: int, deviation: float) -> float:
    """Of a step that releases a sum and so many noisy counts."""
    return 1 / math.sqrt(multiplier**-2 + groups / (4 * deviation**2))


def poisson_divergence(rate: float, multiplier: float, order: int) -> float:
    """The Rényi divergence of a Poisson-sampled Gaussian at a whole order (arXiv 1908.10530, Section 3.3)."""
    terms = [
        math.log(math.comb(order, k))
        + k * math.log(rate)
        + ((order - k) * math.log1p(-rate) if k < order else 0.0)
        + k * (k - 1) / (2 * multiplier**2)
        for k in range(order + 1)
    ]
    greatest = max(terms)
    return (greatest + math.log(math.fsum(math.exp(t - greatest) for t in terms))) / (order - 1)


def skellam_divergence(l1: float, l2: float, variance: float, order: int) -> float:
    """At most the Rényi divergence of Skellam noise at a whole order (arXiv 2110.04995)."""
    excess = min(((2 * order - 1) * l2**2 + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
    return order * l2**2 / (2 * variance) + excess


def epsilon_of_divergences(divergences: dict[int, float], delta: float) -> float:
    """The least ε over these orders (arXiv 2004.00010, Proposition 12)."""
    return max(0.0, min(d + math.log1p(-1 / a) - math.log(delta * a) / (a - 1) for a, d in divergences.items()))


def gaussian_epsilon(multipliers: Vector, delta: float) -> float:
    """The exact ε of unsampled Gaussian releases (Balle and Wang 2018, Theorem 8): their squared multipliers add up."""
    distance = math.sqrt(math.fsum(z**-2 for z in multipliers))

    def upper(x: float) -> float:
        return math.erfc(x / math.sqrt(2)) / 2

    def passed(epsilon: float) -> bool:
        first = upper(epsilon / distance - distance / 2)
        return first - math.exp(epsilon) * upper(epsilon / distance + distance / 2) <= delta

    low, high = 0.0, 1.0
    while not passed(high):
        high *= 2
    for _ in range(100):
        low, high = (low, (low + high) / 2) if passed((low + high) / 2) else ((low + high) / 2, high)
    return high


def check_epsilon(epsilon: float) -> None:
    """D10."""
    require(math.isfinite(epsilon) and epsilon > 0, "D10", "ε is not above 0 and finite")


def check_delta(delta: float) -> None:
    """D10."""
    require(0 < delta < 1, "D10", "δ is not in (0, 1)")


def check_sampled(examples: int, rate: float, most: int) -> None:
    """D10."""
    require(examples >= 1 and 0 < rate <= 1 and 1 <= most <= examples, "D10", "a rate or a cap is out of range")


@dataclass
class Drawn:
    """The records of one step.

    Attributes:
        sampler: which sampler drew them.
        indices: of the records.
        used: whether a step took them.
    """

    sampler: int
    indices: list[int]
    used: bool = False


def use(draw: Drawn, sampler: int) -> None:
    """Take a draw for a step that is accounted by this sampler's event: D7, then D6."""
    require(draw.sampler == sampler, "D7", "a draw of another sampler")
    require(not draw.used, "D6", "a draw that was used before")
    draw.used = True


def poisson_sample(words: list[int], rate_digits: list[int], examples: int) -> list[int]:
    """Which records are drawn: a record's word is compared with the rate's first 64 binary digits; words that agree are
    compared with the next digits, all records that are undecided taking a word each in their order.

    Args:
        words: uniform 64-bit integers.
        rate_digits: of the rate's exact value, 64 bits each, most significant first.
        examples: N.
    """
    left, drawn, undecided = list(words), set[int](), list(range(examples))
    for digits in rate_digits:
        taken, left = left[: len(undecided)], left[len(undecided) :]
        drawn |= {i for i, word in zip(undecided, taken, strict=True) if word < digits}
        undecided = [i for i, word in zip(undecided, taken, strict=True) if word == digits]
    return sorted(drawn)


def permutation(words: list[int], size: int) -> list[int]:
    """The order of the first `size` words; where two of them are equal, of the next ones."""
    keys, left = words[:size], words[size:]
    if len(set(keys)) < size:
        return permutation(left, size)
    return sorted(range(size), key=lambda i: keys[i])
