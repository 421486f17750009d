"""The running sum of ciphertexts: all that the server does with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from securefed.crypto.keystream import Words
from securefed.he.seal import Ciphertext, CkksContext

__all__ = ["CiphertextAdder"]


class _Format(Protocol):
    """How ciphertexts are written; it has no key."""

    @property
    def context(self) -> CkksContext: ...

    def parse_payload(self, payload: bytes | memoryview) -> Iterator[Ciphertext]: ...

    def parse_sum(self, total: bytes | memoryview) -> Iterator[Ciphertext]: ...

    def pack_sum(self, polynomials: list[tuple[Words, Words]]) -> bytes: ...


class CiphertextAdder:
    """See `cipher.Adder`. Memory: one encrypted update as the library holds it, two polynomials a ciphertext."""

    def __init__(self, written: _Format) -> None:
        self._format = written
        self._sums: list[Ciphertext] = []

    def add(self, payload: bytes | memoryview) -> None:
        """See `cipher.Adder`."""
        # What is wrong with a payload is found before its first ciphertext is made: so it is added whole or not at all.
        for at, ciphertext in enumerate(self._format.parse_payload(payload)):
            if at == len(self._sums):
                self._sums.append(ciphertext)
            else:
                self._format.context.add(self._sums[at], ciphertext)

    def total(self) -> bytes:
        """See `cipher.Adder`."""
        return self._format.pack_sum([self._format.context.words(ciphertext) for ciphertext in self._sums])

    def take_up(self, total: bytes | memoryview) -> None:
        """See `cipher.Adder`."""
        self._sums = list(self._format.parse_sum(total))
