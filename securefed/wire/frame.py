"""What every message's decoder shares: the agreed header, lists of ids with items, sets of clients.

A decoder is given what was agreed before, so every length is known or bounded before it is read, and only
`RemoteProtocolError` leaves it.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from securefed.errors import RemoteProtocolError
from securefed.wire.header import HEADER_BYTES, Header, MessageType, Suite
from securefed.wire.specification import ascending

__all__ = ["Expected", "cut", "pack_list", "pack_set", "read_ids", "read_set", "set_bytes"]


@dataclass(frozen=True)
class Expected:
    """What a message's header must say besides its type and count."""

    suite: Suite
    session: bytes
    round: int
    sender: int

    def header(self, kind: MessageType, count: int) -> Header:
        """The header of a message that meets this."""
        return Header(kind, self.suite, self.session, self.round, self.sender, count)

    def read(
        self,
        kind: MessageType,
        message: bytes | memoryview,
        *,
        exactly: int | None = None,
        at_most: int | None = None,
        item_bytes: int,
        fixed_bytes: int = 0,
    ) -> tuple[int, memoryview]:
        """Count and body of a message, its header and length checked against all that was agreed.

        Raises:
            RemoteProtocolError: W1 … W8, W11, W12, R1, R2, R4.
        """
        header = Header.parse(message)
        if header.suite != self.suite:
            raise RemoteProtocolError("W5", f"suite {header.suite:#x}, the round has {self.suite:#x}")
        if header.session != self.session:
            raise RemoteProtocolError("R1", "a message of another session")
        if header.round != self.round:
            raise RemoteProtocolError("R2", f"a message of round {header.round}, this is round {self.round}")
        if header.type is not kind:
            raise RemoteProtocolError("R4", f"{header.type.name} where {kind.name} is expected")
        if header.sender != self.sender:
            raise RemoteProtocolError("W12", f"sender {header.sender} is not the authenticated peer {self.sender}")
        if exactly is not None and header.count != exactly:
            raise RemoteProtocolError("W11", f"{header.count} items, {exactly} were agreed")
        if at_most is not None and header.count > at_most:
            raise RemoteProtocolError("W7", f"{header.count} items, at most {at_most} were agreed")
        if len(message) != HEADER_BYTES + fixed_bytes + header.count * item_bytes:
            raise RemoteProtocolError("W8", f"{len(message)} bytes do not hold {header.count} items")
        return header.count, memoryview(message)[HEADER_BYTES:]


def pack_list(items: Mapping[int, bytes]) -> bytes:
    """Ids ascending, then their items in that order."""
    ids = sorted(items)
    return struct.pack(f">{len(ids)}I", *ids) + b"".join(items[client] for client in ids)


def read_ids(body: memoryview, count: int, known: Collection[int]) -> tuple[int, ...]:
    """The ids at the front of a list.

    Raises:
        RemoteProtocolError: W9, or W10 for one that is not known.
    """
    ids: tuple[int, ...] = struct.unpack_from(f">{count}I", body)
    if not ascending(ids):
        raise RemoteProtocolError("W9", "ids are not strictly ascending")
    strangers = set(ids).difference(known)
    if strangers:
        raise RemoteProtocolError("W10", f"id {min(strangers)} is not one of those agreed")
    return ids


def cut(body: memoryview, size: int) -> list[bytes]:
    """Items of one size."""
    raw = bytes(body)
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def set_bytes(cohort: Sequence[int]) -> int:
    """Length of a set: a bit for each client of the cohort."""
    return (len(cohort) + 7) // 8


@lru_cache(maxsize=4)
def _positions(cohort: tuple[int, ...]) -> npt.NDArray[np.int64]:
    return np.array(cohort, np.int64)


def pack_set(clients: Iterable[int], cohort: Sequence[int]) -> bytes:
    """The set of these clients of the cohort."""
    members = np.isin(_positions(tuple(cohort)), np.fromiter(clients, np.int64), assume_unique=True)
    return np.packbits(members, bitorder="little").tobytes()


def read_set(body: memoryview, cohort: Sequence[int], known: Collection[int] | None = None) -> tuple[int, ...]:
    """The clients of the set at the front of a body, ascending.

    Raises:
        RemoteProtocolError: W14 for a bit beyond the cohort, W10 for a client that is not known.
    """
    bits = np.unpackbits(np.frombuffer(body[: set_bytes(cohort)], np.uint8), bitorder="little")
    if bits[len(cohort) :].any():
        raise RemoteProtocolError("W14", "a set has a bit beyond the cohort")
    clients = tuple(_positions(tuple(cohort))[bits[: len(cohort)].view(bool)].tolist())
    strangers = set(clients).difference(known) if known is not None else None
    if strangers:
        raise RemoteProtocolError("W10", f"client {min(strangers)} of a set is not one of those agreed")
    return clients
