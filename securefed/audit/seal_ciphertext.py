"""Ciphertexts of Microsoft SEAL as polynomials. All that is known here of its memory layout is in this file.

TenSEAL has two bindings to it, and only `tenseal.sealapi` gives the numbers; what the other makes goes there through a
file, as neither takes bytes. Nothing of TenSEAL is imported here: who has its objects has the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from securefed.audit.ckks_key_recovery import RlweCiphertext, ring_of

__all__ = ["SealCiphertext", "TensealReader", "read_ciphertext"]


class _Array(Protocol):
    def at(self, index: int, /) -> int: ...


class SealCiphertext(Protocol):
    """What a `tenseal.sealapi.Ciphertext` offers."""

    scale: float

    def size(self) -> int:
        """Polynomials."""
        ...

    def poly_modulus_degree(self) -> int:
        """N."""
        ...

    def coeff_modulus_size(self) -> int:
        """Primes of the ciphertext modulus."""
        ...

    def is_ntt_form(self) -> bool:
        """Whether values at the points of the transform are stored, as in CKKS, or coefficients, as in BFV."""
        ...

    def dyn_array(self) -> _Array:
        """All numbers: polynomial after polynomial, in each prime after prime, N numbers in each."""
        ...


def read_ciphertext(ciphertext: SealCiphertext, first_prime: int) -> RlweCiphertext:
    """c0 and c1 at the first prime of the ciphertext modulus.

    Args:
        first_prime: of the context's `coeff_modulus`; it is the last one that rescaling leaves.

    Raises:
        ValueError: not two polynomials (a product that was not relinearised), or a number is beyond the prime.
    """
    if ciphertext.size() != 2:
        raise ValueError(f"two polynomials are needed, got {ciphertext.size()}")
    degree, primes, numbers = ciphertext.poly_modulus_degree(), ciphertext.coeff_modulus_size(), ciphertext.dyn_array()
    ring = ring_of(degree, first_prime)
    c0, c1 = (np.array([numbers.at(start + at) for at in range(degree)], object) for start in (0, primes * degree))
    if max(c0.max(), c1.max()) >= first_prime:
        raise ValueError("a number is beyond the prime: another context's ciphertext")
    if not ciphertext.is_ntt_form():
        c0, c1 = ring.transform(c0), ring.transform(c1)
    return RlweCiphertext(ring, c0, c1, ciphertext.scale)


class TensealReader:
    """Reads what TenSEAL makes in contexts of these public parameters.

    Args:
        sealapi: the module `tenseal.sealapi`.
        degree: N.
        modulus_bits: sizes of the primes, as given to `tenseal.context`; which primes follows from them.
    """

    def __init__(self, sealapi: Any, degree: int, modulus_bits: Sequence[int]) -> None:
        self._seal = sealapi
        parameters = self._seal.EncryptionParameters(self._seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(degree)
        primes = self._seal.CoeffModulus.Create(degree, list(modulus_bits))
        parameters.set_coeff_modulus(primes)
        self._context = self._seal.SEALContext(parameters, True, self._seal.SEC_LEVEL_TYPE.TC128)
        self.first_prime: int = primes[0].value()

    def vector(self, vector: Any) -> list[RlweCiphertext]:
        """The ciphertexts of a `tenseal.CKKSVector`: N/2 of its values in each but the last, which may have fewer."""
        found = []
        with TemporaryDirectory() as folder:
            path = str(Path(folder) / "ciphertext")
            for chunk in vector.ciphertext():
                chunk.save(path)
                ciphertext = self._seal.Ciphertext()
                ciphertext.load(self._context, path)
                found.append(read_ciphertext(ciphertext, self.first_prime))
        return found
