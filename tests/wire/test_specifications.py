"""Every rule of an OFFER and of the specification in it, and what is not even made."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import pytest

from securefed.crypto.hashing import digest
from securefed.errors import ConfigError
from securefed.wire.adversary import Adversary
from securefed.wire.from_server import Offer
from securefed.wire.header import Header, MessageType, Suite
from securefed.wire.specification import GREATEST_COHORT, RoundSpec
from tests.rounds import MALICIOUS, seed, spec_of
from tests.rules import case, refused
from tests.wire.samples import SPEC, SUITE, patched


def offer_of(body: bytes) -> bytes:
    """An OFFER whose session is the hash of any bytes."""
    return Header(MessageType.OFFER, SUITE, digest(body), SPEC.round, 0, len(body)).pack() + body


GOOD = SPEC.pack()


@pytest.mark.parametrize(
    ("rule", "at", "new"),
    [
        case("W15", "server 0", 36, b"\x00"),
        case("W15", "server 3", 36, b"\x03"),
        case("W15", "no bit of security", 37, b"\x00"),
        case("W15", "129 bits of security", 37, b"\x81"),
        case("W15", "no bit of correctness", 38, b"\x00"),
        case("W15", "65 bits of correctness", 38, b"\x41"),
        case("W15", "the byte behind correctness", 39, b"\x01"),
        case("W15", "half of the cohort corrupt", 40, struct.pack(">HH", 500, 0)),
        case("W15", "half of the cohort lost", 42, struct.pack(">H", 500)),
        case("W15", "shares of 65535", 40, b"\xff" * 4),
        case("W15", "4 of 4 must survive and 1 may be lost", 40, struct.pack(">HH", 499, 250)),
        case("W15", "no values", 108, bytes(8)),
        case("W15", "no scalars", 116, bytes(4)),
        case("W15", "greatest weight 0", 120, bytes(4)),
        case("W15", "0 bits", 124, b"\x00"),
        case("W15", "1 bit", 124, b"\x01"),
        case("W15", "33 bits", 124, b"\x21"),
        case("W15", "255 bits", 124, b"\xff"),
        case("W15", "first zero byte", 125, b"\x01"),
        case("W15", "last zero byte", 131, b"\x01"),
        case("W15", "clip 0", 132, struct.pack(">d", 0.0)),
        case("W15", "clip −0", 132, struct.pack(">d", -0.0)),
        case("W15", "negative clip", 132, struct.pack(">d", -1.0)),
        case("W15", "infinite clip", 132, struct.pack(">d", float("inf"))),
        case("W15", "clip that is no number", 132, struct.pack(">d", float("nan"))),
        case("W15", "clip just below 2^−512", 132, struct.pack(">d", math.nextafter(2.0**-512, 0))),
        case("W15", "clip just above 2^512", 132, struct.pack(">d", math.nextafter(2.0**512, math.inf))),
        case("W15", "another NaN", 132, b"\xff" * 8),
        case("W15", "nobody", 140, bytes(4)),
        case("W15", "2^20 + 1 clients", 140, struct.pack(">I", GREATEST_COHORT + 1)),
        case("W15", "2^32 − 1 clients", 140, b"\xff" * 4),
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
        {"values": 2**64},
        {"scalars": 0},
        {"scalars": 2**32},
        {"adversary": replace(MALICIOUS, corrupt=0.499)},
        {"adversary": Adversary("semi-honest", 0.499, 0.499), "cohort": (2, 3, 5)},
        {"adversary": Adversary("semi-honest", 0.0, 0.0), "cohort": (2,)},
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


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("server", ["honest", "", 0, 3, None]),
        ("corrupt", [-0.001, -1e-10, 0.0005, 0.5, 1, math.nan]),
        ("dropouts", [-0.001, -1e-10, 0.0005, 0.5, 1, math.nan]),
        ("security", [-1, 0, 129, 40.5]),
        ("correctness", [-1, 0, 65, 20.5]),
    ],
)
def test_what_is_wrong_with_an_adversary_is_named(field: str, wrong: list[Any]) -> None:
    for value in wrong:
        with pytest.raises(ConfigError) as caught:
            Adversary(**{field: value})
        assert caught.value.key == f"adversary.{field}"


def test_cohorts_up_to_the_bound_are_read() -> None:
    """GREATEST_COHORT ids are a message of 4 MiB: its bound is a bound and not one less."""
    spec: RoundSpec = spec_of(cohort=tuple(range(1, GREATEST_COHORT + 1)))
    assert Offer.decode(Offer(spec).encode(SUITE), SUITE).spec.cohort == spec.cohort
    with pytest.raises(ConfigError, match="is not in 1 … 1048576"):
        replace(spec, cohort=(*spec.cohort, GREATEST_COHORT + 1))
