"""Ed25519: what clients sign under a malicious server, and the roster of identities that says with which keys."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.notation import H, require, u32
from protocols.wire.bodies import Entry

Identities = dict[int, bytes]
"""The identity roster: the public keys of all clients."""


def identity(private_key: bytes) -> bytes:
    """The public identity key, 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def sign(private_key: bytes, digest: bytes) -> bytes:
    """The signature of a digest, 64 bytes: the same whenever it is made."""
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(digest)


def verify(identity: bytes, digest: bytes, signature: bytes, rule: str) -> None:
    """Raise the rule unless this is a signature of the digest by that identity."""
    require(holds(identity, digest, signature), rule, f"not a signature by {identity.hex()}")


def holds(identity: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether this is a signature of the digest by that identity."""
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, digest)
    except InvalidSignature:
        return False
    return True


def advertisement_digest(S: bytes, client: int, entry: Entry) -> bytes:
    """What the client signs in its entry."""
    return H(b"securefed/1/advertisement\x00" + S + u32(client) + entry.unsigned)


def input_digest(S_named: bytes, P: bytes, set_U2: bytes) -> bytes:
    """What a client signs with its input: the set within which it is masked, as it travels."""
    return H(b"securefed/1/input\x00" + S_named + P + set_U2)


def consent_digest(S_named: bytes, P: bytes, set_U2: bytes, set_U3: bytes) -> bytes:
    """What all survivors sign: the sets, as they travel."""
    return H(b"securefed/1/consent\x00" + S_named + P + set_U2 + set_U3)


def check_identities(identities: Identities, own: tuple[int, bytes] | None = None) -> None:
    """Raise K7 for a roster with one key for two clients, or not with the client's own (id, public key)."""
    require(len(set(identities.values())) == len(identities), "K7", "two clients with one identity key")
    if own is not None:
        client, key = own
        require(identities.get(client) == key, "K7", f"another identity key for client {client}, or none")


def check_known(cohort: tuple[int, ...], identities: Identities) -> None:
    """Raise K6 for a client of the cohort without an identity."""
    for client in cohort:
        require(client in identities, "K6", f"no identity of client {client}")
