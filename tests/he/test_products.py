"""Products of polynomials are exact: those of Python's integers, for the greatest that there are as for any."""

from __future__ import annotations

import numpy as np
import pytest

from securefed.he.products import SmallFactor

MODULUS = 2**64


def exact(factor: list[int], other: list[int]) -> list[int]:
    """The negacyclic product modulo 2^64, in one multiplication of two great integers (Kronecker)."""
    n, width = len(factor), 64 + 16
    plus = sum((f == 1) << (width * at) for at, f in enumerate(factor))
    minus = sum((f == -1) << (width * at) for at, f in enumerate(factor))
    whole = sum(o << (width * at) for at, o in enumerate(other))

    def coefficients(product: int) -> list[int]:
        raw = product.to_bytes(2 * n * width // 8, "little")
        found = [int.from_bytes(raw[at * width // 8 : (at + 1) * width // 8], "little") for at in range(2 * n)]
        return [low - high for low, high in zip(found[:n], found[n:], strict=True)]

    pairs = zip(coefficients(plus * whole), coefficients(minus * whole), strict=True)
    return [(p - m) % MODULUS for p, m in pairs]


FACTORS = {
    "ones": lambda n, _: np.ones(n, np.int8),
    "minus ones": lambda n, _: -np.ones(n, np.int8),
    "signs in turn": lambda n, _: np.tile(np.array([1, -1], np.int8), n // 2),
    "random": lambda n, rng: rng.integers(-1, 2, n).astype(np.int8),
    "one term": lambda n, _: np.eye(1, n, n - 1, np.int8)[0],
    "nothing": lambda n, _: np.zeros(n, np.int8),
}
OTHERS = {
    "all ones": lambda n, _: np.full(n, MODULUS - 1, "<u8"),
    "the greatest halves": lambda n, _: np.full(n, 0x7FFFFFFF_7FFFFFFF, "<u8"),
    "the least halves": lambda n, _: np.full(n, 0x80000000_80000000, "<u8"),
    "signs in turn": lambda n, _: np.tile(np.array([0x7FFFFFFF_7FFFFFFF, 0x80000000_80000000], "<u8"), n // 2),
    "random": lambda n, rng: rng.integers(0, MODULUS, n, dtype="<u8"),
}


@pytest.mark.parametrize("degree", [2, 8, 2048, 4096])
@pytest.mark.parametrize("factor", FACTORS)
def test_products_are_exact(degree: int, factor: str) -> None:
    rng = np.random.default_rng(degree)
    small = FACTORS[factor](degree, rng)
    others = np.stack([make(degree, rng) for make in OTHERS.values()])
    found = SmallFactor(small) * others
    for row, other in zip(found, others, strict=True):
        assert row.tolist() == exact(small.tolist(), other.tolist())
