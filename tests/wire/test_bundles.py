"""Two messages in one exchange: what is packed comes back, whole or in pieces, and what is no bundle is W16."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.errors import RemoteProtocolError
from securefed.wire.bundle import (
    BUNDLE_HEADER_BYTES,
    bundle_header,
    is_bundle,
    pack_bundle,
    parse_bundle,
    split_bundle,
)
from tests.rules import case, refused
from tests.wire.samples import SAMPLES, patched

RIDER, MAIN = b"a rider", b"the main message"
GOOD = pack_bundle(RIDER, MAIN)
Main = st.binary(min_size=1, max_size=200)


def in_chunks(message: bytes, sizes: list[int]) -> list[bytes]:
    """The message cut at these sizes, the rest in one; empty chunks among them."""
    chunks, at = [], 0
    for size in sizes:
        chunks.append(message[at : at + size])
        at += size
    return [*chunks, message[at:]]


def in_pieces(chunks: list[bytes], greatest: int = 1000) -> tuple[bytes, bytes]:
    rider, main = split_bundle(chunks, greatest)
    return rider, b"".join(main)


@given(st.binary(max_size=200), Main, st.lists(st.integers(0, 40), max_size=12))
def test_a_bundle_comes_back(rider: bytes, main: bytes, sizes: list[int]) -> None:
    message = pack_bundle(rider, main)
    assert message == bundle_header(rider) + main
    assert is_bundle(message)
    found, rest = parse_bundle(message)
    assert (found, bytes(rest)) == (rider, main)
    assert in_pieces(in_chunks(message, sizes)) == (rider, main)


def test_the_bytes_lie_where_the_text_says() -> None:
    assert b"SFBN\x01\x00\x00\x00" + struct.pack(">Q", len(RIDER)) + RIDER + MAIN == GOOD
    assert BUNDLE_HEADER_BYTES == 16


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_message_is_no_bundle(sample: object) -> None:
    message: bytes = sample.message  # type: ignore[attr-defined]
    assert not is_bundle(message)
    assert in_pieces(in_chunks(message, [1, 1, 0, 7])) == (b"", message)


@given(st.binary(max_size=60).filter(lambda raw: not is_bundle(raw)), st.lists(st.integers(0, 5), max_size=5))
def test_whatever_is_no_bundle_is_a_main_message(raw: bytes, sizes: list[int]) -> None:
    assert in_pieces(in_chunks(raw, sizes)) == (b"", raw)


BAD = [
    case("W16", "cut before its header's end", GOOD[:15]),
    case("W16", "its magic alone", GOOD[:4]),
    case("W16", "a header alone", GOOD[:16]),
    case("W16", "cut in its rider", GOOD[:20]),
    case("W16", "no main message", GOOD[: 16 + len(RIDER)]),
    case("W16", "an empty rider and no main message", pack_bundle(b"", b"")),
    case("W16", "version 0", patched(GOOD, 4, b"\x00")),
    case("W16", "version 2", patched(GOOD, 4, b"\x02")),
    case("W16", "first reserved byte", patched(GOOD, 5, b"\x01")),
    case("W16", "last reserved byte", patched(GOOD, 7, b"\x80")),
    case("W16", "a rider as long as all", patched(GOOD, 8, struct.pack(">Q", len(RIDER) + len(MAIN)))),
    case("W16", "a rider of 2^64 - 1", patched(GOOD, 8, b"\xff" * 8)),
]


@pytest.mark.parametrize(("rule", "message"), BAD)
def test_what_is_refused(rule: str, message: bytes) -> None:
    with refused(rule):
        parse_bundle(message)


@pytest.mark.parametrize("size", [1, 3, 16, 1000])
@pytest.mark.parametrize(("rule", "message"), BAD)
def test_what_is_refused_in_pieces(rule: str, message: bytes, size: int) -> None:
    with refused(rule):
        in_pieces(in_chunks(message, [size] * 50))


@pytest.mark.rule("W16")
@pytest.mark.parametrize("message", [b"", b"SFBM" + GOOD[4:], b"sfbn" + GOOD[4:], SAMPLES[0].message])
def test_w16_another_magic(message: bytes) -> None:
    """Nobody asks for the parts of what is no bundle; who does is told."""
    with refused("W16"):
        parse_bundle(message)


@pytest.mark.rule("W16")
def test_w16_nobody_waits_for_a_rider_without_end() -> None:
    """Its length is the sender's word: no byte of it is read where it is more than can be."""

    def chunks() -> object:
        yield bundle_header(b"")[:8] + struct.pack(">Q", 1001)
        raise AssertionError("more was read")

    with refused("W16"):
        split_bundle(chunks(), 1000)  # type: ignore[arg-type]
    assert in_pieces([pack_bundle(bytes(1000), MAIN)]) == (bytes(1000), MAIN)


@given(st.binary(max_size=100), st.lists(st.integers(0, 20), max_size=8))
def test_any_bytes_behind_the_magic(raw: bytes, sizes: list[int]) -> None:
    """Whole or in pieces the same, or the same refusal."""
    message = b"SFBN" + raw
    try:
        rider, main = parse_bundle(message)
        found: object = (rider, bytes(main))
    except RemoteProtocolError as error:
        found = error.rule
        assert found == "W16"
    try:
        pieces: object = in_pieces(in_chunks(message, sizes))
    except RemoteProtocolError as error:
        pieces = error.rule
    assert pieces == found


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read_in_pieces(kind: type) -> None:
    assert in_pieces([kind(GOOD)]) == (RIDER, MAIN)
