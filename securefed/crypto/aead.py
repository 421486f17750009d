"""AES-256-GCM for keys that seal exactly one message."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securefed.crypto.kdf import KEY_BYTES
from securefed.errors import RemoteProtocolError

__all__ = ["TAG_BYTES", "open_sealed", "seal"]

TAG_BYTES = 16
# A key is derived for one message from everything that the message depends on, so one nonce is enough:
# key and nonce never meet two plaintexts. The nonce is no argument, so that no caller can repeat one.
_NONCE = bytes(12)


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError(f"AES-256 needs a key of {KEY_BYTES} bytes, got {len(key)}")
    return AESGCM(key)


def seal(single_use_key: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
    """Ciphertext and tag, `len(plaintext) + 16` bytes, under a key that is never used again."""
    return _cipher(single_use_key).encrypt(_NONCE, plaintext, associated_data)


def open_sealed(single_use_key: bytes, sealed: bytes, associated_data: bytes) -> bytes:
    """The plaintext.

    Raises:
        RemoteProtocolError: S4, where key, bytes or associated data are not those of `seal`.
    """
    cipher = _cipher(single_use_key)
    if len(sealed) < TAG_BYTES:
        raise RemoteProtocolError("S4", f"a sealed share of {len(sealed)} bytes has no tag")
    try:
        return cipher.decrypt(_NONCE, sealed, associated_data)
    except InvalidTag:
        raise RemoteProtocolError("S4", "a sealed share does not open") from None
