"""Products in Z[X] / (X^N + 1) modulo 2^64 with a polynomial of small coefficients, by the fast Fourier transform.

A real negacyclic product is a complex cyclic one of half the length (Nussbaumer's folding, as used for TFHE by
Chillotti, Gama, Georgieva and Izabachène 2020). Coefficients of 64 bits are cut in two halves of 32, and halves are
small enough for the exact integers to be read off doubles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from securefed.crypto.keystream import Words

__all__ = ["SmallFactor"]

_HALF = np.uint64(32)


class SmallFactor:
    """A polynomial of coefficients −1, 0 and 1, by which others are multiplied. It is a secret: its repr is bare.

    Args:
        coefficients: int8, shape [N], N a power of two up to 4096.

    No integer is misread: a product by transforms of length 2^n errs by less than both factors' norms times
    (1 + ε)^3n (1 + √5 ε)^(3n + 1) (1 + β)^3n − 1, with ε = 2^-53 and β ≤ ε the roots' own error (Percival 2003, Theorem
    5.1, with the constant of Brent, Percival and Zimmermann 2007). The norms are at most 2^31 · √N and √N, so at
    N = 4096 that is below 2^43 · 142 · 2^-53 < 0.14, and with the twists below 0.15.
    """

    def __init__(self, coefficients: npt.NDArray[np.int8]) -> None:
        self._half = len(coefficients) // 2
        self._twist = np.exp(1j * np.pi * np.arange(self._half) / len(coefficients))
        self._back = np.conj(self._twist)
        self._values = np.fft.fft(self._folded(coefficients))

    def __repr__(self) -> str:
        return "SmallFactor(…)"

    def __mul__(self, others: Words) -> Words:
        """The products with polynomials of coefficients modulo 2^64: uint64, shape [m, N]."""
        low = others.astype(np.int32)  # modulo 2^32, as signed numbers
        high = ((others - low.astype(np.uint64)) >> _HALF).astype(np.int32)
        product = self._product(high)
        product <<= _HALF
        product += self._product(low)
        return product

    def _folded(self, coefficients: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.complex128]:
        """c_j + i · c_{j + N/2}, twisted by the 2N-th roots of unity."""
        folded = np.empty((*coefficients.shape[:-1], self._half), np.complex128)
        folded.real = coefficients[..., : self._half]
        folded.imag = coefficients[..., self._half :]
        folded *= self._twist
        return folded

    def _product(self, others: npt.NDArray[np.int32]) -> Words:
        values = np.fft.fft(self._folded(others))
        values *= self._values
        folded = np.fft.ifft(values)
        folded *= self._back
        product = np.empty(others.shape, np.int64)
        product[:, : self._half] = np.rint(folded.real)
        product[:, self._half :] = np.rint(folded.imag)
        return product.view(np.uint64)
