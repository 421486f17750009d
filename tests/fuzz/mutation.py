"""Mutations that know nothing of messages: blind ones, for the engine without libFuzzer, and those of JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Final

__all__ = ["INTERESTING", "JSON_TOKENS", "havoc", "interesting", "mutate_json"]

INTERESTING: Final = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 499, 500, 999, 1000, 2**15, 2**16 - 1, 2**20, 2**20 + 1,
                      2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**52, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
"""Integers next to which programs break."""

JSON_TOKENS: Final = (
    b"null", b"true", b"-1", b"0.5", b"1e999", b"Infinity", b"-Infinity", b"NaN", b"9" * 30, b"9" * 5000,
    b"{}", b"[]", b'""', b'"\\ud800"', b'"\xff"', b'"' + b"a long text " * 4 + b'"', b"[" * 2000, b'{"":' * 2000,
    b"{", b"}", b"[", b"\n", b"\r\n", b"\xff", b"\xe2\x80\xa8", b"\0",
)  # fmt: skip

_VALUE: Final = re.compile(rb'"[^"]*"|-?[0-9][-+.0-9eE]*|\[[^\[\]]*\]|true|false|null')

_GREATEST_REPEAT: Final = 2000
"""Enough to leave Python's limit on recursion behind."""


def mutate_json(text: bytes, rng: Random) -> bytes:
    """Half of the time one value is another token and all else stays; else blind changes."""
    values = list(_VALUE.finditer(text))
    if not values or rng.randrange(2):
        return havoc(text, rng, JSON_TOKENS)
    at = rng.choice(values)
    # Another value of the same text fits at more places than most tokens do.
    new = rng.choice(JSON_TOKENS) if rng.randrange(3) else rng.choice(values).group()
    return text[: at.start()] + new + text[at.end() :]


def interesting(rng: Random, size: int) -> bytes:
    """An interesting integer of so many bytes, or one next to it, in either order."""
    value = (rng.choice(INTERESTING) + rng.choice((-1, 0, 0, 1))) % 256**size
    return value.to_bytes(size, rng.choice(("big", "little")))


def havoc(data: bytes, rng: Random, tokens: Sequence[bytes] = ()) -> bytes:
    """One to four small changes anywhere."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change(raw, rng, tokens)
    return bytes(raw)


def _change(raw: bytearray, rng: Random, tokens: Sequence[bytes]) -> None:
    at = rng.randrange(len(raw) + 1)
    size = rng.choice((1, 1, 2, 4, 8, 16, 33, 64))
    other = rng.randrange(len(raw) + 1)
    match rng.randrange(11):
        case 0 | 1 if at < len(raw):
            raw[at] ^= 1 << rng.randrange(8)
        case 2 if at < len(raw):
            raw[at] = rng.randrange(256)
        case 3:
            size = rng.choice((1, 2, 4, 8))
            raw[at : at + size] = interesting(rng, size)
        case 4:
            raw[at:at] = rng.randbytes(size)
        case 5:
            del raw[at : at + size]
        case 6:
            raw[at : at + size] = raw[other : other + size]
        case 7:
            raw[at:at] = raw[other : other + size]
        case 8:
            del raw[at:]
        case 9 if rng.randrange(8) == 0:
            raw[at:at] = raw[other : other + rng.choice((1, 2))] * rng.randrange(_GREATEST_REPEAT)
        case 10 if tokens:
            raw[at : at + rng.choice((0, 0, 1, 4))] = rng.choice(tokens)
        case _:
            raw[at : at + 4] = rng.choice((bytes(4), b"\xff" * 4, b"\0\0\0\1"))
