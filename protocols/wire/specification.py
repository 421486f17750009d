"""The specification of a round: the body of OFFER, whose hash is the session."""

import struct
from dataclasses import dataclass

from protocols.notation import H, require, u8, u16, u32, u64

FIXED_BYTES = 144
"""Bytes before the cohort's ids."""

GREATEST_COHORT = 2**20

NAMED_LATER = bytes(32)
"""The model of a round that is prepared: it is named with the delivery."""

SEMI_HONEST, MALICIOUS = 1, 2
"""What a server may be."""


@dataclass(frozen=True)
class Adversary:
    """Against whom the round is secure, and how surely."""

    server: int  # SEMI_HONEST or MALICIOUS
    security: int  # σ, bits
    correctness: int  # η, bits
    corrupt: int  # thousandths of the cohort
    dropouts: int  # thousandths of the cohort


@dataclass(frozen=True)
class Specification:
    """All that the parties of one attempt at one round agree on."""

    nonce: bytes  # 32, fresh for every attempt
    round: int
    adversary: Adversary
    model: bytes  # 32: digest of the model and configuration that clients train from, or NAMED_LATER
    layout: bytes  # 32: layout digest
    values: int  # parameters of an update
    scalars: int  # scalars behind them, the weight included
    greatest_weight: int  # W
    bits: int  # b
    clip: float  # c
    cohort: tuple[int, ...]  # n client ids, ascending

    @property
    def malicious(self) -> bool:
        """Whether the server may do whatever it likes: then entries are signed and survivors consented to."""
        return self.adversary.server == MALICIOUS

    @property
    def prepared(self) -> bool:
        """Whether its model is named once the seeds are shared."""
        return self.model == NAMED_LATER


def corrupt_clients(n: int, adversary: Adversary) -> int:
    """C: so many of n clients are with the server."""
    return max(1, -(-n * adversary.corrupt // 1000))


def dropouts(n: int, adversary: Adversary) -> int:
    """D: so many of n clients may drop out."""
    return n * adversary.dropouts // 1000


def least_survivors(n: int, adversary: Adversary) -> int:
    """L: with fewer answers a stage aborts the round."""
    if adversary.server == MALICIOUS:
        return (n + corrupt_clients(n, adversary)) // 2 + 1
    return max(corrupt_clients(n, adversary), n // 2) + 1


def encode_specification(s: Specification) -> bytes:
    """The bytes of a specification; out-of-bounds values that fit their fields are written as they are."""
    return (
        s.nonce
        + u32(s.round)
        + u8(s.adversary.server)
        + u8(s.adversary.security)
        + u8(s.adversary.correctness)
        + bytes(1)
        + u16(s.adversary.corrupt)
        + u16(s.adversary.dropouts)
        + s.model
        + s.layout
        + u64(s.values)
        + u32(s.scalars)
        + u32(s.greatest_weight)
        + u8(s.bits)
        + bytes(7)
        + struct.pack(">d", s.clip)
        + u32(len(s.cohort))
        + b"".join(u32(client) for client in s.cohort)
    )


def decode_specification(data: bytes) -> Specification:
    """Read a specification. Raises W15 for anything that is not exactly one within the bounds."""
    require(len(data) >= FIXED_BYTES, "W15", f"{len(data)} bytes are too few for a specification")
    (n,) = struct.unpack(">I", data[140:144])
    require(1 <= n <= GREATEST_COHORT, "W15", f"a cohort of {n}")
    require(len(data) == FIXED_BYTES + 4 * n, "W15", f"{len(data)} bytes do not hold a cohort of {n}")
    require(data[39] == 0 and data[125:132] == bytes(7), "W15", "padding is not zero")
    specification = Specification(
        nonce=data[0:32],
        round=int.from_bytes(data[32:36], "big"),
        adversary=Adversary(
            server=data[36],
            security=data[37],
            correctness=data[38],
            corrupt=int.from_bytes(data[40:42], "big"),
            dropouts=int.from_bytes(data[42:44], "big"),
        ),
        model=data[44:76],
        layout=data[76:108],
        values=int.from_bytes(data[108:116], "big"),
        scalars=int.from_bytes(data[116:120], "big"),
        greatest_weight=int.from_bytes(data[120:124], "big"),
        bits=data[124],
        clip=struct.unpack(">d", data[132:140])[0],
        cohort=struct.unpack(f">{n}I", data[144:]),
    )
    check_bounds(specification)
    return specification


def check_bounds(s: Specification) -> None:
    """Raise W15 unless every field is within the bounds of the table."""
    check_adversary(len(s.cohort), s.adversary)
    require(s.values >= 1, "W15", "no parameter")
    require(s.scalars >= 1, "W15", "no scalar, not even the weight")
    require(s.greatest_weight >= 1, "W15", "a greatest weight of 0")
    require(2 <= s.bits <= 32, "W15", f"{s.bits} bits a value")
    require(2.0**-512 <= s.clip <= 2.0**512, "W15", f"a clip of {s.clip}")
    require(is_ascending(s.cohort), "W15", "cohort ids are not strictly ascending from 1")


def check_adversary(n: int, adversary: Adversary) -> None:
    """Raise W15 unless the adversary is one, and so many of n clients remain as must survive."""
    require(adversary.server in (SEMI_HONEST, MALICIOUS), "W15", f"a server of kind {adversary.server}")
    require(1 <= adversary.security <= 128, "W15", f"{adversary.security} bits of security")
    require(1 <= adversary.correctness <= 64, "W15", f"{adversary.correctness} bits of correctness")
    require(adversary.corrupt <= 499, "W15", f"{adversary.corrupt} thousandths corrupt")
    require(adversary.dropouts <= 499, "W15", f"{adversary.dropouts} thousandths drop out")
    least, remaining = least_survivors(n, adversary), n - dropouts(n, adversary)
    require(least <= remaining, "W15", f"{least} must survive, {remaining} may remain")


def is_ascending(ids: tuple[int, ...]) -> bool:
    """Whether the ids are strictly ascending and none is 0."""
    return all(low < high for low, high in zip((0, *ids), ids, strict=False))


def session_of(specification: bytes) -> bytes:
    """The session: the hash of the specification's bytes."""
    return H(specification)
