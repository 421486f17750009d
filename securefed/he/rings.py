"""The rings that ciphertexts live in, checked against the homomorphic encryption standard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securefed.errors import ConfigError

__all__ = ["CONSERVATIVE", "ERROR_BOUND", "STANDARD_BITS", "STANDARD_LIMIT", "Ring"]

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
        modulus: q, a prime with 2N | q − 1.

    Raises:
        ConfigError: H7, where the standard does not give 128 bits of security for it.
    """

    degree: int
    modulus: int

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
    def bits(self) -> int:
        """Bits of q."""
        return self.modulus.bit_length()


CONSERVATIVE: Final = Ring(4096, 0xFFFFFFFFFFFC001)
"""60 bits where the standard allows 109."""
STANDARD_LIMIT: Final = Ring(2048, 0x3FFFFFFFFED001)
"""54 bits, all that the standard allows; estimators say about 126 bits of security today."""
