"""The one large message in pieces: the same bytes as whole, and the same words or the same refusal as whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.encoding.lanes import packed_length, unpack_bits
from securefed.errors import RemoteProtocolError
from securefed.wire import vector_writer
from securefed.wire.frame import Expected
from securefed.wire.from_client import Input
from securefed.wire.header import HEADER_BYTES, MessageType, Suite
from securefed.wire.vector_writer import WordsReader, iter_words, write_words
from tests.rules import case, refused

CONTEXT = Expected(Suite.PAIRWISE_MASKS, b"s" * 32, 7, 3)
GROUP = 2**16
"""Ring words that are unpacked at a time."""
Groups = st.sampled_from([64, 128, GROUP])
"""Smaller ones too, so that short messages have several."""


def some_words(count: int, ring_bits: int) -> np.ndarray:
    words = np.random.default_rng(count).integers(0, 2**64, count, "<u8", endpoint=False)
    return words & np.uint64(2**ring_bits - 1)


def pieces_of(words: np.ndarray, length: int = 64) -> Iterator[np.ndarray]:
    return (words[at : at + length] for at in range(0, len(words), length))


def read_in(message: bytes, cuts: list[int], words: int, ring_bits: int, room: np.ndarray | None = None) -> np.ndarray:
    return read_attested(message, cuts, words, ring_bits, attested=False, room=room)[0]


def read_attested(
    message: bytes, cuts: list[int], words: int, ring_bits: int, *, attested: bool, room: np.ndarray | None = None
) -> tuple[np.ndarray, bytes]:
    reader = WordsReader(CONTEXT, words, ring_bits, attested=attested, room=room)
    for start, end in zip([0, *cuts], [*cuts, len(message)], strict=True):
        reader.feed(memoryview(message)[start:end])
    return reader.finish(), reader.attestation


def read_whole(message: bytes, words: int, ring_bits: int, *, attested: bool) -> tuple[np.ndarray, bytes]:
    """As a server does that has the whole message."""
    whole = Input.decode(message, CONTEXT, packed_length(words, ring_bits), attested=attested)
    return unpack_bits(whole.words, words, ring_bits), whole.attestation


@given(st.integers(0, 300), st.integers(1, 64), st.data())
def test_the_same_words_whatever_the_cuts(count: int, ring_bits: int, data: st.DataObject) -> None:
    words = some_words(count, ring_bits)
    message = write_words(CONTEXT, pieces_of(words), count, ring_bits)
    parts = list(iter_words(CONTEXT, pieces_of(words, 64 * data.draw(st.integers(1, 4))), count, ring_bits))
    assert b"".join(parts) == message
    assert len(parts[0]) == HEADER_BYTES
    assert sum(len(part) for part in parts) == len(message), "the length of a part is in bytes"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=8)))
    with mock.patch.object(vector_writer, "_GROUP_WORDS", data.draw(Groups)):
        assert read_in(message, cuts, count, ring_bits).tolist() == words.tolist()


@pytest.mark.parametrize("ring_bits", [33, 60, 64])
@pytest.mark.parametrize("count", [GROUP - 1, GROUP, GROUP + 1, 3 * GROUP + 65])
def test_long_messages_are_unpacked_in_groups_without_a_seam(ring_bits: int, count: int) -> None:
    words = some_words(count, ring_bits)
    message = write_words(CONTEXT, pieces_of(words, GROUP), count, ring_bits)
    for length in (4001, 2**19, len(message)):
        cuts = list(range(length, len(message), length))
        assert (read_in(message, cuts, count, ring_bits) == words).all()


def verdict(read: Callable[[], tuple[np.ndarray, bytes]]) -> tuple[list[int], bytes] | str:
    try:
        words, attestation = read()
    except RemoteProtocolError as error:
        return error.rule
    return words.tolist(), attestation


@settings(max_examples=10 * settings().max_examples)
@given(st.integers(0, 90), st.integers(1, 64), st.booleans(), st.data())
def test_a_mutated_message_meets_the_same_fate_whole_or_in_pieces(
    count: int, ring_bits: int, attested: bool, data: st.DataObject
) -> None:
    words, attestation = some_words(count, ring_bits), b"a" * 64 if attested else b""
    message = bytearray(write_words(CONTEXT, pieces_of(words), count, ring_bits, attestation))
    at = data.draw(st.one_of(st.integers(0, min(140, len(message) - 1)), st.integers(0, len(message) - 1)))
    match data.draw(st.sampled_from(["flip", "last", "cut", "more", "insert"])):
        case "flip":
            message[at] ^= 1 << data.draw(st.integers(0, 7))
        case "last":
            message[-1] |= 0x80
        case "cut":
            del message[at:]
        case "more":
            message += data.draw(st.binary(min_size=1, max_size=9))
        case _:
            message[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=6)))
    with mock.patch.object(vector_writer, "_GROUP_WORDS", data.draw(Groups)):
        in_pieces = verdict(lambda: read_attested(bytes(message), cuts, count, ring_bits, attested=attested))
        assert in_pieces == verdict(lambda: read_whole(bytes(message), count, ring_bits, attested=attested))


COUNT, RING_BITS = 70, 60
GOOD = write_words(CONTEXT, [some_words(COUNT, RING_BITS)], COUNT, RING_BITS)


def patched(at: int, new: bytes) -> bytes:
    return GOOD[:at] + new + GOOD[at + len(new) :]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        case("W1", "nothing", b""),
        case("W1", "a part of the header", GOOD[:63]),
        case("W2", "another magic", patched(0, b"X")),
        case("W5", "another suite", patched(6, b"\x00\x00")),
        case("R1", "another session", patched(8, b"x")),
        case("R2", "another round", patched(43, b"\x08")),
        case("R4", "another type", patched(5, bytes([MessageType.RELEASE]))),
        case("W12", "another sender", patched(47, b"\x04")),
        case("W11", "a count less", patched(55, bytes([GOOD[55] - 1]))),
        case("W11", "a lying count", patched(48, b"\xff" * 8)),
        case("W8", "the header alone", GOOD[:HEADER_BYTES]),
        case("W8", "a byte too few", GOOD[:-1]),
        case("W8", "a word too few", GOOD[:-8]),
        case("W8", "a byte too many", GOOD + b"\x00"),
        case("W8", "a word too many", GOOD + bytes(8)),
        case("W8", "too many, and bits beyond the last word", patched(len(GOOD) - 1, b"\xff") + b"\x00"),
        case("W13", "a bit beyond the last word", patched(len(GOOD) - 1, b"\x80")),
    ],
)
@pytest.mark.parametrize("length", [1, 7, 64, 65, 10_000])
def test_what_is_refused_stays_refused(rule: str, message: bytes, length: int) -> None:
    """Whatever is fed after it, and however often the end is asked for: no word leaves a message that is not right."""
    reader = WordsReader(CONTEXT, COUNT, RING_BITS)

    def feed() -> None:
        for at in range(0, len(message), length):
            reader.feed(message[at : at + length])
        reader.finish()

    with refused(rule):
        feed()
    for _ in range(2):
        with refused(rule):
            reader.finish()
    if rule not in ("W1", "W8", "W13") or len(message) > len(GOOD):
        with refused(rule):
            reader.feed(b"\x00")


@pytest.mark.parametrize("length", [1, 63, 64, 1000])
def test_a_bad_header_is_refused_before_the_body_is_taken(length: int) -> None:
    """A client that is not of this round is told so after 64 bytes, not after gigabytes."""
    reader, bad = WordsReader(CONTEXT, COUNT, RING_BITS), patched(8, b"x")
    fed = 0
    with refused("R1"):
        while True:
            reader.feed(bad[fed : fed + length])
            fed += length
    assert fed < HEADER_BYTES


def test_an_attestation_is_there_before_the_words() -> None:
    """A server may verify it first, and spare itself the rest."""
    attestation = bytes(range(64))
    message = write_words(CONTEXT, [some_words(COUNT, RING_BITS)], COUNT, RING_BITS, attestation)
    reader = WordsReader(CONTEXT, COUNT, RING_BITS, attested=True)
    for at in range(127):
        reader.feed(message[at : at + 1])
        assert reader.attestation == b""
    reader.feed(message[127:128])
    assert reader.attestation == attestation
    reader.feed(message[128:])
    assert reader.finish().tolist() == some_words(COUNT, RING_BITS).tolist()


@pytest.mark.rule("W8")
@pytest.mark.parametrize("attested", [False, True])
def test_w8_an_attestation_more_or_less(attested: bool) -> None:
    message = write_words(CONTEXT, [some_words(COUNT, RING_BITS)], COUNT, RING_BITS, b"" if attested else bytes(64))
    with refused("W8"):
        read_attested(message, [], COUNT, RING_BITS, attested=attested)


@pytest.mark.rule("W8")
def test_w8_a_part_of_an_attestation_though_no_words_follow() -> None:
    message = write_words(CONTEXT, [], 0, RING_BITS, bytes(64))
    assert read_attested(message, [70], 0, RING_BITS, attested=True)[1] == bytes(64)
    with refused("W8"):
        read_attested(message[:-1], [70], 0, RING_BITS, attested=True)


def test_nothing_is_fed_after_the_end() -> None:
    reader = WordsReader(CONTEXT, COUNT, RING_BITS)
    reader.feed(GOOD)
    words = reader.finish().tolist()
    assert reader.finish().tolist() == words
    with refused("W8"):
        reader.feed(b"\x00")


def test_a_room_serves_one_message_after_another(tmp_path: Path) -> None:
    """A mapped file too; a message that was refused leaves nothing that the next one would see."""
    room = np.memmap(tmp_path / "room", "<u8", "w+", shape=(COUNT,))
    with refused("W8"):
        read_in(GOOD[:-1], [100, 200], COUNT, RING_BITS, room)
    words = read_in(GOOD, [3, 64], COUNT, RING_BITS, room)
    assert np.shares_memory(words, room)
    assert words.tolist() == some_words(COUNT, RING_BITS).tolist()


@pytest.mark.parametrize("room", [np.zeros(COUNT - 1, "<u8"), np.zeros(COUNT, "<i8"), np.zeros((COUNT, 1), "<u8")])
def test_a_room_that_does_not_fit_is_a_mistake_of_the_caller(room: np.ndarray) -> None:
    with pytest.raises(ValueError, match="the room must hold"):
        WordsReader(CONTEXT, COUNT, RING_BITS, room=room)


@pytest.mark.parametrize(
    "lengths", [[64, 64], [64, 64, 64], [70, 64], [6, 64], [71], [], [64]], ids=lambda lengths: f"{lengths}"
)
def test_pieces_that_are_not_as_announced_are_a_mistake_of_the_caller(lengths: list[int]) -> None:
    pieces = [some_words(length, RING_BITS) for length in lengths]
    with pytest.raises(ValueError, match="ring words"):
        write_words(CONTEXT, pieces, COUNT, RING_BITS)


def test_a_message_is_never_whole_in_memory() -> None:
    """4 million ring words: 30 MiB as a message; the room alone is there on the other side."""
    count, zeros = 2**22, np.zeros(GROUP, "<u8")
    room = np.zeros(count, "<u8")
    tracemalloc.start()
    try:
        reader = WordsReader(CONTEXT, count, RING_BITS, room=room)
        for part in iter_words(CONTEXT, (zeros for _ in range(count // GROUP)), count, RING_BITS):
            reader.feed(part)
        reader.finish()
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    finally:
        tracemalloc.stop()
