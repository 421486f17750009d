"""The vectors of bundles: two messages to one, and back; and what is no bundle."""

from protocols.notation import u8, u64
from protocols.vector_files import Vector, VectorFile
from protocols.wire.bundle import HEADER, encode_bundle
from protocols.wire.refusals import patched
from protocols.wire.samples import ADVERTISEMENT, INPUT, NAMED_DELIVERY, OFFER, ROSTER, SHARES, SURVIVORS, message_of

RIDER, MAIN = message_of(ROSTER), message_of(SURVIVORS)
BUNDLE = encode_bundle(RIDER, MAIN)


def bundles() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "wire", "bundles", "A `bundle` of a `rider` and a `main` message; or one that is refused, with the rule."
    )
    file.vectors += good() + bad()
    return file


def good() -> list[Vector]:
    """As they travel, and with an empty rider. A bundle's parts are not looked at."""
    pairs = {
        "an offer beside a delivery": (message_of(OFFER), message_of(NAMED_DELIVERY)),
        "an advertisement beside an input": (message_of(ADVERTISEMENT), message_of(INPUT)),
        "a roster beside the survivors": (RIDER, MAIN),
        "shares beside one byte": (message_of(SHARES), b"\x00"),
        "an answer whose rider was refused": (b"", message_of(INPUT)),
        "what are no messages": (b"rider", b"main"),
        "a bundle in a bundle": (BUNDLE, BUNDLE),
    }
    return [
        {"name": name, "bundle": encode_bundle(rider, main).hex(), "rider": rider.hex(), "main": main.hex()}
        for name, (rider, main) in pairs.items()
    ]


def bad() -> list[Vector]:
    """W16."""
    length = len(RIDER)
    cut = {
        "nothing": b"",
        "its magic alone": BUNDLE[:4],
        "15 bytes": BUNDLE[:15],
        "its header alone": BUNDLE[:16],
        "half of its rider": BUNDLE[: 16 + length // 2],
        "its rider alone": BUNDLE[: 16 + length],
        "neither a rider nor a main message": encode_bundle(b"", b""),
    }
    changed = {
        "magic in small letters": patched(BUNDLE, 0, b"sfbn"),
        "a message": MAIN,
        "version 0": patched(BUNDLE, 4, u8(0)),
        "version 2": patched(BUNDLE, 4, u8(2)),
        "first reserved byte": patched(BUNDLE, 5, u8(1)),
        "last reserved byte": patched(BUNDLE, 7, u8(1)),
        "a rider as long as both": patched(BUNDLE, 8, u64(len(BUNDLE) - HEADER.size)),
        "a rider longer than both": patched(BUNDLE, 8, u64(len(BUNDLE))),
        "a rider of 2^63": patched(BUNDLE, 8, u64(2**63)),
        "a rider of 2^64 − 1": patched(BUNDLE, 8, u64(2**64 - 1)),
        "a rider's length in little-endian": patched(BUNDLE, 8, length.to_bytes(8, "little")),
    }
    return [{"name": name, "rule": "W16", "bundle": data.hex()} for name, data in (cut | changed).items()]
