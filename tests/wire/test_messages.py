"""Every message comes back from its bytes, the bytes lie where the text says, and large ones are not copied."""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.crypto.hashing import digest
from securefed.crypto.shamir import SHARE_BYTES
from securefed.encoding.lanes import packed_length
from securefed.wire.header import HEADER_BYTES, SERVER, Header, MessageType, Suite
from securefed.wire.messages import (
    SEALED_BYTES,
    Advertisement,
    Delivery,
    Expected,
    Input,
    Keys,
    Offer,
    Release,
    Roster,
    Shares,
    Survivors,
)
from securefed.wire.specification import RoundSpec
from securefed.wire.vector_writer import read_words, write_words
from tests.rounds import COHORT, context_of, spec_of
from tests.rules import refused
from tests.wire.samples import BY_KIND, SAMPLES, Ids, Sample, by_id, counted

Contexts = st.builds(
    Expected,
    st.sampled_from(Suite),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
Digest = st.binary(min_size=32, max_size=32)
KeyPairs = st.builds(Keys, Digest, Digest)


@st.composite
def specifications(draw: st.DrawFn) -> RoundSpec:
    cohort = tuple(draw(Ids.filter(len)))
    return RoundSpec(
        nonce=draw(Digest),
        round=draw(st.integers(0, 2**32 - 1)),
        threshold=draw(st.integers(1, len(cohort))),
        model=draw(Digest),
        layout=draw(Digest),
        values=draw(st.integers(1, 2**63 - 1)),
        scalars=draw(st.integers(1, 2**32 - 1)),
        bits=draw(st.integers(2, 32)),
        clip=draw(st.floats(2.0**-512, 2.0**512)),
        greatest_weight=draw(st.integers(1, 2**32 - 1)),
        cohort=cohort,
    )


@given(specifications(), st.sampled_from(Suite))
def test_an_offer_comes_back(spec: RoundSpec, suite: Suite) -> None:
    message = Offer(spec).encode(suite)
    assert Offer.decode(message, suite) == Offer(spec)
    assert spec.session == digest(message[HEADER_BYTES:])


@given(Contexts, KeyPairs)
def test_an_advertisement_comes_back(context: Expected, keys: Keys) -> None:
    assert Advertisement.decode(Advertisement(keys).encode(context), context) == Advertisement(keys)


@given(Contexts, by_id(64))
def test_a_roster_comes_back(context: Expected, raw: dict[int, bytes]) -> None:
    roster = Roster({client: Keys.parse(keys) for client, keys in raw.items()})
    assert Roster.decode(roster.encode(context), context, raw) == roster
    assert list(Roster.decode(roster.encode(context), context, raw).keys) == list(raw)


@given(Contexts, Digest, by_id(SEALED_BYTES))
def test_shares_come_back(context: Expected, commitment: bytes, sealed: dict[int, bytes]) -> None:
    shares = Shares(commitment, sealed)
    message = shares.encode(context)
    assert Shares.decode(message, context, sealed) == shares
    assert message[:HEADER_BYTES] == Shares.header(context, len(sealed))


@given(Contexts, by_id(SEALED_BYTES), Ids)
def test_a_delivery_comes_back(context: Expected, sealed: dict[int, bytes], more: list[int]) -> None:
    assert Delivery.decode(Delivery(sealed).encode(context), context, {*sealed, *more}, len(sealed)) == Delivery(sealed)


@given(Contexts, Ids, st.randoms(use_true_random=False))
def test_survivors_come_back(context: Expected, ids: list[int], rng: Any) -> None:
    survivors = Survivors({client: rng.random() < 0.5 for client in ids})
    assert Survivors.decode(survivors.encode(context), context, ids) == survivors


@given(Contexts, by_id(SHARE_BYTES))
def test_a_release_comes_back(context: Expected, shares: dict[int, bytes]) -> None:
    assert Release.decode(Release(shares).encode(context), context, shares) == Release(shares)


@given(Contexts, st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(1, 64), st.integers(0, 3))
def test_ring_words_come_back(context: Expected, values: list[int], ring_bits: int, cuts: int) -> None:
    words = np.array([value % 2**ring_bits for value in values], "<u8")
    words = np.concatenate([np.tile(words[:1], 64 * cuts), words]) if len(words) else words
    pieces = [words[at : at + 64] for at in range(0, len(words), 64)]
    message = write_words(context, iter(pieces), len(words), ring_bits)
    assert read_words(message, context, len(words), ring_bits).tolist() == words.tolist()
    packed = Input.decode(message, context, packed_length(len(words), ring_bits))
    assert packed.encode(context) == message


def test_ids_travel_ascending_whatever_their_order_was() -> None:
    context = context_of(spec_of())
    survived = {9: True, 1: False, 4: True}
    message = Survivors(survived).encode(context)
    assert struct.unpack_from(">3I", message, HEADER_BYTES) == (1, 4, 9)
    assert message[-3:] == b"\x00\x01\x01"
    assert Survivors.decode(message, context, survived) == Survivors(survived)


def test_the_headers_fields_lie_where_the_text_says() -> None:
    raw = Header(MessageType.SHARES, 0xFF, b"s" * 32, 0x01020304, 0x05060708, 0x090A0B0C0D0E0F10).pack()
    assert raw.hex() == (
        "53464544" "01" "04" "00ff" + b"s".hex() * 32 + "01020304" "05060708" "090a0b0c0d0e0f10" + "00" * 8
    )  # fmt: skip
    assert Header.parse(raw).type is MessageType.SHARES
    assert SERVER == 0


def test_the_specifications_fields_lie_where_the_text_says() -> None:
    spec = spec_of()
    raw = spec.pack()
    assert len(raw) == 140 + 4 * len(spec.cohort)
    assert raw[:32] == spec.nonce
    assert struct.unpack_from(">II", raw, 32) == (spec.round, spec.threshold)
    assert (raw[40:72], raw[72:104]) == (spec.model, spec.layout)
    assert struct.unpack_from(">QIIB", raw, 104) == (spec.values, spec.scalars, spec.greatest_weight, spec.bits)
    assert raw[121:128] == bytes(7)
    assert struct.unpack_from(">dI", raw, 128) == (spec.clip, len(spec.cohort))
    assert struct.unpack_from(f">{len(spec.cohort)}I", raw, 140) == spec.cohort


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": bytes(32)},
        {"round": 8},
        {"threshold": 4},
        {"model": bytes(32)},
        {"layout": bytes(32)},
        {"values": 11},
        {"scalars": 3},
        {"bits": 17},
        {"clip": 0.25},
        {"greatest_weight": 99},
        {"cohort": (2, 3, 5, 9)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_changes_the_session(change: dict[str, Any]) -> None:
    assert replace(spec_of(), **change).session != spec_of().session


def test_the_words_of_an_input_are_a_view_of_the_message() -> None:
    context, raw = context_of(spec_of(), 3), np.arange(50_000, dtype="<u8")
    message = Input(raw).encode(context)
    words = Input.decode(message, context, len(raw)).words
    assert np.shares_memory(words, np.frombuffer(message, np.uint8))
    assert not words.flags.writeable
    assert words.dtype == np.dtype("<u8")
    view = memoryview(bytearray(message))
    assert np.shares_memory(Input.decode(view, context, len(raw)).words, np.frombuffer(view, np.uint8))
    sixty_four = read_words(message, context, len(raw), 64)
    assert np.shares_memory(sixty_four, np.frombuffer(message, np.uint8))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind.name)
@pytest.mark.parametrize("count", [2**20, 2**32 - 1, 2**40, 2**64 - 1])
def test_a_lying_count_costs_no_memory(sample: Sample, count: int) -> None:
    message = counted(sample.message, count)
    tracemalloc.start()
    try:
        with refused("W11" if sample.exact else "W8" if sample is BY_KIND["OFFER"] and count == 2**20 else "W7"):
            sample.decode(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_ids_are_not_looked_up_in_a_sequence() -> None:
    """A cohort is a tuple of up to 2^20 ids: a search in it for each id would be an attack on the client."""

    class Slow(tuple[int, ...]):
        __slots__ = ()

        def __contains__(self, _: object) -> bool:
            raise AssertionError("searched one by one")

    for name in ("ROSTER", "SURVIVORS"):
        sample = BY_KIND[name]
        assert type(sample.value).decode(sample.message, context_of(spec_of()), Slow(COHORT)) == sample.value
