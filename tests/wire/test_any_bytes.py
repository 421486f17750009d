"""Whatever the bytes: a decoder returns a whole message or raises RemoteProtocolError with a rule of its tables."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.errors import RemoteProtocolError
from securefed.wire.from_client import Input
from securefed.wire.header import HEADER_BYTES, Header
from tests.rounds import context_of
from tests.wire.samples import RING_BITS, RING_WORDS, SAMPLES, SPEC, SUITE, Sample

every_type = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
_RULE = re.compile(r"W([1-9]|1[0-5])|R[124]")


def read(sample: Sample, message: bytes) -> Any:
    """What a decoder makes of the bytes; None where it refuses them as it may."""
    try:
        return sample.decode(message)
    except RemoteProtocolError as error:
        rule = error.rule
    assert _RULE.fullmatch(rule)
    return None


def written(sample: Sample, value: Any) -> bytes:
    """The bytes of what was read."""
    if isinstance(value, np.ndarray):
        string = sum(int(word) << (RING_BITS * at) for at, word in enumerate(value))
        words = np.frombuffer(string.to_bytes(8 * RING_WORDS, "little"), "<u8")
        return Input(words).encode(context_of(SPEC, sample.sender))
    return sample.encode(value)


@every_type
@given(st.binary(max_size=400))
def test_any_bytes(sample: Sample, message: bytes) -> None:
    read(sample, message)


@every_type
@given(st.binary(max_size=400))
def test_any_bytes_behind_a_good_header(sample: Sample, body: bytes) -> None:
    """The header says what was agreed, and the count that the body may have."""
    for count in {0, 1, 3, 4, len(body), *(len(body) // size for size in (8, 37, 64, 86, 96, 100, 118, 160, 164))}:
        header = Header(sample.kind, SUITE, SPEC.session, SPEC.round, sample.sender, count)
        value = read(sample, header.pack() + body)
        assert value is None or written(sample, value) == header.pack() + body


@every_type
@settings(max_examples=4 * settings().max_examples)
@given(data=st.data())
def test_mutated_messages(sample: Sample, data: st.DataObject) -> None:
    """Bytes changed, cut out, or put in: what is still accepted is written back as the very same bytes."""
    message = bytearray(sample.message)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message)))
        match data.draw(st.sampled_from(["flip", "set", "cut", "insert"])):
            case "flip" if at < len(message):
                message[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                message[at : at + 4] = data.draw(st.sampled_from([bytes(4), b"\xff" * 4, b"\x00\x00\x00\x01"]))
            case "cut":
                del message[at : at + data.draw(st.integers(1, 90))]
            case _:
                message[at:at] = data.draw(st.binary(min_size=1, max_size=90))
    value = read(sample, bytes(message))
    assert value is None or written(sample, value) == bytes(message)


@every_type
def test_every_flipped_bit_of_a_header_is_refused(sample: Sample) -> None:
    """There is no bit in it that is not looked at."""
    for bit in range(8 * HEADER_BYTES):
        message = bytearray(sample.message)
        message[bit // 8] ^= 0x80 >> bit % 8
        assert read(sample, bytes(message)) is None


def test_every_flipped_bit_of_an_offer_is_refused() -> None:
    sample = SAMPLES[0]
    for bit in range(8 * len(sample.message)):
        message = bytearray(sample.message)
        message[bit // 8] ^= 0x80 >> bit % 8
        assert read(sample, bytes(message)) is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@every_type
def test_any_buffer_is_read(sample: Sample, kind: type) -> None:
    assert sample.decode(kind(sample.message)) is not None
