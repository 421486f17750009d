"""One client's update to noisy integers, and the sum of many back to a mean update."""

import math
from dataclasses import dataclass

from protocols.encoding.lanes import ring_of
from protocols.encoding.layout import Layout, TensorSpec, layout_digest
from protocols.notation import KDF, RuleBroken, require, stream
from protocols.wire.specification import Adversary, corrupt_clients, least_survivors

REPEATED = 2.0**-20  # β: a rounding is repeated with at most this probability
CLAMPED = 2.0**-20  # a coordinate is clamped before the noise with at most this probability
ATTEMPTS = 64
GREATEST_BITS = 22
PADDING = 64
SKELLAM = "skellam"
DISCRETE_GAUSSIAN = "discrete-gaussian"


@dataclass(frozen=True)
class Parameters:
    """The numbers that decide how a cohort adds noise."""

    clients: int  # n
    least_honest: int  # t
    corrupt: int
    dimension: int  # d
    clip: float  # C
    grid: int  # s
    bits: int  # b
    variance: float  # v
    kind: str
    block: int
    failure_bits: int  # k

    @property
    def sizes(self) -> list[int]:
        """The blocks of a vector."""
        return block_sizes(self.dimension, self.block)

    @property
    def length(self) -> int:
        """d', coordinates with padding."""
        return sum(self.sizes)

    @property
    def greatest(self) -> int:
        """Q."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def signal_bound(self) -> int:
        """K."""
        flatness = math.sqrt(2 * math.log(2 * self.length / CLAMPED) / min(self.sizes))
        return math.ceil(self.grid * min(1.0, flatness))

    @property
    def l2_squared(self) -> int:
        """N."""
        s, root = self.grid, math.sqrt(self.length)
        likely = s**2 + self.length / 4 + math.sqrt(2 * math.log(1 / REPEATED)) * (s + root / 2)
        return math.floor(min(likely, (s + root) ** 2))

    @property
    def l1(self) -> int:
        """Δ₁: the lesser of N and the least integer whose square is at least d'·N."""
        root = math.isqrt(self.length * self.l2_squared)
        return min(self.l2_squared, root if root**2 == self.length * self.l2_squared else root + 1)

    @property
    def overflow_log2(self) -> float:
        """log2 p: of the probability that any noise of a round leaves its range."""
        room = self.greatest - self.signal_bound
        return 0.0 if room < 0 else self.round_log2(room)

    @property
    def noise_reach(self) -> int:
        """The least range that the noise of a round leaves with a probability of at most 2^−k."""
        reach = 0
        while self.round_log2(reach) > -self.failure_bits:
            reach += 1
        return reach

    def round_log2(self, reach: int) -> float:
        """log2 of a bound on the probability that any of n·d' noise numbers is beyond ±reach."""
        return tail_log2(self.kind, self.variance, reach) + math.log2(self.clients * self.length)


def tail_log2(kind: str, v: float, reach: int) -> float:
    """log2 of a bound on the probability that a noise number is beyond ±reach."""
    r = reach + 1
    if kind == DISCRETE_GAUSSIAN:
        return 1 - r**2 / (2 * v) / math.log(2)
    return 1 + (v * (math.sqrt(1 + (r / v) ** 2) - 1) - r * math.asinh(r / v)) / math.log(2)


def check_parameters(parameters: Parameters) -> None:
    """Raise N6, N7 or V8 for numbers with which no cohort can add noise."""
    p = parameters
    integers = [
        (p.clients, 1, 2**20), (p.least_honest, 1, 2**20), (p.corrupt, 0, 2**20), (p.dimension, 1, 2**40),
        (p.grid, 1, 2**24), (p.bits, 2, GREATEST_BITS), (p.block, 1, 2**20), (p.failure_bits, 1, 1000),
    ]  # fmt: skip
    for value, least, greatest in integers:
        require(type(value) is int and least <= value <= greatest, "N6", f"{value} is not in {least} … {greatest}")
    require(p.block & (p.block - 1) == 0, "N6", f"blocks of {p.block}")
    require(2.0**-400 <= p.clip <= 2.0**400, "N6", f"a clip of {p.clip}")
    require(0.25 <= p.variance <= 2.0**40, "N6", f"a variance of {p.variance}")
    require(p.kind in (SKELLAM, DISCRETE_GAUSSIAN), "N6", f"noise of kind {p.kind}")
    require(p.least_honest + p.corrupt <= p.clients, "N6", "more clients than there are")
    require(p.overflow_log2 <= -p.failure_bits, "N7", "the noise does not fit its bits")
    ring_of(p.clients, p.bits)


def block_sizes(dimension: int, block: int) -> list[int]:
    """Blocks of falling powers of two, from `block` down; the last may be padded."""
    least = 1
    while 2 * least <= min(block, dimension / PADDING):
        least *= 2
    sizes, left, size = [], -(-dimension // least) * least, block
    while left > 0:
        if left >= size:
            sizes.append(size)
            left -= size
        else:
            size //= 2
    return sizes


@dataclass(frozen=True)
class Round:
    """What a round's specification says that the noise depends on."""

    clients: int  # in the cohort
    adversary: Adversary
    bits: int
    clip: float
    greatest_weight: int
    layout: bytes  # digest


def round_layout(parameters: Parameters) -> Layout:
    """The one layout whose updates are noisy integers."""
    return Layout((TensorSpec("noised", "float64", (parameters.length,)),), ("weight",))


def check_round(round_: Round, parameters: Parameters, least_honest: int | None = None) -> None:
    """Raise N11 for a round in which the sum would not have the noise that was planned.

    Args:
        least_honest: fewest honest clients in a sum that the server may learn, where that is not L − C.
    """
    p, r = parameters, round_
    require((r.bits, r.clip, r.greatest_weight) == (p.bits, p.greatest, 1), "N11", "integers would be changed")
    require(r.layout == layout_digest(round_layout(p)), "N11", "another layout")
    require(r.clients <= p.clients, "N11", "a larger cohort")
    corrupt = corrupt_clients(r.clients, r.adversary)
    require(corrupt <= p.corrupt, "N11", f"{corrupt} corrupt clients")
    honest = least_survivors(r.clients, r.adversary) - corrupt if least_honest is None else least_honest
    require(honest >= p.least_honest, "N11", f"sums over {honest} honest clients")


def signs(seed: bytes, length: int) -> list[int]:
    """±1 for each coordinate. Raises N5."""
    require(len(seed) == 32, "N5", f"a seed of {len(seed)} bytes")
    data = stream(KDF(seed, "dp-rotation", b""), (length + 7) // 8)
    return [-1 if data[i // 8] >> (i % 8) & 1 else 1 for i in range(length)]


def hadamard(x: list[float]) -> list[float]:
    """The product with the Hadamard matrix of Sylvester's order, not scaled."""
    if len(x) == 1:
        return x
    half = len(x) // 2
    first, second = hadamard(x[:half]), hadamard(x[half:])
    return [a + b for a, b in zip(first, second, strict=True)] + [a - b for a, b in zip(first, second, strict=True)]


def rotate(x: list[float], sizes: list[int], seed: bytes) -> list[float]:
    """H·D·x, block by block. Pre-condition: x fills the blocks but for the padding of the last."""
    length = sum(sizes)
    padded = x + [0.0] * (length - len(x))
    mixed = [value * sign for value, sign in zip(padded, signs(seed, length), strict=True)]
    rotated, at = [], 0
    for size in sizes:
        rotated += [value / math.sqrt(size) for value in hadamard(mixed[at : at + size])]
        at += size
    return rotated


def rotate_back(y: list[float], sizes: list[int], seed: bytes) -> list[float]:
    """D·H·y: the inverse, padding included."""
    mixed, at = [], 0
    for size in sizes:
        mixed += [value / math.sqrt(size) for value in hadamard(y[at : at + size])]
        at += size
    return [value * sign for value, sign in zip(mixed, signs(seed, len(mixed)), strict=True)]


def check_update(x: list[float], dtype: str, parameters: Parameters) -> None:
    """Raise N3 or N4."""
    right = dtype in ("float32", "float64") and len(x) == parameters.dimension
    require(right, "N4", f"{len(x)} values of {dtype}")
    require(all(math.isfinite(value) for value in x), "N3", "a value is not finite")
    require(math.isfinite(sum(value * value for value in x)), "N3", "a norm that no double holds")


def signal(x: list[float], seed: bytes, parameters: Parameters) -> list[float]:
    """The clipped, rotated and clamped update in steps of the grid."""
    norm = math.sqrt(math.fsum(value * value for value in x))
    scale = parameters.grid / max(parameters.clip, norm)
    rotated = rotate([value * scale for value in x], parameters.sizes, seed)
    K = parameters.signal_bound
    return [max(-K, min(K, value)) for value in rotated]


def round_conditionally(y: list[float], words: list[int], l2_squared: int) -> tuple[list[int], int]:
    """Integers near y whose squares add up to at most N, and how many attempts they took.

    Args:
        words: 32 random bits for each coordinate of each attempt, one attempt behind the other.
    """
    for attempt in range(ATTEMPTS):
        randomness = words[attempt * len(y) : (attempt + 1) * len(y)]
        z = [math.floor(v + r / 2**32) for v, r in zip(y, randomness, strict=True)]
        if sum(i * i for i in z) <= l2_squared:
            return z, attempt + 1
    raise RuleBroken("N8", f"{ATTEMPTS} roundings in a row are too long")


def encode(
    x: list[float], dtype: str, seed: bytes, words: list[int], noise: list[int], parameters: Parameters
) -> list[int]:
    """A client's noisy integers, from its random words and its noise. Raises N3–N8 and V8."""
    check_parameters(parameters)
    check_update(x, dtype, parameters)
    z, _ = round_conditionally(signal(x, seed, parameters), words, parameters.l2_squared)
    Q = parameters.greatest
    return [max(-Q, min(Q, i + e)) for i, e in zip(z, noise, strict=True)]


def check_survivors(survivors: int, parameters: Parameters) -> None:
    """Raise N10 for a sum with less noise than was planned, or of more clients than there are."""
    least = parameters.least_honest + parameters.corrupt
    require(least <= survivors <= parameters.clients, "N10", f"a sum of {survivors} clients")


def decode(sums: list[int], survivors: int, seed: bytes, parameters: Parameters) -> list[float]:
    """The mean update from the sum of so many clients' integers. Raises N5, N9 and N10."""
    check_survivors(survivors, parameters)
    require(len(sums) == parameters.length, "N9", f"{len(sums)} sums")
    require(max(map(abs, sums)) <= survivors * parameters.greatest, "N9", "a sum that no so many integers have")
    scale = parameters.clip / parameters.grid / survivors
    mean = [value * scale for value in rotate_back([float(i) for i in sums], parameters.sizes, seed)]
    return mean[: parameters.dimension]
