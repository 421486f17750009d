"""Correlated noise of the matrix mechanism as a stream of rows: row t of C⁻¹·z, drawn from a key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from securefed.crypto.hashing import digest, digest_in_domain
from securefed.crypto.kdf import KEY_BYTES, Label, derive
from securefed.dp.central.strategy import Rows, Strategy
from securefed.dp.noise.gaussian import gaussian
from securefed.dp.noise.source import Source
from securefed.errors import LocalProtocolError

__all__ = ["MatrixNoise", "claim_of"]


def claim_of(row: int, clients: Sequence[int], total: npt.NDArray[np.float64]) -> bytes:
    """Digest of what a row of noise is drawn for, 32 bytes; it tells of the sum, and is as secret.

    Args:
        row: from 0.
        clients: ids of those whose vectors are in the sum, ascending.
        total: float64, shape [d].
    """
    ids = b"".join(client.to_bytes(8, "big") for client in clients)
    head = row.to_bytes(8, "big") + len(clients).to_bytes(8, "big") + ids
    return digest_in_domain("matrix-row", head, np.ascontiguousarray(total, "<f8").data)


class MatrixNoise:
    """Rows y_0, y_1, … of C⁻¹·z, where z has independent standard normal entries.

    Row t of z is drawn from `KDF(key, "dp-noise", u64(t + 1) ‖ H(binding))`. With all that the row will hide as its
    binding, a row that is drawn again for the same release is the same to the bit, and one for another release is
    independent of it: whoever takes up an old state, or a copy of it, never covers two sums with one row of noise.

    Not covered is the gap between floats and reals (Mironov 2012): rows are float32.

    Memory: `strategy.buffers` + 1 rows of float32.

    Args:
        strategy: the matrix C.
        size: d, entries of a row.
        key: 32 secret bytes, used for nothing else.
    """

    def __init__(self, strategy: Strategy, size: int, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {KEY_BYTES} bytes is needed, got {len(key)}")
        self.strategy = strategy
        self.size = size
        self.row = -1
        self.last: Rows = np.zeros(size, np.float32)
        self.buffers: Rows = np.zeros((strategy.buffers, size), np.float32)
        self._key = bytes(key)

    def __repr__(self) -> str:
        return f"MatrixNoise(row={self.row}, size={self.size})"

    @property
    def key_name(self) -> bytes:
        """16 bytes that tell two keys apart and nothing else of them."""
        return derive(self._key, Label.DP_NOISE, bytes(8) + digest(b"name"))[:16]

    def next(self, binding: bytes) -> Rows:
        """The next row, float32, shape [d], of unit variance before the correlation. It belongs to this object.

        Args:
            binding: all that the row hides and is released with; bytes that differ for every two releases.

        Raises:
            LocalProtocolError: M4 after the last row.
        """
        if self.row + 1 >= self.strategy.schema.rounds:
            raise LocalProtocolError("M4", f"all {self.strategy.schema.rounds} rows of noise were drawn")
        # Rows count from 1 in the derivation: number 0 names the key.
        context = (self.row + 2).to_bytes(8, "big") + digest(binding)
        row = gaussian(Source.derived(self._key, Label.DP_NOISE, context), self.size)
        self.row += 1
        self.strategy.correlate(self.row, row, self.buffers)
        self.last = row
        return row

    def restore(self, row: int, last: Rows, buffers: Rows) -> None:
        """Take up the state after row `row`, as this object's attributes of these names had it."""
        if last.shape != self.last.shape or buffers.shape != self.buffers.shape:
            raise ValueError("the state is of another stream")
        self.row, self.last, self.buffers = row, last.copy(), buffers.copy()
