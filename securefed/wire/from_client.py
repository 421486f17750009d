"""What a client sends: a frozen dataclass a message, with `encode` and `decode`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from securefed.crypto.aead import TAG_BYTES
from securefed.crypto.hashing import DIGEST_BYTES
from securefed.crypto.kdf import KEY_BYTES
from securefed.crypto.keystream import Words
from securefed.crypto.shamir import SHARE_BYTES
from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.crypto.x25519 import PUBLIC_KEY_BYTES
from securefed.wire.frame import Expected, cut, pack_list, read_ids
from securefed.wire.header import HEADER_BYTES, MessageType

__all__ = ["SEALED_BYTES", "Advertisement", "Consent", "Entry", "Input", "Release", "Shares", "entry_bytes"]

SEALED_BYTES: Final = 2 * SHARE_BYTES + TAG_BYTES
"""A share of the self-mask seed and one of the mask key, sealed: 82 bytes."""

_UNSIGNED_ENTRY: Final = 2 * PUBLIC_KEY_BYTES + DIGEST_BYTES


def entry_bytes(signed: bool) -> int:
    """Length of an entry, with or without a signature."""
    return _UNSIGNED_ENTRY + (SIGNATURE_BYTES if signed else 0)


@dataclass(frozen=True)
class Entry:
    """What a client advertises.

    Attributes:
        channel, mask: public keys of the round, 32 bytes each.
        promise: digest of its pick secret, 32 bytes.
        signature: of the three, 64 bytes; empty where the server is semi-honest.
    """

    channel: bytes
    mask: bytes
    promise: bytes
    signature: bytes = b""

    def signed(self) -> bytes:
        """What the signature is of: 96 bytes."""
        return self.channel + self.mask + self.promise

    def pack(self) -> bytes:
        """96 or 160 bytes."""
        return self.signed() + self.signature

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From these bytes; whether keys and signature are good is not the codec's question."""
        return cls(raw[:32], raw[32:64], raw[64:_UNSIGNED_ENTRY], raw[_UNSIGNED_ENTRY:])


@dataclass(frozen=True)
class Advertisement:
    """Stage 1: the client's entry."""

    entry: Entry

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return context.header(MessageType.ADVERTISEMENT, 1).pack() + self.entry.pack()

    @classmethod
    def decode(cls, message: bytes, expected: Expected, *, signed: bool) -> Self:
        """W, R1, R2 and R4 rules."""
        _, body = expected.read(MessageType.ADVERTISEMENT, message, exactly=1, item_bytes=entry_bytes(signed))
        return cls(Entry.parse(bytes(body)))


@dataclass(frozen=True, repr=False)
class Shares:
    """Stage 2: the pick secret, the commitment to the self-mask seed, a sealed pair of shares for each recipient."""

    pick_secret: bytes
    commitment: bytes
    sealed: dict[int, bytes]

    @staticmethod
    def header(context: Expected, recipients: int) -> bytes:
        """The header alone: associated data of every sealed share in the message."""
        return context.header(MessageType.SHARES, recipients).pack()

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return self.header(context, len(self.sealed)) + self.pick_secret + self.commitment + pack_list(self.sealed)

    @staticmethod
    def peek_pick_secret(message: bytes) -> bytes:
        """The pick secret, unchecked: it says who the recipients of the message must be. Zeros where there is none."""
        return bytes(message[HEADER_BYTES : HEADER_BYTES + KEY_BYTES]).ljust(KEY_BYTES, b"\0")

    @classmethod
    def decode(cls, message: bytes, expected: Expected, recipients: Collection[int]) -> Self:
        """W, R1, R2 and R4 rules; exactly these recipients (W10, W11)."""
        fixed = KEY_BYTES + DIGEST_BYTES
        count, body = expected.read(
            MessageType.SHARES, message, exactly=len(recipients), item_bytes=4 + SEALED_BYTES, fixed_bytes=fixed
        )
        ids = read_ids(body[fixed:], count, recipients)
        sealed = cut(body[fixed + 4 * count :], SEALED_BYTES)
        return cls(bytes(body[:KEY_BYTES]), bytes(body[KEY_BYTES:fixed]), dict(zip(ids, sealed, strict=True)))


@dataclass(frozen=True, repr=False)
class Input:
    """Stage 3: a vector of packed words, masked or in clear according to the suite.

    Attributes:
        words: uint64.
        attestation: 64 bytes in a sparse graph under a malicious server, else empty.
    """

    words: Words
    attestation: bytes = b""

    @staticmethod
    def header(context: Expected, words: int, attestation: bytes = b"") -> bytes:
        """All before the words, for a writer that makes them piece by piece behind it."""
        return context.header(MessageType.INPUT, words).pack() + attestation

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        words = self.words.astype("<u8", copy=False).tobytes()
        return self.header(context, len(self.words), self.attestation) + words

    @classmethod
    def decode(cls, message: bytes, expected: Expected, words: int, *, attested: bool = False) -> Self:
        """W, R1, R2 and R4 rules; the words are a view of the message, not a copy."""
        fixed = SIGNATURE_BYTES if attested else 0
        _, body = expected.read(MessageType.INPUT, message, exactly=words, item_bytes=8, fixed_bytes=fixed)
        return cls(np.frombuffer(body[fixed:], "<u8"), bytes(body[:fixed]))


@dataclass(frozen=True)
class Consent:
    """Stage 4: the client's signature of one set of survivors, 64 bytes."""

    signature: bytes

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return context.header(MessageType.CONSENT, 1).pack() + self.signature

    @classmethod
    def decode(cls, message: bytes, expected: Expected) -> Self:
        """W, R1, R2 and R4 rules."""
        _, body = expected.read(MessageType.CONSENT, message, exactly=1, item_bytes=SIGNATURE_BYTES)
        return cls(bytes(body))


@dataclass(frozen=True, repr=False)
class Release:
    """Stage 5: one share, 33 bytes, of each client of which one is held, of the kind that the survivors decide."""

    shares: dict[int, bytes]

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return context.header(MessageType.RELEASE, len(self.shares)).pack() + pack_list(self.shares)

    @classmethod
    def decode(cls, message: bytes, expected: Expected, shared: Collection[int]) -> Self:
        """W, R1, R2 and R4 rules; some of these ids (W7, W10)."""
        count, body = expected.read(MessageType.RELEASE, message, at_most=len(shared), item_bytes=4 + SHARE_BYTES)
        ids = read_ids(body, count, shared)
        return cls(dict(zip(ids, cut(body[4 * count :], SHARE_BYTES), strict=True)))
