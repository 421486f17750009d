"""One-time tags that add up with the values they belong to (Carter and Wegman 1981, over the sum of a cohort).

Client i, with lane values v, sends τ_j = Σ_m k_j[m] · v[m] + ρ_j(i) mod P for j = 0 … 3 in lanes of its own. The
coefficients k are the same for all clients of a round, the pads ρ are each client's; the server knows neither. A sum
V, τ over the clients of a set S is right only if Σ_m k_j[m] · V[m] + Σ_{i in S} ρ_j(i) = τ_j for all j.

Given every vector and every tag, the pads make the coefficients uniform still; so whatever a server makes of the
ciphertexts, another V than the true one passes with probability at most (2^-32 + 2^-61)^4, about 2^-128.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.crypto.kdf import Label, derive
from securefed.crypto.keystream import Reader, Words
from securefed.crypto.keystream import read as read_stream

__all__ = ["PRIME", "TAGS", "TagKey", "TaggedSum"]

PRIME: Final = 2**61 - 1
TAGS: Final = 4
_PART_BITS: Final = 22
_PART: Final = np.uint64(2**_PART_BITS - 1)
_ROW: Final = 2**10


class TagKey:
    """What the clients of a round know and the server does not.

    Args:
        round_key: 32 bytes.
        context: what the key is bound to, of a fixed length.
    """

    def __init__(self, round_key: bytes, context: bytes) -> None:
        self._round_key = round_key
        self._context = context

    def __repr__(self) -> str:
        return "TagKey(…)"

    def coefficients(self, tag: int) -> Reader:
        """The stream of one tag's coefficients: 4 bytes a lane."""
        return Reader(derive(self._round_key, Label.TAG_COEFFICIENTS, self._context + bytes([tag])))

    def pads(self, client: int) -> tuple[int, ...]:
        """ρ of one client: an integer modulo P for each tag, 2^-67 from uniform."""
        key = derive(self._round_key, Label.TAG_PADS, self._context + client.to_bytes(4, "big"))
        raw = read_stream(key, 16 * TAGS)
        return tuple(int.from_bytes(raw[at : at + 16], "little") % PRIME for at in range(0, len(raw), 16))

    def append_tags(self, values: Iterable[Words], client: int, digit_bits: int, digits: int) -> Iterator[Words]:
        """The pieces of one client's lane values (each below 2^32), then its tags in lanes."""
        total = TaggedSum(self)
        for piece in values:
            total.add(piece)
            yield piece
        mask = (1 << digit_bits) - 1
        tags = [(value + pad) % PRIME for value, pad in zip(total.values, self.pads(client), strict=True)]
        yield np.array([tag >> (digit_bits * at) & mask for tag in tags for at in range(digits)], "<u8")


class TaggedSum:
    """Σ_m k_j[m] · v[m] of values that come in pieces."""

    def __init__(self, key: TagKey) -> None:
        self._streams = [key.coefficients(tag) for tag in range(TAGS)]
        self.values = [0] * TAGS

    def add(self, piece: Words) -> None:
        """The next values, uint64."""
        length = -(-len(piece) // _ROW) * _ROW
        parts = list(_parts(_padded(piece, length)))
        for tag, stream in enumerate(self._streams):
            coefficients = _padded(stream.take(4 * len(piece)).view("<u4"), length)
            total = sum(_dot(coefficients, part) << (_PART_BITS * at) for at, part in enumerate(parts))
            self.values[tag] = (self.values[tag] + total) % PRIME


def _padded(values: npt.NDArray[np.unsignedinteger], length: int) -> Words:
    """In rows, zeros behind."""
    rows = np.zeros(length, "<u8")
    rows[: len(values)] = values
    return rows.reshape(-1, _ROW)


def _parts(values: Words) -> Iterator[Words]:
    """Values cut to 22 bits, the lowest first: then a row of products with 32 bits adds up within a word."""
    while True:
        yield values & _PART
        values = values >> np.uint64(_PART_BITS)
        if not values.any():
            return


def _dot(coefficients: Words, values: Words) -> int:
    rows = np.einsum("ij,ij->i", coefficients, values)
    return sum(rows.tolist())
