"""The messages of homomorphic aggregation: a frozen dataclass a message, with `encode` and `decode`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from securefed.crypto.aead import TAG_BYTES
from securefed.crypto.hashing import DIGEST_BYTES, digest_in_domain
from securefed.crypto.kdf import KEY_BYTES
from securefed.crypto.keystream import Words
from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.crypto.x25519 import PUBLIC_KEY_BYTES
from securefed.errors import RemoteProtocolError
from securefed.wire.frame import Expected, cut, pack_list, pack_set, read_ids, read_set, set_bytes
from securefed.wire.header import MessageType

__all__ = [
    "SEALED_KEY_BYTES", "CiphertextSum", "Ciphertexts", "ExchangeKey", "ExchangeKeys", "Opened", "SealedKey",
    "SealedKeys",
]  # fmt: skip

SEALED_KEY_BYTES: Final = KEY_BYTES + TAG_BYTES
"""A round key, sealed: 48 bytes."""


def _entry_bytes(signed: bool) -> int:
    return PUBLIC_KEY_BYTES + (SIGNATURE_BYTES if signed else 0)


def _digest_of(header: bytes, *parts: bytes | memoryview) -> bytes:
    """What finds a byte that was changed on its way, and names nobody: tags and signatures do that."""
    return digest_in_domain("envelope", header, *parts)


@dataclass(frozen=True)
class ExchangeKey:
    """Stage 1: a public key that round keys are sealed to.

    Attributes:
        public: X25519, 32 bytes.
        signature: of it, 64 bytes; empty where the server is semi-honest.
    """

    public: bytes
    signature: bytes = b""

    def pack(self) -> bytes:
        """32 or 96 bytes."""
        return self.public + self.signature

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From these bytes; whether key and signature are good is not the codec's question."""
        return cls(raw[:PUBLIC_KEY_BYTES], raw[PUBLIC_KEY_BYTES:])

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return context.header(MessageType.EXCHANGE_KEY, 1).pack() + self.pack()

    @classmethod
    def decode(cls, message: bytes, expected: Expected, *, signed: bool) -> Self:
        """W, R1, R2 and R4 rules."""
        _, body = expected.read(MessageType.EXCHANGE_KEY, message, exactly=1, item_bytes=_entry_bytes(signed))
        return cls.parse(bytes(body))


@dataclass(frozen=True)
class ExchangeKeys:
    """Stage 2, to the key holder: the exchange keys of all that sent one, its own among them."""

    entries: Mapping[int, ExchangeKey]

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        packed = pack_list({client: entry.pack() for client, entry in self.entries.items()})
        return context.header(MessageType.EXCHANGE_KEYS, len(self.entries)).pack() + packed

    @classmethod
    def decode(cls, message: bytes, expected: Expected, cohort: Collection[int], *, signed: bool) -> Self:
        """W, R1, R2 and R4 rules; some of the cohort (W7, W10)."""
        size = _entry_bytes(signed)
        count, body = expected.read(MessageType.EXCHANGE_KEYS, message, at_most=len(cohort), item_bytes=4 + size)
        ids = read_ids(body, count, cohort)
        return cls(dict(zip(ids, map(ExchangeKey.parse, cut(body[4 * count :], size)), strict=True)))


@dataclass(frozen=True)
class SealedKeys:
    """Stage 2, from the key holder: the round key sealed to each of the others, and its name.

    Attributes:
        key_id: 32 bytes; names the round key and says nothing about it.
        sealed: 48 bytes by client.
    """

    key_id: bytes
    sealed: Mapping[int, bytes]

    @staticmethod
    def header(context: Expected, recipients: int) -> bytes:
        """The header alone: associated data of every sealed key in the message."""
        return context.header(MessageType.SEALED_KEYS, recipients).pack()

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        return self.header(context, len(self.sealed)) + self.key_id + pack_list(self.sealed)

    @classmethod
    def decode(cls, message: bytes, expected: Expected, recipients: Collection[int]) -> Self:
        """W, R1, R2 and R4 rules; exactly these recipients (W10, W11)."""
        count, body = expected.read(
            MessageType.SEALED_KEYS, message, exactly=len(recipients), item_bytes=4 + SEALED_KEY_BYTES,
            fixed_bytes=DIGEST_BYTES,
        )  # fmt: skip
        ids = read_ids(body[DIGEST_BYTES:], count, recipients)
        sealed = cut(body[DIGEST_BYTES + 4 * count :], SEALED_KEY_BYTES)
        return cls(bytes(body[:DIGEST_BYTES]), dict(zip(ids, sealed, strict=True)))


@dataclass(frozen=True)
class SealedKey:
    """Stage 3, to a client: who holds the round key, and the key sealed to this client.

    Attributes:
        holder: client id of the key holder.
        recipients: to how many the holder sealed the key.
        entry: the holder's exchange key.
        key_id: 32 bytes.
        sealed: 48 bytes; zeros for the holder itself.
    """

    holder: int
    recipients: int
    entry: ExchangeKey
    key_id: bytes
    sealed: bytes

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        numbers = self.holder.to_bytes(4, "big") + self.recipients.to_bytes(4, "big")
        header = context.header(MessageType.SEALED_KEY, 1).pack()
        return header + numbers + self.key_id + self.sealed + self.entry.pack()

    @classmethod
    def decode(cls, message: bytes, expected: Expected, *, signed: bool) -> Self:
        """W, R1, R2 and R4 rules."""
        fixed = 8 + DIGEST_BYTES + SEALED_KEY_BYTES
        size = fixed + _entry_bytes(signed)
        _, body = expected.read(MessageType.SEALED_KEY, message, exactly=1, item_bytes=size)
        raw = bytes(body)
        holder, recipients = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:8], "big")
        key_id, sealed = raw[8 : 8 + DIGEST_BYTES], raw[8 + DIGEST_BYTES : fixed]
        return cls(holder, recipients, ExchangeKey.parse(raw[fixed:]), key_id, sealed)


@dataclass(frozen=True, repr=False)
class Ciphertexts:
    """Stage 3, from a client: its encrypted update.

    Attributes:
        key_id: of the key that it is encrypted under, 32 bytes.
        payload: of the length that the round's parameters fix.
    """

    key_id: bytes
    payload: bytes | memoryview

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        header = context.header(MessageType.CIPHERTEXTS, len(self.payload)).pack()
        return b"".join((header, self.key_id, _digest_of(header, self.key_id, self.payload), self.payload))

    @classmethod
    def decode(cls, message: bytes, expected: Expected, payload_bytes: int) -> Self:
        """W, R1, R2 and R4 rules, H1 where the digest is another; the payload is a view of the message."""
        count, body = expected.read(
            MessageType.CIPHERTEXTS, message, exactly=payload_bytes, item_bytes=1, fixed_bytes=2 * DIGEST_BYTES
        )
        key_id, found, payload = (
            bytes(body[:DIGEST_BYTES]),
            body[DIGEST_BYTES : 2 * DIGEST_BYTES],
            body[2 * DIGEST_BYTES :],
        )
        header = expected.header(MessageType.CIPHERTEXTS, count).pack()
        if bytes(found) != _digest_of(header, key_id, payload):
            raise RemoteProtocolError("H1", "ciphertexts that were changed on their way: the digest does not fit")
        return cls(key_id, payload)


@dataclass(frozen=True, repr=False)
class CiphertextSum:
    """Stage 4, to the key holder: whose ciphertexts were added, and their sum.

    Attributes:
        survivors: client ids, ascending.
        key_id: 32 bytes.
        payload: of the length that the round's parameters fix.
    """

    survivors: tuple[int, ...]
    key_id: bytes
    payload: bytes | memoryview

    def encode(self, context: Expected, cohort: Sequence[int]) -> bytes:
        """Header and body."""
        header = context.header(MessageType.CIPHERTEXT_SUM, len(self.payload)).pack()
        packed = pack_set(self.survivors, cohort)
        digest = _digest_of(header, self.key_id, packed, self.payload)
        return b"".join((header, self.key_id, digest, packed, self.payload))

    @classmethod
    def decode(
        cls, message: bytes, expected: Expected, payload_bytes: int, cohort: Sequence[int], known: Collection[int]
    ) -> Self:
        """W, R1, R2 and R4 rules, H1; survivors are some of those that were sealed a key (W10, W14)."""
        fixed = 2 * DIGEST_BYTES + set_bytes(cohort)
        count, body = expected.read(
            MessageType.CIPHERTEXT_SUM, message, exactly=payload_bytes, item_bytes=1, fixed_bytes=fixed
        )
        key_id, found = bytes(body[:DIGEST_BYTES]), bytes(body[DIGEST_BYTES : 2 * DIGEST_BYTES])
        packed, payload = body[2 * DIGEST_BYTES : fixed], body[fixed:]
        header = expected.header(MessageType.CIPHERTEXT_SUM, count).pack()
        if found != _digest_of(header, key_id, packed, payload):
            raise RemoteProtocolError("H1", "a sum that was changed on its way: the digest does not fit")
        return cls(read_set(packed, cohort, known), key_id, payload)


@dataclass(frozen=True, repr=False)
class Opened:
    """Stage 4, from the key holder: the sum in clear, as ring words packed to their bits (uint64)."""

    words: Words

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        header = context.header(MessageType.OPENED, len(self.words)).pack()
        body = self.words.astype("<u8", copy=False).tobytes()
        return b"".join((header, _digest_of(header, body), body))

    @classmethod
    def decode(cls, message: bytes, expected: Expected, words: int) -> Self:
        """W, R1, R2 and R4 rules, H1."""
        count, body = expected.read(MessageType.OPENED, message, exactly=words, item_bytes=8, fixed_bytes=DIGEST_BYTES)
        header = expected.header(MessageType.OPENED, count).pack()
        if bytes(body[:DIGEST_BYTES]) != _digest_of(header, body[DIGEST_BYTES:]):
            raise RemoteProtocolError("H1", "a sum that was changed on its way: the digest does not fit")
        return cls(np.frombuffer(body[DIGEST_BYTES:], "<u8"))
