"""The rings that ciphertexts live in, checked against the homomorphic encryption standard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securefed.errors import ConfigError

__all__ = ["COMPACT", "CONSERVATIVE", "ERROR_BOUND", "NVFLARE", "STANDARD_BITS", "STANDARD_LIMIT", "Ring"]

STANDARD_BITS: Final = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Most bits of a modulus by degree: 128 bits of security against classical attacks, secrets uniform in {−1, 0, 1}
(Albrecht et al., Homomorphic Encryption Security Standard, 2018, Table 1)."""

ERROR_BOUND: Final = 22
"""No fresh ciphertext's error is larger, its rounding included: the library cuts its Gaussian (σ = 3.2) at 6σ, so
19 + 1/2 are the most."""


@dataclass(frozen=True)
class Ring:
    """Z_q[X] / (X^N + 1).

    Attributes:
        degree: N, a power of two.
        modulus: q, a prime with 2N | q − 1; or the first of several, whose product is q.
        more: the others. The last one is of keys alone and in no ciphertext.

    Raises:
        ConfigError: H7, where the standard does not give 128 bits of security for it.
    """

    degree: int
    modulus: int
    more: tuple[int, ...] = ()

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

    @property
    def primes(self) -> tuple[int, ...]:
        """Of keys."""
        return (self.modulus, *self.more)

    @property
    def data_primes(self) -> tuple[int, ...]:
        """Of ciphertexts."""
        return self.primes[:-1] if self.more else self.primes

    @property
    def bits(self) -> int:
        """Bits of all primes together."""
        return sum(prime.bit_length() for prime in self.primes)


CONSERVATIVE: Final = Ring(4096, 0xFFFFFFFFFFFC001)
"""60 bits where the standard allows 109."""
STANDARD_LIMIT: Final = Ring(2048, 0x3FFFFFFFFED001)
"""54 bits, all that the standard allows; estimators say about 126 bits of security today."""

COMPACT: Final = Ring(1024, 0x7FFF801)
"""27 bits, all that the standard allows."""
NVFLARE: Final = Ring(8192, 0xFFFFFFFFFFFC001, (0xFFFFF4C001, 0xFFFFFDC001))
"""60, 40 and 40 bits: the parameters of NVFlare's homomorphic filters."""
