"""Every rule of the wire for every type of message that it applies to."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securefed.crypto.hashing import digest
from securefed.errors import ConfigError
from securefed.wire.header import Header, MessageType, Suite
from securefed.wire.messages import Delivery, Input, Offer, Release, Roster, Shares, Survivors
from securefed.wire.specification import GREATEST_COHORT, RoundSpec
from tests.rounds import COHORT, context_of, seed, spec_of
from tests.rules import case, refused
from tests.wire.samples import (
    BY_KIND,
    CLIENT,
    LISTS,
    RING_BITS,
    RING_WORDS,
    SAMPLES,
    SPEC,
    SUITE,
    Sample,
    counted,
    patched,
)

every_type = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind.name)
every_list = pytest.mark.parametrize("sample", LISTS, ids=lambda sample: sample.kind.name)


@every_type
def test_the_sample_is_good(sample: Sample) -> None:
    decoded = sample.decode(sample.message)
    if isinstance(sample.value, np.ndarray):
        assert decoded.tolist() == sample.value.tolist()
    else:
        assert decoded == sample.value


@every_type
@pytest.mark.parametrize(
    ("rule", "at", "new"),
    [
        case("W2", "magic", 0, b"sFED"),
        case("W2", "magic's last byte", 3, b"E"),
        case("W3", "version 0", 4, b"\x00"),
        case("W3", "version 2", 4, b"\x02"),
        case("W4", "type 0", 5, b"\x00"),
        case("W4", "type 9", 5, b"\x09"),
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
    ("rule", "kind", "count"),
    [
        case("W7", f"{kind} {count}", kind, count)
        for kind, bound in (("OFFER", 4 * 2**20 + 140), ("ROSTER", 4), ("DELIVERY", 4), ("SURVIVORS", 4))
        for count in (bound + 1, 2**32 - 1, 2**61, 2**64 - 1)
    ]
    + [
        case("W11", f"{kind} {count}", kind, count)
        for kind, right in (("ADVERTISEMENT", 1), ("SHARES", 3), ("INPUT", 6), ("RELEASE", 4))
        for count in (0, right - 1, right + 1, 2**32 - 1, 2**61, 2**64 - 1)
    ],
)
def test_counts_that_lie(rule: str, kind: str, count: int) -> None:
    with refused(rule):
        BY_KIND[kind].decode(counted(BY_KIND[kind].message, count))


@pytest.mark.parametrize(
    ("rule", "message", "kind"),
    [
        case("W7", "a whole roster longer than the cohort", Roster, "ROSTER"),
        case("W11", "whole shares with one more", Shares, "SHARES"),
        case("W7", "a whole delivery with one more", Delivery, "DELIVERY"),
        case("W7", "whole survivors with one more", Survivors, "SURVIVORS"),
        case("W11", "a whole release with one more", Release, "RELEASE"),
    ],
)
def test_whole_messages_with_a_stranger_more(rule: str, message: type, kind: str) -> None:
    sample = BY_KIND[kind]
    field = {Roster: "keys", Survivors: "survived", Release: "shares"}.get(message, "sealed")
    entries = getattr(sample.value, field)
    longer = replace(sample.value, **{field: entries | dict.fromkeys((9, 10, 11), entries[COHORT[-1]])})
    with refused(rule):
        sample.decode(longer.encode(context_of(SPEC, sample.sender)))


@pytest.mark.rule("W11")
@pytest.mark.parametrize("words", [RING_WORDS - 1, RING_WORDS + 1, 0])
def test_w11_whole_inputs_of_another_length(words: int) -> None:
    with refused("W11"):
        BY_KIND["INPUT"].decode(Input(np.zeros(words, "<u8")).encode(context_of(SPEC, CLIENT)))


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
@pytest.mark.parametrize("kind", ["SHARES", "DELIVERY"])
def test_w10_the_client_itself_among_the_others(kind: str) -> None:
    sample = BY_KIND[kind]
    assert sample.ids_at is not None
    at = sample.ids_at + (4 if kind == "SHARES" else 0)
    own = patched(sample.message, at, struct.pack(">I", CLIENT))
    with refused("W10"):
        sample.decode(own)


@pytest.mark.rule("W13")
@pytest.mark.parametrize("bit", [RING_WORDS * RING_BITS % 64, 40, 63])
def test_w13_bits_beyond_the_last_word(bit: int) -> None:
    sample = BY_KIND["INPUT"]
    last = int.from_bytes(sample.message[-8:], "little") | 1 << bit
    assert RING_WORDS * RING_BITS % 64 == 4
    with refused("W13"):
        sample.decode(sample.message[:-8] + last.to_bytes(8, "little"))


@pytest.mark.rule("W14")
@pytest.mark.parametrize("flag", [2, 3, 127, 128, 255])
@pytest.mark.parametrize("at", [-4, -1])
def test_w14_flags(flag: int, at: int) -> None:
    message = BY_KIND["SURVIVORS"].message
    with refused("W14"):
        BY_KIND["SURVIVORS"].decode(patched(message, len(message) + at, bytes([flag])))


def offer_of(body: bytes) -> bytes:
    """An OFFER whose session is the hash of any bytes."""
    return Header(MessageType.OFFER, SUITE, digest(body), SPEC.round, 0, len(body)).pack() + body


GOOD = SPEC.pack()


@pytest.mark.parametrize(
    ("rule", "at", "new"),
    [
        case("W15", "threshold 0", 36, struct.pack(">I", 0)),
        case("W15", "threshold over the cohort", 36, struct.pack(">I", len(COHORT) + 1)),
        case("W15", "threshold 2^32 − 1", 36, b"\xff" * 4),
        case("W15", "no values", 104, bytes(8)),
        case("W15", "no scalars", 112, bytes(4)),
        case("W15", "greatest weight 0", 116, bytes(4)),
        case("W15", "0 bits", 120, b"\x00"),
        case("W15", "1 bit", 120, b"\x01"),
        case("W15", "33 bits", 120, b"\x21"),
        case("W15", "255 bits", 120, b"\xff"),
        case("W15", "first zero byte", 121, b"\x01"),
        case("W15", "last zero byte", 127, b"\x01"),
        case("W15", "clip 0", 128, struct.pack(">d", 0.0)),
        case("W15", "clip −0", 128, struct.pack(">d", -0.0)),
        case("W15", "negative clip", 128, struct.pack(">d", -1.0)),
        case("W15", "infinite clip", 128, struct.pack(">d", float("inf"))),
        case("W15", "clip that is no number", 128, struct.pack(">d", float("nan"))),
        case("W15", "clip just below 2^−512", 128, struct.pack(">d", math.nextafter(2.0**-512, 0))),
        case("W15", "clip just above 2^512", 128, struct.pack(">d", math.nextafter(2.0**512, math.inf))),
        case("W15", "another NaN", 128, b"\xff" * 8),
        case("W15", "nobody", 136, bytes(4)),
        case("W15", "2^20 + 1 clients", 136, struct.pack(">I", GREATEST_COHORT + 1)),
        case("W15", "2^32 − 1 clients", 136, b"\xff" * 4),
    ],
)
def test_specifications(rule: str, at: int, new: bytes) -> None:
    assert Offer.decode(offer_of(GOOD), SUITE).spec == SPEC
    with refused(rule):
        Offer.decode(offer_of(patched(GOOD, at, new)), SUITE)


@pytest.mark.parametrize(
    ("rule", "header", "body"),
    [
        case("R1", "the digest of other bytes", {"session": seed("x")}, GOOD),
        case("R1", "one other bit below it", {}, patched(GOOD, 0, bytes([GOOD[0] ^ 1]))),
        case("R2", "another round", {"round": SPEC.round + 1}, GOOD),
        case("W12", "a client's", {"sender": 2}, GOOD),
        case("W5", "of another scheme", {"suite": Suite.PLAIN_INTEGERS}, GOOD),
    ],
)
def test_offers(rule: str, header: dict[str, Any], body: bytes) -> None:
    good = Header(MessageType.OFFER, SUITE, SPEC.session, SPEC.round, 0, len(body))
    with refused(rule):
        Offer.decode(replace(good, **header).pack() + body, SUITE)


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": bytes(31)},
        {"model": bytes(33)},
        {"layout": b""},
        {"round": -1},
        {"round": 2**32},
        {"values": 0},
        {"scalars": 0},
        {"scalars": 2**32},
        {"threshold": 0},
        {"threshold": 5},
        {"cohort": ()},
        {"cohort": (2, 2, 3, 5)},
        {"cohort": (3, 2, 5, 8)},
        {"cohort": (0, 2, 3, 5)},
        {"cohort": (2, 3, 5, 2**32)},
        {"bits": 33},
        {"clip": float("nan")},
        {"greatest_weight": 2**32},
    ],
    ids=str,
)
def test_what_could_not_be_sent_is_not_made(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        spec_of(**change)


def test_cohorts_up_to_the_bound_are_read() -> None:
    """GREATEST_COHORT ids are a message of 4 MiB: its bound is a bound and not one less."""
    spec: RoundSpec = spec_of(cohort=tuple(range(1, GREATEST_COHORT + 1)))
    assert Offer.decode(Offer(spec).encode(SUITE), SUITE).spec.cohort == spec.cohort
