"""Keys of a round: everything with a label but the tags'.

`S` is the session and `B` the binding, as in the text.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols.he_aggregation.packing import Polynomial
from protocols.he_aggregation.parameters import Ring
from protocols.he_aggregation.slots import SlotRing
from protocols.notation import KDF, H, RuleBroken, stream, u32
from protocols.pairwise_masking.keys import check_canonical, check_order, public_key, shared_secret

NONCE = bytes(12)
"""Each key seals one message, so the nonce may be constant."""


def exchange_private_key(round_secret: bytes, S: bytes) -> bytes:
    """The X25519 private key of one client."""
    return KDF(round_secret, "exchange-key", S)


def entry_digest(S: bytes, client: int, public: bytes) -> bytes:
    """What a client signs of its exchange key."""
    return H(b"securefed/1/exchange-key\x00" + S + u32(client) + public)


def round_key(round_secret: bytes, B: bytes) -> bytes:
    """κ, from the key holder's round secret."""
    return KDF(round_secret, "round-key", B)


def key_id(B: bytes, round_key: bytes) -> bytes:
    """Names a round key."""
    return H(b"securefed/1/round-key\x00" + B + round_key)


def secret_polynomial(round_key: bytes, B: bytes, ring: Ring | SlotRing) -> Polynomial:
    """s, its coefficients 0, 1 or −1."""
    key = KDF(round_key, "secret-polynomial", B)
    # Of N + 256 bytes fewer than N are below 255 with a probability of less than 2^−500.
    kept = [byte for byte in stream(key, ring.degree + 256) if byte != 255]
    return [(0, 1, -1)[byte % 3] for byte in kept[: ring.degree]]


def sealing_key(private_key: bytes, peer: bytes, B: bytes, holder: int, recipient: int, recipients: int) -> bytes:
    """Under which the holder seals the round key for one of so many recipients; both derive it. Raises K1."""
    numbers = u32(holder) + u32(recipient) + u32(recipients)
    return KDF(shared_secret(private_key, peer), "sealed-round-key", B + numbers)


def seal(key: bytes, round_key: bytes, header: bytes, recipient: int) -> bytes:
    """The round key in 48 bytes; `header` is that of the SEALED_KEYS message."""
    return AESGCM(key).encrypt(NONCE, round_key, header + u32(recipient))


def open_sealed(key: bytes, sealed: bytes, header: bytes, recipient: int) -> bytes:
    """The round key. Raises S4."""
    try:
        return AESGCM(key).decrypt(NONCE, sealed, header + u32(recipient))
    except InvalidTag as error:
        raise RuleBroken("S4", "a sealed key does not open") from error


__all__ = [
    "check_canonical",
    "check_order",
    "entry_digest",
    "exchange_private_key",
    "key_id",
    "open_sealed",
    "public_key",
    "round_key",
    "seal",
    "sealing_key",
    "secret_polynomial",
    "shared_secret",
]
