"""The secret key of an approximate scheme, from ciphertexts and their decryptions as they come.

Li and Micciancio, *On the Security of Homomorphic Encryption on Approximate Numbers*, EUROCRYPT 2021. A CKKS decryption
is not the message: it is message plus error, c0 + c1·s itself, only divided by a scale and written in floats. Encoded
again it gives that polynomial back, and what is left is linear in s: one division at every point of the number
theoretic transform. Nothing is guessed and no lattice is reduced; N = 8192 takes less than a second.

Where decryptions give the real parts of the slots alone (TenSEAL, so NVFlare too), one gives half the equations: the
polynomial is known together with its mirror image, m(X) + m(1/X), and two decryptions are needed. The chunks of one
long vector are several.

What is released rounded to a grid coarser than the error no longer has the error in it, and the same algebra gives
noise: that is why exact integer sums can be published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Opened", "Recovery", "Ring", "RlweCiphertext", "recover", "slots_of"]

Residues = npt.NDArray[np.object_]
"""Integers 0 … q−1 as Python integers: products of 60-bit numbers do not fit a machine word."""
Integers = npt.NDArray[np.int64]
Slots = npt.NDArray[np.float64] | npt.NDArray[np.complex128]

_GENERATOR: Final = 3
"""Slot j of SEAL is the polynomial's value at ζ^(3^j), ζ = e^(πi/N)."""


@dataclass(frozen=True)
class Ring:
    """ℤ_q[X]/(X^N + 1) and its number theoretic transform, in SEAL's order of points.

    Attributes:
        degree: N, a power of two.
        prime: q, 1 modulo 2N. Of a ciphertext modulus of several primes any one will do: the key is ternary.
    """

    degree: int
    prime: int

    def __post_init__(self) -> None:
        if self.degree < 2 or self.degree & (self.degree - 1):
            raise ValueError(f"the degree is a power of two, got {self.degree}")
        if self.prime % (2 * self.degree) != 1:
            raise ValueError(f"{self.prime} is not 1 modulo {2 * self.degree}: no transform")

    @cached_property
    def _roots(self) -> Residues:
        """Powers of ψ in bit-reversed order; ψ is the least primitive 2N-th root of unity, as SEAL takes it."""
        q, n = self.prime, self.degree
        candidates = (pow(x, (q - 1) // (2 * n), q) for x in range(2, q))
        some = next(root for root in candidates if pow(root, n, q) == q - 1)
        least, power = some, some
        for _ in range(n - 1):
            power = power * some * some % q
            least = min(least, power)
        powers = [1]
        for _ in range(n - 1):
            powers.append(powers[-1] * least % q)
        order = np.zeros(1, np.int64)
        while len(order) < n:
            order = np.concatenate([2 * order, 2 * order + 1])
        return np.array(powers, object)[order]

    def transform(self, polynomial: Integers | Residues) -> Residues:
        """Values of a polynomial of N coefficients: at place i that at ψ^(2·reversed(i) + 1)."""
        values = polynomial.astype(object) % self.prime
        blocks = 1
        while blocks < self.degree:
            halves = values.reshape(blocks, 2, -1)
            turned = halves[:, 1] * self._roots[blocks : 2 * blocks, None] % self.prime
            values = np.stack([halves[:, 0] + turned, halves[:, 0] - turned], axis=1) % self.prime
            blocks *= 2
        return values.reshape(self.degree)

    def polynomial(self, values: Residues) -> Integers:
        """The polynomial of these values; coefficients −q/2 … q/2."""
        blocks = self.degree // 2
        while blocks:
            halves = values.reshape(blocks, 2, -1)
            # 1/ψ^r is −ψ^(N−r): the same table backwards.
            back = self.prime - self._roots[blocks : 2 * blocks][::-1, None]
            turned = (halves[:, 0] - halves[:, 1]) * back
            values = np.stack([halves[:, 0] + halves[:, 1], turned], axis=1) % self.prime
            blocks //= 2
        values = values.reshape(self.degree) * pow(self.degree, -1, self.prime) % self.prime
        return np.where(values > self.prime // 2, values - self.prime, values).astype(np.int64)


@lru_cache
def ring_of(degree: int, prime: int) -> Ring:
    """One ring, so that its roots are computed once."""
    return Ring(degree, prime)


@dataclass(frozen=True, eq=False, repr=False)
class RlweCiphertext:
    """(c0, c1) with c0 + c1·s = plaintext polynomial + error.

    Attributes:
        ring: degree and one prime of the ciphertext modulus.
        c0, c1: their N values at the points of the ring's transform.
        scale: what CKKS slots were multiplied by; without meaning in exact schemes.
    """

    ring: Ring
    c0: Residues
    c1: Residues
    scale: float = 1.0


@dataclass(frozen=True, eq=False, repr=False)
class Opened:
    """A ciphertext, and c0 + c1·s as far as its decryption says it.

    Attributes:
        polynomial: N integers: p = c0 + c1·s, or p(X) + p(1/X) where `mirrored`.
    """

    ciphertext: RlweCiphertext
    polynomial: Integers
    mirrored: bool = False

    @classmethod
    def from_slots(cls, ciphertext: RlweCiphertext, slots: Slots) -> Opened:
        """From a CKKS decryption, encoded again.

        Args:
            slots: N/2 numbers, all that the ciphertext holds; complex, or the real parts alone.

        Raises:
            ValueError: a slot is missing (the last chunk of a vector that does not fill it), or coefficients are so
                large that float64 cannot say them to the integer.
        """
        degree, real = ciphertext.ring.degree, not np.iscomplexobj(slots)
        if slots.shape != (degree // 2,):
            raise ValueError(f"a ciphertext of degree {degree} has {degree // 2} slots, got {slots.shape}")
        at = np.zeros(2 * degree, np.complex128)
        at[_exponents(degree)] = 2 * slots if real else slots
        at[2 * degree - _exponents(degree)] = 2 * slots if real else np.conj(slots)
        coefficients = np.fft.fft(at).real[:degree] * (ciphertext.scale / degree)
        if np.abs(coefficients).max() >= 2.0**48:
            raise ValueError("coefficients of 2^48 and more have lost their last digits on the way here")
        return cls(ciphertext, np.rint(coefficients).astype(np.int64), mirrored=real)

    def equations(self) -> Iterator[tuple[Residues, Residues, Residues]]:
        """Rows (a, b, y) with a·s(x) + b·s(1/x) = y, for the first N/2 points x of the transform.

        1/x of the point at place i is at place N−1−i.
        """
        ring, half = self.ciphertext.ring, self.ciphertext.ring.degree // 2
        known = ring.transform(self.polynomial)
        c0, c1 = self.ciphertext.c0, self.ciphertext.c1
        if self.mirrored:
            yield c1[:half], c1[::-1][:half], (known - c0 - c0[::-1])[:half] % ring.prime
        else:
            nothing = np.zeros(half, object)
            yield c1[:half], nothing, (known - c0)[:half] % ring.prime
            yield nothing, c1[::-1][:half], (known - c0)[::-1][:half] % ring.prime


@dataclass(frozen=True, eq=False)
class Recovery:
    """What came out.

    Attributes:
        determined: share of the transform's points at which the equations had one solution.
        ternary: share of the solution's coefficients in −1 … 1: 1 for the key, 3/q for noise; 0 where a point is
            undetermined, as each coefficient needs all of them.
        key: N coefficients −1 … 1, or None. That it is the key needs no further proof: of noise all N would be
            ternary with probability (3/q)^N.
    """

    determined: float
    ternary: float
    key: npt.NDArray[np.int8] | None = field(default=None, repr=False)


def recover(opened: Sequence[Opened]) -> Recovery:
    """The secret key from ciphertexts under it, of one ring, and their decryptions.

    Two with real parts alone, or one with whole slots, determine the key unless c1 vanishes somewhere (N/q); more
    decryptions fill what one misses.

    Raises:
        ValueError: no ciphertext, or of several rings.
    """
    if len({one.ciphertext.ring for one in opened}) != 1:
        raise ValueError("ciphertexts of one ring are needed")
    ring = opened[0].ciphertext.ring
    half, q = ring.degree // 2, ring.prime
    values = np.zeros(ring.degree, object)
    solved = np.zeros(half, bool)
    rows = [row for one in opened for row in one.equations()]
    for (a, b, y), (c, d, z) in combinations(rows, 2):
        determinant = (a * d - b * c) % q
        new = np.flatnonzero(~solved & (determinant != 0))
        inverse = np.array([pow(int(x), -1, q) for x in determinant[new]], object)
        values[new] = (y * d - b * z)[new] * inverse % q
        values[ring.degree - 1 - new] = (a * z - y * c)[new] * inverse % q
        solved[new] = True
        if solved.all():
            break
    if not solved.all():
        return Recovery(float(solved.mean()), 0.0)
    solution = ring.polynomial(values)
    small = np.abs(solution) <= 1
    return Recovery(1.0, float(small.mean()), solution.astype(np.int8) if small.all() else None)


def slots_of(ciphertext: RlweCiphertext, key: npt.NDArray[np.int8]) -> npt.NDArray[np.complex128]:
    """A CKKS ciphertext opened with a key: N/2 slots. Right as long as no coefficient of the plaintext is over q/2."""
    ring = ciphertext.ring
    plain = ring.polynomial((ciphertext.c0 + ciphertext.c1 * ring.transform(key.astype(np.int64))) % ring.prime)
    values = np.fft.ifft(plain.astype(np.float64), 2 * ring.degree) * (2 * ring.degree)
    return np.asarray(values[_exponents(ring.degree)] / ciphertext.scale)


@lru_cache
def _exponents(degree: int) -> npt.NDArray[np.int64]:
    """Of ζ, slot by slot."""
    found = [1]
    for _ in range(degree // 2 - 1):
        found.append(found[-1] * _GENERATOR % (2 * degree))
    return np.array(found)
