"""The rings that ciphertexts live in, checked against the homomorphic encryption standard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securefed.errors import ConfigError

__all__ = ["COMPACT", "CONSERVATIVE", "NVFLARE", "STANDARD_BITS", "STANDARD_LIMIT", "PrimeRing", "Ring"]

STANDARD_BITS: Final = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Most bits of a modulus by degree: 128 bits of security against classical attacks, secrets uniform in {−1, 0, 1}
(Albrecht et al., Homomorphic Encryption Security Standard, 2018, Table 1)."""


@dataclass(frozen=True)
class Ring:
    """Z_q[X] / (X^N + 1) with q = 2^bits.

    Attributes:
        degree: N, a power of two.
        bits: of q, at most 64.

    Raises:
        ConfigError: H7, where the standard does not give 128 bits of security for it.
    """

    degree: int
    bits: int

    def __post_init__(self) -> None:
        greatest = STANDARD_BITS.get(self.degree)
        if greatest is None:
            raise ConfigError("aggregation.scheme", f"[H7] the standard has no parameters of degree {self.degree}")
        if self.bits > greatest:
            raise ConfigError(
                "aggregation.scheme",
                f"[H7] {self.bits} bits of modulus at degree {self.degree} are below 128 bits of security: at most "
                f"{greatest} are allowed",
            )


@dataclass(frozen=True)
class PrimeRing(Ring):
    """The same with a product of primes as q.

    Attributes:
        bits: of all primes together.
        primes: each 1 modulo 2N. Where there are several the last one is of keys alone and in no ciphertext.
    """

    primes: tuple[int, ...]

    @property
    def data_primes(self) -> tuple[int, ...]:
        """Of ciphertexts."""
        return self.primes[:-1] or self.primes


def _of_primes(degree: int, *primes: int) -> PrimeRing:
    return PrimeRing(degree, sum(prime.bit_length() for prime in primes), primes)


CONSERVATIVE: Final = Ring(4096, 64)
"""64 bits where the standard allows 109."""
STANDARD_LIMIT: Final = Ring(2048, 54)
"""54 bits, all that the standard allows; estimators say about 126 bits of security today."""
COMPACT: Final = (_of_primes(1024, 0x7FFF801), _of_primes(2048, 0x3FFFFFFFFED001))
"""27 and 54 bits, each all that the standard allows."""
NVFLARE: Final = _of_primes(8192, 0xFFFFFFFFFFFC001, 0xFFFFF4C001, 0xFFFFFDC001)
"""60, 40 and 40 bits: the parameters of NVFlare's homomorphic filters."""
