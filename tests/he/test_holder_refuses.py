"""What the key holder does with a sum that is none: it names the rule, and nothing else of it."""

from __future__ import annotations

import pytest

from securefed.crypto.hashing import digest_in_domain
from securefed.he import HomomorphicScheme, bfv_2048
from securefed.he.client import HomomorphicClient
from securefed.he.stages import Stage
from securefed.wire.header import HEADER_BYTES, SERVER
from tests.he.lies import Lie, elsewhere, no_update, refuses
from tests.he.rounds import (
    HOLDER,
    Round,
    approximate_schemes,
)
from tests.rounds import COHORT, seed
from tests.rules import case, refused
from tests.secagg.lies import flip


def beyond_the_last_coefficient(round_: Round) -> bytes:
    """A bit behind all of the first polynomials."""
    raw = round_.sum_of(*COHORT)
    return round_.total(payload=flip(raw, round_.server._cipher.packing.sent_bytes - 1, 7))


SUMS = [
    case("H1", "a flipped byte", lambda r: flip(r.total(), 400)),
    case("H1", "a digest of something else", lambda r: flip(r.total(), HEADER_BYTES + 33)),
    case("H1", "another set with the digest of this one", lambda r: flip(r.total(), HEADER_BYTES + 64)),
    case("H2", "under another key", lambda r: r.total(key_id=seed("another"))),
    case("H4", "fewer than L", lambda r: r.total(survivors=(2, 3), payload=r.sum_of(2, 3))),
    case("H4", "one client", lambda r: r.total(survivors=(3,), payload=r.sum_of(3))),
    case("H4", "nobody", lambda r: r.total(survivors=())),
    case("H5", "one client is missing", lambda r: r.total(payload=r.sum_of(2, 3, 5))),
    case("H5", "one client is not named", lambda r: r.total(survivors=(2, 3, 5))),
    case("H5", "one client instead of another", lambda r: r.total(survivors=(2, 3, 8), payload=r.sum_of(2, 3, 5))),
    case("H5", "nothing at all", lambda r: r.total(payload=bytes(len(r.sum_of(2))))),
    case("W10", "a client that was given no key", lambda r: flip_bit_of_stranger(r)),
    case("W14", "a client beyond the cohort", lambda r: redigested(r, 0x1F)),
    case(
        "W13",
        "bits beyond the last coefficient",
        beyond_the_last_coefficient,
    ),
    case("W11", "a byte more", lambda r: r.total(payload=r.sum_of(*COHORT) + b"\0")),
    case("R1", "of another session", elsewhere(Stage.OPEN, HOLDER, nonce=seed("another"))),
    case("R2", "of another round", lambda r: flip(r.total(), 43)),
    case("R4", "its own sealed key again", lambda r: r.requests[Stage.INPUT][HOLDER]),
]


def redigested(round_: Round, bits: int) -> bytes:
    """The sum with another byte of survivors, and the digest that fits."""
    message = round_.total()
    header, key_id, payload = message[:HEADER_BYTES], message[HEADER_BYTES : HEADER_BYTES + 32], message[129:]
    digest = digest_in_domain("envelope", header, key_id, bytes([bits]), payload)
    return header + key_id + digest + bytes([bits]) + payload


def flip_bit_of_stranger(round_: Round) -> bytes:
    """Client 8 never advertised in this round, so it was sealed no key."""
    assert 8 not in round_.server._entries
    return redigested(round_, 0b1011)


@pytest.mark.parametrize(("rule", "lie"), SUMS)
def test_sums(rule: str, lie: Lie) -> None:
    drops = {8: Stage.ADVERTISE} if rule == "W10" else {}
    refuses(Round().until(Stage.OPEN, drops), HOLDER, rule, lie)


@pytest.mark.parametrize(("rule", "lie"), [one for one in SUMS if one.values[0] in ("H1", "H2", "H4", "H5")])
def test_sums_of_the_smaller_ring(rule: str, lie: Lie) -> None:
    refuses(Round(scheme=bfv_2048()).until(Stage.OPEN), HOLDER, rule, lie)


@pytest.mark.parametrize(("rule", "lie"), [one for one in SUMS if one.values[0] in ("H1", "H2", "H4", "H5")][:-1])
@approximate_schemes
def test_sums_of_approximate_ciphertexts(scheme: HomomorphicScheme, rule: str, lie: Lie) -> None:
    """A sum of other clients than it says may have no integers within the bounds of so many: that is H5 too."""
    refuses(Round(scheme=scheme).until(Stage.OPEN), HOLDER, rule, lie)


@approximate_schemes
@pytest.mark.rule("H3")
def test_a_value_that_is_not_below_its_prime(scheme: HomomorphicScheme) -> None:
    """The first 27 bits or more are ones."""
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    for at in (0, len(round_.sum_of(2)) // 2):
        again = Round(scheme=scheme).until(Stage.OPEN)
        raw = again.sum_of(*COHORT)
        refuses(again, HOLDER, "H3", lambda r, raw=raw, at=at: r.total(payload=raw[:at] + b"\xff" * 8 + raw[at + 8 :]))


@pytest.mark.rule("H5")
@approximate_schemes
def test_an_opened_value_that_is_no_integer(scheme: HomomorphicScheme) -> None:
    """A value of c0 is another one: every slot is off by some fraction."""
    changed = Round(scheme=scheme).until(Stage.OPEN)
    raw = changed.sum_of(*COHORT)
    for at in (1, len(raw) // 2 - 100):
        round_ = Round(scheme=scheme).until(Stage.OPEN)
        refuses(round_, HOLDER, "H5", lambda r, at=at: r.total(payload=flip(r.sum_of(*COHORT), at, 3)))


@pytest.mark.rule("R10")
def test_a_second_opening_in_one_process() -> None:
    """The state is left before the sum is looked at: R4; where only the record stands against it, R10."""
    round_ = Round().until(Stage.OPEN)
    snapshot = round_.clients[HOLDER].snapshot()
    round_.ask(HOLDER)
    with refused("R4", peer=SERVER):
        round_.ask(HOLDER)
    again = HomomorphicClient.resume(round_.scheme.parameters, round_.identities[HOLDER], snapshot)
    with refused("R10"):
        again.reply(round_.requests[Stage.OPEN][HOLDER], no_update)


@pytest.mark.rule("R10")
def test_a_failed_opening_is_one() -> None:
    """The record holds `open` before the sum is looked at: a wrong sum is the only one that is looked at."""
    round_ = Round().until(Stage.OPEN)
    snapshot = round_.clients[HOLDER].snapshot()
    with refused("H5", peer=SERVER):
        round_.ask(HOLDER, round_.total(payload=round_.sum_of(2, 3, 5)))
    again = HomomorphicClient.resume(round_.scheme.parameters, round_.identities[HOLDER], snapshot)
    with refused("R10"):
        again.reply(round_.requests[Stage.OPEN][HOLDER], no_update)
