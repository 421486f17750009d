"""Key derivation, key agreement, sealed shares: everything with a label but signatures.

`S` is the session, `S_named` the named session `S*` and `P` the digest of the ROSTER message, 32 bytes each, as in the
text.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols.notation import KDF, H, RuleBroken, require, stream_words, u32

FIELD = 2**255 - 19
"""Coordinates of public keys are below it."""

NONCE = bytes(12)
"""Each key seals one message, so the nonce may be constant."""


def channel_private_key(round_secret: bytes, S: bytes) -> bytes:
    """The X25519 private key that opens sealed shares."""
    return KDF(round_secret, "channel-key", S)


def mask_private_key(round_secret: bytes, S: bytes) -> bytes:
    """s, the X25519 private key behind the pairwise masks."""
    return KDF(round_secret, "mask-key", S)


def self_mask_seed(round_secret: bytes, S: bytes) -> bytes:
    """b, the seed of the self mask."""
    return KDF(round_secret, "self-mask-seed", S)


def pick_secret(round_secret: bytes, S: bytes) -> bytes:
    """r, what the client's picks follow from."""
    return KDF(round_secret, "pick-secret", S)


def sample_key(round_secret: bytes, S: bytes) -> bytes:
    """What the client draws the consents with that it verifies."""
    return KDF(round_secret, "consent-sample", S)


def public_key(private_key: bytes) -> bytes:
    """The X25519 public key, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def shared_secret(private_key: bytes, peer: bytes) -> bytes:
    """X25519. Raises K1 when the peer's key is of low order, whatever the private key."""
    try:
        return X25519PrivateKey.from_private_bytes(private_key).exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError as error:
        raise RuleBroken("K1", f"low order: {peer.hex()}") from error


def check_canonical(key: bytes) -> None:
    """Raise K2 for a coordinate that is not canonical."""
    require(int.from_bytes(key, "little") < FIELD, "K2", f"not canonical: {key.hex()}")


def check_order(key: bytes) -> None:
    """Raise K1 for a point of low order."""
    # A private key is a multiple of the cofactor: any one takes exactly the points of low order to zero.
    shared_secret(H(b"any private key"), key)


def channel_key(private_key: bytes, peer: bytes, S: bytes, P: bytes, sender: int, recipient: int) -> bytes:
    """The key under which the sender seals its shares for the recipient. Raises K1."""
    return KDF(shared_secret(private_key, peer), "channel", S + P + u32(sender) + u32(recipient))


def named_session(S: bytes, model: bytes | None) -> bytes:
    """S*: what stands for the session from the input on. No model: none is named in the round, and S* is S."""
    return S if model is None else H(b"securefed/1/named\x00" + S + model)


def pairwise_mask_key(private_key: bytes, peer: bytes, S_named: bytes, P: bytes, one: int, other: int) -> bytes:
    """k_ij, the same for both of a pair. Raises K1."""
    pair = u32(min(one, other)) + u32(max(one, other))
    return KDF(shared_secret(private_key, peer), "pairwise-mask", S_named + P + pair)


def self_mask_key(seed: bytes, S_named: bytes, client: int) -> bytes:
    """m_i, from the client's self-mask seed."""
    return KDF(seed, "self-mask", S_named + u32(client))


def commitment(S: bytes, client: int, seed: bytes) -> bytes:
    """What SHARES says of the self-mask seed."""
    return H(b"securefed/1/self-mask-commitment\x00" + S + u32(client) + seed)


def promise(S: bytes, client: int, pick_secret: bytes) -> bytes:
    """What an entry says of the client's picks."""
    return H(b"securefed/1/picks\x00" + S + u32(client) + pick_secret)


def seal(key: bytes, shares: bytes, shares_header: bytes, recipient: int) -> bytes:
    """Two shares (66 bytes) to 82 bytes that only the recipient opens."""
    return AESGCM(key).encrypt(NONCE, shares, shares_header + u32(recipient))


def open_sealed(key: bytes, sealed: bytes, shares_header: bytes, recipient: int) -> bytes:
    """The two shares. `shares_header` is the header of the sender's SHARES message. Raises S4."""
    try:
        return AESGCM(key).decrypt(NONCE, sealed, shares_header + u32(recipient))
    except InvalidTag as error:
        raise RuleBroken("S4", "a sealed share does not open") from error


def mask(key: bytes, count: int, ring_bits: int) -> list[int]:
    """`Stream(key)` as so many ring words: 64-bit words, cut to R bits."""
    return [word & (2**ring_bits - 1) for word in stream_words(key, count, 8)]


def add(total: list[int], sign: int, words: list[int]) -> None:
    """Add or subtract, word by word and in place; the caller reduces modulo 2^R at the end."""
    for i, word in enumerate(words):
        total[i] += sign * word
