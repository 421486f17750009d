"""Every rule of the wire for every type of message that it applies to."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

from securefed.wire.from_client import Input, Release, Shares
from securefed.wire.from_server import Agreement, Delivery, NamedDelivery, Roster
from securefed.wire.header import Header, MessageType
from tests.rounds import COHORT, context_of, seed
from tests.rules import case, refused
from tests.wire.samples import (
    BODY,
    BY_NAME,
    CLIENT,
    LISTS,
    RING_BITS,
    RING_WORDS,
    SAMPLES,
    SETS,
    SPEC,
    Sample,
    counted,
    entry_of,
    patched,
    same,
)

every_type = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
every_list = pytest.mark.parametrize("sample", LISTS, ids=lambda sample: sample.name)
every_set = pytest.mark.parametrize("sample", SETS, ids=lambda sample: sample.name)


@every_type
def test_the_sample_is_good(sample: Sample) -> None:
    assert same(sample.decode(sample.message), sample.value)


@every_type
@pytest.mark.parametrize(
    ("rule", "at", "new"),
    [
        case("W2", "magic", 0, b"sFED"),
        case("W2", "magic's last byte", 3, b"E"),
        case("W3", "version 0", 4, b"\x00"),
        case("W3", "version 1", 4, b"\x01"),
        case("W3", "version 3", 4, b"\x03"),
        case("W4", "type 0", 5, b"\x00"),
        case("W4", "type 19", 5, b"\x13"),
        case("W4", "type 255", 5, b"\xff"),
        case("W5", "suite of plain integers", 6, b"\x00\x00"),
        case("W5", "suite of plain floats", 6, b"\x00\xff"),
        case("W5", "suite little-endian", 6, b"\x01\x00"),
        case("W6", "first reserved byte", 56, b"\x01"),
        case("W6", "last reserved byte", 63, b"\x80"),
        case("R1", "another session", 8, seed("another session")),
        case("R1", "one bit of the session", 39, bytes([SPEC.session[-1] ^ 1])),
        case("R2", "the next round", 40, struct.pack(">I", SPEC.round + 1)),
        case("W12", "another sender", 44, struct.pack(">I", 5)),
    ],
)
def test_headers(sample: Sample, rule: str, at: int, new: bytes) -> None:
    with refused(rule):
        sample.decode(patched(sample.message, at, new))


@pytest.mark.rule("W12")
@every_type
def test_w12_server_and_client_are_not_each_other(sample: Sample) -> None:
    other = 0 if sample.sender else CLIENT
    with refused("W12"):
        sample.decode(patched(sample.message, 44, struct.pack(">I", other)))


@pytest.mark.rule("R4")
@every_type
def test_r4_every_other_type(sample: Sample) -> None:
    for kind in MessageType:
        if kind is not sample.kind:
            with refused("R4"):
                sample.decode(patched(sample.message, 5, bytes([kind])))


@pytest.mark.rule("W1")
@pytest.mark.rule("W8")
@every_type
def test_w1_w8_truncated_at_every_byte(sample: Sample) -> None:
    for length in range(len(sample.message)):
        with refused("W1" if length < 64 else "W8"):
            sample.decode(sample.message[:length])


@pytest.mark.rule("W1")
@pytest.mark.parametrize("length", [0, 1, 63])
def test_w1_a_header_alone(length: int) -> None:
    with refused("W1"):
        Header.parse(SAMPLES[0].message[:length])


@pytest.mark.rule("W8")
@every_type
@pytest.mark.parametrize("more", [b"\x00", b"\x01", bytes(7), bytes(8), bytes(100)])
def test_w8_trailing_bytes(sample: Sample, more: bytes) -> None:
    with refused("W8"):
        sample.decode(sample.message + more)


@pytest.mark.parametrize(
    ("rule", "name", "count"),
    [
        case("W7", f"{name} {count}", name, count)
        for name, bound in (
            ("OFFER", 4 * 2**20 + 144),
            ("ROSTER", 4),
            ("ROSTER unsigned", 4),
            ("DELIVERY", 4),
            ("NAMED_DELIVERY", 4),
            ("RELEASE", 4),
            ("AGREEMENT", 4),
            ("AGREEMENT attested", 4),
        )
        for count in (bound + 1, 2**32 - 1, 2**61, 2**64 - 1)
    ]
    + [
        case("W11", f"{name} {count}", name, count)
        for name, right in (
            ("ADVERTISEMENT", 1),
            ("SHARES", 3),
            ("INPUT", 6),
            ("INPUT attested", 9),
            ("SURVIVORS", 4),
            ("CONSENT", 1),
        )
        for count in (0, right - 1, right + 1, 2**32 - 1, 2**61, 2**64 - 1)
    ],
)
def test_counts_that_lie(rule: str, name: str, count: int) -> None:
    with refused(rule):
        BY_NAME[name].decode(counted(BY_NAME[name].message, count))


def longer(name: str) -> bytes:
    """A whole message with strangers among its items."""
    sample = BY_NAME[name]
    value, more = sample.value, (9, 10, 11)
    match value:
        case Roster():
            return Roster.of(dict(value) | {i: entry_of(i) for i in more}).encode(context_of(SPEC))
        case Shares():
            value = replace(value, sealed=value.sealed | dict.fromkeys(more, bytes(82)))
        case Delivery():
            value = replace(value, senders=value.senders | dict.fromkeys(more, value.senders[8]))
        case NamedDelivery():
            senders = value.delivery.senders | dict.fromkeys(more, value.delivery.senders[8])
            value = replace(value, delivery=replace(value.delivery, senders=senders))
        case Release():
            value = replace(value, shares=value.shares | dict.fromkeys(more, bytes(33)))
    return sample.encode(value)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        case("W7", "a whole roster longer than the cohort", "ROSTER"),
        case("W11", "whole shares with three more", "SHARES"),
        case("W7", "a whole delivery with three more", "DELIVERY"),
        case("W7", "a whole named delivery with three more", "NAMED_DELIVERY"),
        case("W7", "a whole release with three more", "RELEASE"),
    ],
)
def test_whole_messages_with_strangers_more(rule: str, name: str) -> None:
    with refused(rule):
        BY_NAME[name].decode(longer(name))


@pytest.mark.parametrize(
    ("rule", "signers", "signatures"),
    [
        case("W11", "one signature less than signers", 0b0111, 2),
        case("W11", "one signature more than signers", 0b0111, 4),
        case("W11", "signers without a signature", 0b0001, 0),
        case("W11", "signatures of nobody", 0, 2),
    ],
)
@pytest.mark.parametrize("name", ["AGREEMENT", "AGREEMENT attested"])
def test_agreements_whose_set_and_signatures_differ(name: str, rule: str, signers: int, signatures: int) -> None:
    attestations = 2 if name == "AGREEMENT attested" else 0
    header = BY_NAME[name].message[:BODY]
    message = counted(header, signatures) + bytes([signers]) + bytes(64 * (signatures + attestations))
    with refused(rule):
        BY_NAME[name].decode(message)


@pytest.mark.rule("W8")
@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("ADVERTISEMENT", "ADVERTISEMENT unsigned"),
        ("ADVERTISEMENT unsigned", "ADVERTISEMENT"),
        ("ROSTER", "ROSTER unsigned"),
        ("ROSTER unsigned", "ROSTER"),
        ("AGREEMENT", "AGREEMENT attested"),
        ("AGREEMENT attested", "AGREEMENT"),
    ],
)
def test_w8_the_other_form(name: str, sent: str) -> None:
    """A signature or an attestation is there where it was agreed, and only there."""
    with refused("W8"):
        BY_NAME[name].decode(BY_NAME[sent].message)


@pytest.mark.rule("W8")
@pytest.mark.parametrize("attested", [False, True])
def test_w8_an_input_of_the_other_form(attested: bool) -> None:
    words = np.zeros(RING_WORDS, "<u8")
    message = Input(words, b"" if attested else bytes(64)).encode(context_of(SPEC, CLIENT))
    with refused("W8"):
        Input.decode(message, context_of(SPEC, CLIENT), RING_WORDS, attested=attested)


@pytest.mark.rule("W11")
@pytest.mark.parametrize("words", [RING_WORDS - 1, RING_WORDS + 1, 0])
def test_w11_whole_inputs_of_another_length(words: int) -> None:
    with refused("W11"):
        BY_NAME["INPUT"].decode(Input(np.zeros(words, "<u8")).encode(context_of(SPEC, CLIENT)))


@every_list
@pytest.mark.parametrize(
    ("rule", "name"),
    [
        case("W9", "repeated", "repeated"),
        case("W9", "descending", "descending"),
        case("W9", "zero", "zero"),
        case("W10", "stranger", "stranger"),
        case("W10", "greatest id", "greatest"),
    ],
)
def test_ids(sample: Sample, rule: str, name: str) -> None:
    assert sample.ids_at is not None
    first, second = sample.message[sample.ids_at :][:4], sample.message[sample.ids_at + 4 :][:4]
    count = int.from_bytes(sample.message[48:56], "big")
    last = sample.ids_at + 4 * (count - 1)
    bad = {
        "repeated": patched(sample.message, sample.ids_at + 4, first),
        "descending": patched(sample.message, sample.ids_at, second + first),
        "zero": patched(sample.message, sample.ids_at, bytes(4)),
        "stranger": patched(sample.message, last, struct.pack(">I", 9)),
        "greatest": patched(sample.message, last, b"\xff" * 4),
    }
    with refused(rule):
        sample.decode(bad[name])


@pytest.mark.rule("W10")
@pytest.mark.parametrize("name", ["SHARES", "DELIVERY", "NAMED_DELIVERY"])
def test_w10_the_client_itself_among_the_others(name: str) -> None:
    sample = BY_NAME[name]
    assert sample.ids_at is not None
    at = sample.ids_at + (4 if name == "SHARES" else 0)
    own = patched(sample.message, at, struct.pack(">I", CLIENT))
    with refused("W10"):
        sample.decode(own)


@pytest.mark.rule("W13")
@pytest.mark.parametrize("bit", [RING_WORDS * RING_BITS % 64, 40, 63])
def test_w13_bits_beyond_the_last_word(bit: int) -> None:
    sample = BY_NAME["INPUT"]
    last = int.from_bytes(sample.message[-8:], "little") | 1 << bit
    assert RING_WORDS * RING_BITS % 64 == 4
    with refused("W13"):
        sample.decode(sample.message[:-8] + last.to_bytes(8, "little"))


@pytest.mark.rule("W14")
@every_set
@pytest.mark.parametrize("bit", [4, 5, 6, 7])
def test_w14_bits_beyond_the_cohort(sample: Sample, bit: int) -> None:
    assert sample.set_at is not None
    members = sample.message[sample.set_at] | 1 << bit
    with refused("W14"):
        sample.decode(patched(sample.message, sample.set_at, bytes([members])))


@pytest.mark.rule("W14")
def test_w14_comes_before_w10_and_w9() -> None:
    for name in ("DELIVERY", "NAMED_DELIVERY"):
        sample = BY_NAME[name]
        assert sample.set_at is not None
        with refused("W14"):
            sample.decode(patched(sample.message, sample.set_at, b"\xff" + bytes(4)))
    context, message = context_of(SPEC), BY_NAME["AGREEMENT"].message
    with refused("W14"):
        Agreement.decode(patched(message, BODY, b"\xf7"), context, COHORT, COHORT[:2])


@pytest.mark.rule("W10")
def test_w10_a_client_in_a_set_that_was_not_agreed() -> None:
    context = context_of(SPEC)
    with refused("W10"):
        Delivery.decode(BY_NAME["DELIVERY"].message, context, COHORT, (2, 3, 5), CLIENT)
    with refused("W10"):
        NamedDelivery.decode(BY_NAME["NAMED_DELIVERY"].message, context, COHORT, (2, 3, 5), CLIENT)
    with refused("W10"):
        Agreement.decode(BY_NAME["AGREEMENT"].message, context, COHORT, (2, 5, 8))
