"""X25519 key agreement (RFC 7748) that refuses what RFC 7748 lets through.

The library raises on a shared secret of zero (low-order points) but reduces non-canonical coordinates silently,
so one key would have several encodings and a comparison of bytes would miss a repeated one.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from securefed.errors import RemoteProtocolError

__all__ = ["PUBLIC_KEY_BYTES", "PrivateKey", "check_public_keys"]

PUBLIC_KEY_BYTES = 32
_FIELD: Final = 2**255 - 19


class PrivateKey:
    """A private key, held by the library's object; its bytes cannot be read back and are in no repr."""

    __slots__ = ("_key", "public")

    public: bytes
    """The public key, 32 bytes, always canonical."""

    def __init__(self, seed: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "PrivateKey(…)"

    def agree(self, peer: bytes) -> bytes:
        """The shared secret of 32 bytes, to be fed to `kdf.derive` and nothing else.

        Raises:
            RemoteProtocolError: K1 for a point of low order, K2 for a non-canonical encoding.
        """
        return _agree(self._key, peer)


def _agree(key: X25519PrivateKey, peer: bytes) -> bytes:
    _check_canonical(peer)
    try:
        return key.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:
        raise RemoteProtocolError("K1", "a public key is a point of low order") from None


def _check_canonical(key: bytes) -> None:
    if len(key) != PUBLIC_KEY_BYTES or int.from_bytes(key, "little") >= _FIELD:
        raise RemoteProtocolError("K2", "a public key is not canonical")


# Any scalar finds points of low order: clamping makes every scalar a multiple of the cofactor. Not a secret.
_PROBE: Final = X25519PrivateKey.from_private_bytes(bytes([8]) * 32)


def check_public_keys(*keys: bytes) -> None:
    """Refuse public keys that no honest party sends.

    Raises:
        RemoteProtocolError: K2 for a non-canonical encoding, then K1 for a point of low order.
    """
    for key in keys:
        _check_canonical(key)
    for key in keys:
        _agree(_PROBE, key)
