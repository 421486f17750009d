"""Bundles: two messages in one exchange, the next round's before the present round's."""

import struct

from protocols.notation import require

MAGIC = b"SFBN"
VERSION = 1
HEADER = struct.Struct(">4sB3sQ")
"""Magic, version, zeros, bytes of the rider: 16 bytes."""


def is_bundle(data: bytes) -> bool:
    """Whether this is read as a bundle; else it is a message."""
    return data[:4] == MAGIC


def encode_bundle(rider: bytes, main: bytes) -> bytes:
    """Both messages. Pre-condition: the main one is not empty. In an answer the rider may be."""
    return HEADER.pack(MAGIC, VERSION, bytes(3), len(rider)) + rider + main


def decode_bundle(data: bytes) -> tuple[bytes, bytes]:
    """The rider and the main message, both unread. Raises W16."""
    require(len(data) >= HEADER.size, "W16", f"{len(data)} bytes are too few for a bundle")
    magic, version, zeros, length = HEADER.unpack(data[: HEADER.size])
    require(magic == MAGIC, "W16", f"magic {magic.hex()}")
    require(version == VERSION, "W16", f"version {version}")
    require(zeros == bytes(3), "W16", f"reserved bytes {zeros.hex()}")
    parts = data[HEADER.size :]
    require(length < len(parts), "W16", f"a rider of {length} bytes, and {len(parts)} in all")
    return parts[:length], parts[length:]
