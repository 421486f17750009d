"""The eight messages: a frozen dataclass each, with `encode` and `decode`.

A decoder is given what was agreed before (an `Expected` and the sets of ids that may occur), so every length is
known or bounded before it is read, and only `RemoteProtocolError` leaves it.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from securefed.crypto.aead import TAG_BYTES
from securefed.crypto.hashing import DIGEST_BYTES
from securefed.crypto.keystream import Words
from securefed.crypto.shamir import SHARE_BYTES
from securefed.crypto.x25519 import PUBLIC_KEY_BYTES
from securefed.errors import RemoteProtocolError
from securefed.wire.header import HEADER_BYTES, SERVER, Header, MessageType, Suite
from securefed.wire.specification import GREATEST_SPECIFICATION, RoundSpec, ascending

__all__ = [
    "SEALED_BYTES", "Advertisement", "Delivery", "Expected", "Input", "Keys", "Offer", "Release", "Roster", "Shares",
    "Survivors",
]  # fmt: skip

SEALED_BYTES: Final = 2 * SHARE_BYTES + TAG_BYTES
"""A share of the self-mask seed and one of the mask key, sealed: 82 bytes."""


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


def _pack_list(items: Mapping[int, bytes]) -> bytes:
    ids = sorted(items)
    return struct.pack(f">{len(ids)}I", *ids) + b"".join(items[client] for client in ids)


def _read_ids(body: memoryview, count: int, known: Collection[int]) -> tuple[int, ...]:
    ids: tuple[int, ...] = struct.unpack_from(f">{count}I", body)
    if not ascending(ids):
        raise RemoteProtocolError("W9", "ids are not strictly ascending")
    agreed = frozenset(known)  # a cohort comes as a tuple: looking ids up in it would take quadratic time
    for client in ids:
        if client not in agreed:
            raise RemoteProtocolError("W10", f"id {client} is not one of those agreed")
    return ids


def _cut(body: memoryview, size: int) -> list[bytes]:
    return [bytes(body[at : at + size]) for at in range(0, len(body), size)]


@dataclass(frozen=True)
class Offer:
    """Server to client: the specification of the round."""

    spec: RoundSpec

    def encode(self, suite: Suite) -> bytes:
        """Header and body."""
        body = self.spec.pack()
        header = Header(MessageType.OFFER, suite, self.spec.session, self.spec.round, SERVER, len(body))
        return header.pack() + body

    @classmethod
    def decode(cls, message: bytes, suite: Suite) -> Self:
        """An offer fixes session and round, so these are checked against its own body."""
        header = Header.parse(message)
        expected = Expected(suite, header.session, header.round, SERVER)
        _, body = expected.read(MessageType.OFFER, message, at_most=GREATEST_SPECIFICATION, item_bytes=1)
        spec = RoundSpec.parse(body)
        if spec.session != header.session:
            raise RemoteProtocolError("R1", "the session is not the digest of the specification")
        if spec.round != header.round:
            raise RemoteProtocolError("R2", "header and specification name two rounds")
        return cls(spec)


@dataclass(frozen=True)
class Keys:
    """A client's two public keys of the round, 32 bytes each."""

    channel: bytes
    mask: bytes

    def pack(self) -> bytes:
        """64 bytes."""
        return self.channel + self.mask

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From 64 bytes; whether they are good keys is not the codec's question."""
        return cls(raw[:PUBLIC_KEY_BYTES], raw[PUBLIC_KEY_BYTES:])


@dataclass(frozen=True)
class Advertisement:
    """Client to server: its keys."""

    keys: Keys

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return context.header(MessageType.ADVERTISEMENT, 1).pack() + self.keys.pack()

    @classmethod
    def decode(cls, message: bytes, expected: Expected) -> Self:
        """W, R1, R2 and R4 rules."""
        _, body = expected.read(MessageType.ADVERTISEMENT, message, exactly=1, item_bytes=2 * PUBLIC_KEY_BYTES)
        return cls(Keys.parse(bytes(body)))


@dataclass(frozen=True)
class Roster:
    """Server to client: the keys of all that advertised, by id."""

    keys: dict[int, Keys]

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        body = _pack_list({client: keys.pack() for client, keys in self.keys.items()})
        return context.header(MessageType.ROSTER, len(self.keys)).pack() + body

    @classmethod
    def decode(cls, message: bytes, expected: Expected, cohort: Collection[int]) -> Self:
        """W, R1, R2 and R4 rules; ids must be of the cohort (W10)."""
        count, body = expected.read(
            MessageType.ROSTER, message, at_most=len(cohort), item_bytes=4 + 2 * PUBLIC_KEY_BYTES
        )
        ids = _read_ids(body, count, cohort)
        return cls(dict(zip(ids, map(Keys.parse, _cut(body[4 * count :], 2 * PUBLIC_KEY_BYTES)), strict=True)))


@dataclass(frozen=True)
class Shares:
    """Client to server: the commitment to its self-mask seed, and a sealed pair of shares for each other client."""

    commitment: bytes
    sealed: dict[int, bytes]

    @staticmethod
    def header(context: Expected, recipients: int) -> bytes:
        """The header alone: associated data of every sealed share in the message."""
        return context.header(MessageType.SHARES, recipients).pack()

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return self.header(context, len(self.sealed)) + self.commitment + _pack_list(self.sealed)

    @classmethod
    def decode(cls, message: bytes, expected: Expected, recipients: Collection[int]) -> Self:
        """W, R1, R2 and R4 rules; exactly these recipients (W10, W11)."""
        count, body = expected.read(
            MessageType.SHARES,
            message,
            exactly=len(recipients),
            item_bytes=4 + SEALED_BYTES,
            fixed_bytes=DIGEST_BYTES,
        )
        ids = _read_ids(body[DIGEST_BYTES:], count, recipients)
        sealed = _cut(body[DIGEST_BYTES + 4 * count :], SEALED_BYTES)
        return cls(bytes(body[:DIGEST_BYTES]), dict(zip(ids, sealed, strict=True)))


@dataclass(frozen=True)
class Delivery:
    """Server to client: the sealed pairs that others made for it, by sender."""

    sealed: dict[int, bytes]

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return context.header(MessageType.DELIVERY, len(self.sealed)).pack() + _pack_list(self.sealed)

    @classmethod
    def decode(cls, message: bytes, expected: Expected, senders: Collection[int], cohort: int) -> Self:
        """W, R1, R2 and R4 rules; ids must be of the possible senders (W10), at most as many as the cohort (W7)."""
        count, body = expected.read(MessageType.DELIVERY, message, at_most=cohort, item_bytes=4 + SEALED_BYTES)
        ids = _read_ids(body, count, senders)
        return cls(dict(zip(ids, _cut(body[4 * count :], SEALED_BYTES), strict=True)))


@dataclass(frozen=True, repr=False)
class Input:
    """Client to server: a vector of packed words, masked or in clear according to the suite."""

    words: Words

    @staticmethod
    def header(context: Expected, words: int) -> bytes:
        """The header alone, for a writer that makes the words piece by piece behind it."""
        return context.header(MessageType.INPUT, words).pack()

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return self.header(context, len(self.words)) + self.words.astype("<u8", copy=False).tobytes()

    @classmethod
    def decode(cls, message: bytes, expected: Expected, words: int) -> Self:
        """W, R1, R2 and R4 rules; the words are a view of the message, not a copy."""
        _, body = expected.read(MessageType.INPUT, message, exactly=words, item_bytes=8)
        return cls(np.frombuffer(body, "<u8"))


@dataclass(frozen=True)
class Survivors:
    """Server to client: for each whose shares were delivered, whether its input arrived."""

    survived: dict[int, bool]

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        body = _pack_list({client: bytes([survived]) for client, survived in self.survived.items()})
        return context.header(MessageType.SURVIVORS, len(self.survived)).pack() + body

    @classmethod
    def decode(cls, message: bytes, expected: Expected, cohort: Collection[int]) -> Self:
        """W, R1, R2 and R4 rules; ids must be of the cohort (W10)."""
        count, body = expected.read(MessageType.SURVIVORS, message, at_most=len(cohort), item_bytes=5)
        ids = _read_ids(body, count, cohort)
        flags = bytes(body[4 * count :])
        if any(flag > 1 for flag in flags):
            raise RemoteProtocolError("W14", "a survivor flag is neither 0 nor 1")
        return cls(dict(zip(ids, map(bool, flags), strict=True)))


@dataclass(frozen=True, repr=False)
class Release:
    """Client to server: one share of each client asked for, 33 bytes, of the kind that was asked for."""

    shares: dict[int, bytes]

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return context.header(MessageType.RELEASE, len(self.shares)).pack() + _pack_list(self.shares)

    @classmethod
    def decode(cls, message: bytes, expected: Expected, asked: Collection[int]) -> Self:
        """W, R1, R2 and R4 rules; exactly these ids (W10, W11)."""
        count, body = expected.read(MessageType.RELEASE, message, exactly=len(asked), item_bytes=4 + SHARE_BYTES)
        ids = _read_ids(body, count, asked)
        return cls(dict(zip(ids, _cut(body[4 * count :], SHARE_BYTES), strict=True)))
