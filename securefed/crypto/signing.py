"""Ed25519 signatures (RFC 8032) by long-term identity keys, always of a digest in a domain.

Deterministic: the same message under the same key has one signature, so a client that computes a message again sends
the same bytes.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["IDENTITY_KEY_BYTES", "SIGNATURE_BYTES", "SigningKey", "verifies"]

IDENTITY_KEY_BYTES = 32
SIGNATURE_BYTES = 64


class SigningKey:
    """A client's identity key, held by the library's object; its bytes cannot be read back and are in no repr.

    Args:
        seed: 32 bytes (RFC 8032, section 5.1.5); by default fresh from the operating system.

    Attributes:
        public: the public identity key, 32 bytes: what the others' identity rosters hold.
    """

    __slots__ = ("_key", "public")

    public: bytes

    def __init__(self, seed: bytes | None = None) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed if seed is not None else os.urandom(32))
        self.public = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"

    def sign(self, digest: bytes) -> bytes:
        """64 bytes. The digest is of `hashing.digest_in_domain`: a signature for one purpose is none for another."""
        return self._key.sign(digest)


def verifies(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether it is that key's signature of the digest; False for a key that is none."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, digest)
    except (InvalidSignature, ValueError):
        return False
    return True
