"""Shamir's secret sharing over the integers modulo p = 2^256 + 297."""

from protocols.notation import KDF, require, stream, u8

P = 2**256 + 297
COEFFICIENT_BYTES = 48
SELF_MASK_SEED, MASK_KEY = 1, 2
"""The two kinds of secrets that a client shares."""


def coefficients(round_secret: bytes, session: bytes, roster: bytes, kind: int, threshold: int) -> list[int]:
    """a_1 … a_(t−1) of the polynomial that shares a client's secret of that kind; `roster` is its digest."""
    key = KDF(round_secret, "share-coefficients", session + roster + u8(kind))
    data = stream(key, COEFFICIENT_BYTES * (threshold - 1))
    return [int.from_bytes(data[m : m + COEFFICIENT_BYTES], "big") % P for m in range(0, len(data), COEFFICIENT_BYTES)]


def share(secret: int, polynomial: list[int], index: int) -> int:
    """f(index) for f = secret + a_1 x + … modulo p. Pre-condition: 0 ≤ secret < p, 1 ≤ index < p."""
    return (secret + sum(a * pow(index, m, P) for m, a in enumerate(polynomial, start=1))) % P


def combine(shares: list[tuple[int, int]], threshold: int) -> int:
    """f(0) from the first `threshold` pairs (index, share). Raises S1, S2, S3."""
    indices = [index for index, _ in shares]
    require(0 not in indices, "S2", "index 0 is the secret itself")
    require(len(set(indices)) == len(indices), "S2", f"an index is repeated in {indices}")
    require(len(shares) >= threshold, "S3", f"{len(shares)} shares of {threshold}")
    for _, value in shares:
        check_share(value)
    return value_at(shares[:threshold], 0)


def value_at(points: list[tuple[int, int]], x: int) -> int:
    """f(x) for the polynomial of least degree through the points. Pre-condition: their indices differ."""
    indices = [index for index, _ in points]
    return sum(value * lagrange(indices, index, x) for index, value in points) % P


def lagrange(indices: list[int], index: int, x: int = 0) -> int:
    """The factor of this index's share in f(x): Π (other − x) / (other − index) modulo p."""
    factor = 1
    for other in indices:
        if other != index:
            factor = factor * (other - x) * pow(other - index, -1, P) % P
    return factor


def check_share(value: int) -> None:
    """Raise S1 unless the share is below p."""
    require(value < P, "S1", "a share that is not below p")
