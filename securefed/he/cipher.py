"""What a homomorphic scheme must be able to do with one update, whatever it encrypts with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from securefed.crypto.keystream import Words
from securefed.he.rings import Ring

__all__ = ["Adder", "Cipher", "Packing"]


class Packing(Protocol):
    """How lanes lie in plaintexts; all follows from the round's numbers."""

    @property
    def ring(self) -> Ring:
        """Of the ciphertexts."""
        ...

    @property
    def count(self) -> int:
        """Lanes of one vector."""
        ...

    def binding(self) -> bytes:
        """11 bytes that keys are bound to."""
        ...


class Adder(Protocol):
    """The running sum of payloads. It holds ciphertexts alone and has no key: what it adds it cannot read."""

    def add(self, payload: bytes | memoryview) -> None:
        """Add one client's payload, or nothing of it.

        Raises:
            RemoteProtocolError: H3, a coefficient that is none; W13, bits beyond the last one.
        """
        ...

    def total(self) -> bytes | memoryview:
        """The payload of the sum, as the key holder takes it."""
        ...

    def take_up(self, total: bytes | memoryview) -> None:
        """Go on from a sum that `total` gave.

        Raises:
            RemoteProtocolError: H3, W13.
        """
        ...


class Cipher(Protocol):
    """Encryption of one round's updates under a secret polynomial.

    A secret is int8, shape [N], of coefficients −1, 0 and 1.
    """

    @property
    def packing(self) -> Packing:
        """Its parameters."""
        ...

    @property
    def payload_bytes(self) -> int:
        """Of an encrypted update."""
        ...

    @property
    def sum_bytes(self) -> int:
        """Of a sum of them."""
        ...

    def encrypt(self, secret: npt.NDArray[np.int8], values: Iterator[Words]) -> bytes:
        """The payload of all lane values, which come in pieces; their lanes are `packing.count`."""
        ...

    def adder(self) -> Adder:
        """A sum without summands."""
        ...

    def decrypt(self, secret: npt.NDArray[np.int8], total: bytes | memoryview, summands: int) -> Iterator[Words]:
        """The lanes' sums over so many summands, uint64, in pieces, `packing.count` in all.

        Raises:
            RemoteProtocolError: H3, W13.
        """
        ...
