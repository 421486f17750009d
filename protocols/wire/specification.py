"""The specification of a round: the body of OFFER, whose hash is the session."""

import struct
from dataclasses import dataclass

from protocols.notation import H, require, u8, u32, u64

FIXED_BYTES = 140
"""Bytes before the cohort's ids."""

GREATEST_COHORT = 2**20


@dataclass(frozen=True)
class Specification:
    """All that the parties of one attempt at one round agree on."""

    nonce: bytes  # 32, fresh for every attempt
    round: int
    threshold: int  # t
    model: bytes  # 32: digest of the model and configuration that clients train from
    layout: bytes  # 32: layout digest
    values: int  # parameters of an update
    scalars: int  # scalars behind them, the weight included
    greatest_weight: int  # W
    bits: int  # b
    clip: float  # c
    cohort: tuple[int, ...]  # n client ids, ascending


def encode_specification(s: Specification) -> bytes:
    """The bytes of a specification; out-of-bounds values that fit their fields are written as they are."""
    return (
        s.nonce
        + u32(s.round)
        + u32(s.threshold)
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
    (n,) = struct.unpack(">I", data[136:140])
    require(1 <= n <= GREATEST_COHORT, "W15", f"a cohort of {n}")
    require(len(data) == FIXED_BYTES + 4 * n, "W15", f"{len(data)} bytes do not hold a cohort of {n}")
    require(data[121:128] == bytes(7), "W15", "padding is not zero")
    specification = Specification(
        nonce=data[0:32],
        round=int.from_bytes(data[32:36], "big"),
        threshold=int.from_bytes(data[36:40], "big"),
        model=data[40:72],
        layout=data[72:104],
        values=int.from_bytes(data[104:112], "big"),
        scalars=int.from_bytes(data[112:116], "big"),
        greatest_weight=int.from_bytes(data[116:120], "big"),
        bits=data[120],
        clip=struct.unpack(">d", data[128:136])[0],
        cohort=struct.unpack(f">{n}I", data[140:]),
    )
    check_bounds(specification)
    return specification


def check_bounds(s: Specification) -> None:
    """Raise W15 unless every field is within the bounds of the table."""
    require(1 <= s.threshold <= len(s.cohort), "W15", f"a threshold of {s.threshold}")
    require(s.values >= 1, "W15", "no parameter")
    require(s.scalars >= 1, "W15", "no scalar, not even the weight")
    require(s.greatest_weight >= 1, "W15", "a greatest weight of 0")
    require(2 <= s.bits <= 32, "W15", f"{s.bits} bits a value")
    require(2.0**-512 <= s.clip <= 2.0**512, "W15", f"a clip of {s.clip}")
    require(is_ascending(s.cohort), "W15", "cohort ids are not strictly ascending from 1")


def is_ascending(ids: tuple[int, ...]) -> bool:
    """Whether the ids are strictly ascending and none is 0."""
    return all(low < high for low, high in zip((0, *ids), ids, strict=False))


def session_of(specification: bytes) -> bytes:
    """The session: the hash of the specification's bytes."""
    return H(specification)
