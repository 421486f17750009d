"""The notation that all the specifications share: `‖` is `+` on bytes; the rest is here."""

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEGMENT = 4 * 2**20
"""Bytes of a stream under one AES-GCM nonce."""

BLOCK = 16
"""Bytes of an AES block."""


class RuleBroken(Exception):
    """What was received, or what was asked for, breaks the numbered rule `rule` of a README."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


def require(condition: bool, rule: str, detail: str) -> None:
    """Raise `RuleBroken(rule, detail)` unless the condition holds."""
    if not condition:
        raise RuleBroken(rule, detail)


def u8(x: int) -> bytes:
    """One byte. Pre-condition, here and below: x fits."""
    return x.to_bytes(1, "big")


def u16(x: int) -> bytes:
    """Two bytes, big-endian."""
    return x.to_bytes(2, "big")


def u32(x: int) -> bytes:
    """Four bytes, big-endian."""
    return x.to_bytes(4, "big")


def u64(x: int) -> bytes:
    """Eight bytes, big-endian."""
    return x.to_bytes(8, "big")


def H(data: bytes) -> bytes:  # noqa: N802 - the name it has in the text
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


def KDF(secret: bytes, label: str, context: bytes) -> bytes:  # noqa: N802 - the name it has in the text
    """HKDF-SHA256 of the secret with an empty salt, 32 bytes. Pre-condition: the label is ASCII."""
    info = b"securefed/1/" + label.encode("ascii") + b"\x00" + context
    return HKDF(algorithm=SHA256(), length=32, salt=b"", info=info).derive(secret)


def stream(key: bytes, length: int, start: int = 0) -> bytes:
    """Bytes `start … start + length` of `Stream(key)`.

    Pre-condition: the key has 32 bytes, used for nothing else.
    """
    first_block = start // BLOCK
    last_block = (start + length + BLOCK - 1) // BLOCK
    counters = b"".join(counter_block(block) for block in range(first_block, last_block))
    encryptor = Cipher(AES(key), ECB()).encryptor()  # noqa: S305 - counter mode, spelled out block by block
    keystream = encryptor.update(counters) + encryptor.finalize()
    skipped = start - first_block * BLOCK
    return keystream[skipped : skipped + length]


def counter_block(block: int) -> bytes:
    """The AES input for a block numbered from 0 over the whole stream: u96(s) ‖ u32(m + 2)."""
    s, m = divmod(block, SEGMENT // BLOCK)
    return s.to_bytes(12, "big") + u32(m + 2)


def words(data: bytes, word_bytes: int) -> list[int]:
    """The little-endian words of `word_bytes` bytes each. Pre-condition: they divide the data."""
    return [int.from_bytes(data[i : i + word_bytes], "little") for i in range(0, len(data), word_bytes)]


def stream_words(key: bytes, count: int, word_bytes: int) -> list[int]:
    """The first `count` little-endian words of `Stream(key)`, of 4 or 8 bytes each."""
    return words(stream(key, count * word_bytes), word_bytes)
