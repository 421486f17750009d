"""The good vectors of single steps: everything with a label, and streams."""

from protocols.notation import KDF, SEGMENT, H, stream
from protocols.pairwise_masking import keys, shamir, signatures
from protocols.vector_files import Vector, VectorFile, seed, seeded_bytes
from protocols.wire.bodies import Entry, Type
from protocols.wire.reference import PAIRWISE_MASKS, header

S, P = seed("session"), seed("roster digest")
NAME = "pairwise_masking"


def derivations() -> VectorFile:
    """Everything with a label, for one pair of clients."""
    file = VectorFile(
        NAME, "derivations", "KDF, and what is derived with it: `function` says which, the rest is in and out."
    )
    for label in ("channel", "rounding"):
        secret, context = seed(f"secret/{label}"), seeded_bytes(f"context/{label}", 70)
        derived = KDF(secret, label, context)
        file.vectors.append(as_vector("KDF", secret=secret, label=label, context=context, output=derived))
    one, other = 3, 200
    secrets = {client: seed(f"round secret/{client}") for client in (one, other)}
    for client, round_secret in secrets.items():
        file.vectors += [
            client_keys(client, round_secret),
            *polynomials(client, round_secret),
            *signed(client, round_secret),
        ]
    for sender, recipient in ((one, other), (other, one)):
        file.vectors += pair(sender, recipient, secrets)
    model = seed("model")
    file.vectors.append(as_vector("named session", session=S, model=model, output=keys.named_session(S, model)))
    return file


def as_vector(function: str, **values: bytes | str | int) -> Vector:
    """Bytes in hex, the rest as it is."""
    shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}
    return {"function": function, **shown}


def client_keys(client: int, round_secret: bytes) -> Vector:
    """What one client derives from its round secret."""
    channel = keys.channel_private_key(round_secret, S)
    mask = keys.mask_private_key(round_secret, S)
    seed_ = keys.self_mask_seed(round_secret, S)
    pick = keys.pick_secret(round_secret, S)
    return as_vector(
        "client keys",
        client=client,
        round_secret=round_secret,
        session=S,
        channel_private_key=channel,
        channel_public_key=keys.public_key(channel),
        mask_private_key=mask,
        mask_public_key=keys.public_key(mask),
        self_mask_seed=seed_,
        self_mask_key=keys.self_mask_key(seed_, S, client),
        commitment=keys.commitment(S, client, seed_),
        pick_secret=pick,
        promise=keys.promise(S, client, pick),
        sample_key=keys.sample_key(round_secret, S),
    )


def signed(client: int, round_secret: bytes) -> list[Vector]:
    """What one client signs, under its identity key."""
    private = seed(f"identity key/{client}")
    entry = Entry(
        keys.public_key(keys.channel_private_key(round_secret, S)),
        keys.public_key(keys.mask_private_key(round_secret, S)),
        keys.promise(S, client, keys.pick_secret(round_secret, S)),
    )
    who: dict[str, bytes | str | int] = {
        "session": S,
        "identity_key": private,
        "identity": signatures.identity(private),
    }
    advertised = signatures.advertisement_digest(S, client, entry)
    # Sets as they travel: of a cohort of 12, U2 without the last two and U3 without the first of those.
    U2, U3 = bytes.fromhex("ff03"), bytes.fromhex("fe03")
    attested = signatures.input_digest(S, P, U2)
    consented = signatures.consent_digest(S, P, U2, U3)
    return [
        as_vector(
            "advertisement signature",
            **who,
            client=client,
            entry=entry.unsigned,
            digest=advertised,
            output=signatures.sign(private, advertised),
        ),
        as_vector(
            "attestation",
            **who,
            roster_digest=P,
            shared=U2,
            digest=attested,
            output=signatures.sign(private, attested),
        ),
        as_vector(
            "consent signature",
            **who,
            roster_digest=P,
            shared=U2,
            survived=U3,
            digest=consented,
            output=signatures.sign(private, consented),
        ),
    ]


def polynomials(client: int, round_secret: bytes) -> list[Vector]:
    """The coefficients with which that client shares its secrets."""
    return [
        {
            **as_vector("share coefficients", client=client, round_secret=round_secret, session=S),
            "roster_digest": P.hex(),
            "kind": kind,
            "threshold": 4,
            "coefficients": [a.to_bytes(33, "big").hex() for a in shamir.coefficients(round_secret, S, P, kind, 4)],
        }
        for kind in (shamir.SELF_MASK_SEED, shamir.MASK_KEY)
    ]


def pair(sender: int, recipient: int, secrets: dict[int, bytes]) -> list[Vector]:
    """What the sender derives for the recipient, and a sealed share."""
    channel = keys.channel_private_key(secrets[sender], S)
    channel_public = keys.public_key(keys.channel_private_key(secrets[recipient], S))
    mask = keys.mask_private_key(secrets[sender], S)
    mask_public = keys.public_key(keys.mask_private_key(secrets[recipient], S))
    sealing = keys.channel_key(channel, channel_public, S, P, sender, recipient)
    masking = keys.pairwise_mask_key(mask, mask_public, S, P, sender, recipient)
    shares_header = header(Type.SHARES, PAIRWISE_MASKS, S, 1, sender, 4)
    shares = seeded_bytes(f"shares/{sender}", 66)
    who: dict[str, bytes | str | int] = {
        "session": S,
        "roster_digest": P,
        "sender": sender,
        "recipient": recipient,
    }
    return [
        as_vector("channel key", **who, private_key=channel, public_key=channel_public, output=sealing),
        as_vector("pairwise mask key", **who, private_key=mask, public_key=mask_public, output=masking),
        as_vector(
            "seal",
            key=sealing,
            shares_header=shares_header,
            recipient=recipient,
            shares=shares,
            output=keys.seal(sealing, shares, shares_header, recipient),
        ),
    ]


def streams() -> VectorFile:
    """Pieces of streams, and hashes of long ones."""
    file = VectorFile(
        NAME,
        "streams",
        "`length` bytes of Stream(key) from byte `start` on: in hex, or as their SHA-256 with the last 32.",
    )
    pieces = [(0, 64), (5, 27), (SEGMENT - 32, 64), (SEGMENT - 3, 6), (7 * SEGMENT, 32), (2**32 * 16 + 48, 32)]
    for i, (start, length) in enumerate(pieces):
        key = seed(f"stream/{i}")
        data = stream(key, length, start)
        file.vectors.append({"key": key.hex(), "start": start, "length": length, "bytes": data.hex()})
    for length in (4096, SEGMENT, SEGMENT + 64, 2 * SEGMENT + 8):
        key = seed(f"stream/of {length}")
        data = stream(key, length)
        hashed = {"sha256": H(data).hex(), "last": data[-32:].hex()}
        file.vectors.append({"key": key.hex(), "start": 0, "length": length, **hashed})
    return file
