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
from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.encoding.lanes import packed_length
from securefed.wire.adversary import Adversary
from securefed.wire.frame import Expected, pack_set, read_set
from securefed.wire.from_client import SEALED_BYTES, Advertisement, Consent, Entry, Input, Release, Shares
from securefed.wire.from_server import Agreement, Delivered, Delivery, NamedDelivery, Offer, Roster, Survivors
from securefed.wire.header import HEADER_BYTES, SERVER, Header, MessageType, Suite
from securefed.wire.specification import RoundSpec
from securefed.wire.vector_writer import read_words, write_words
from tests.rounds import COHORT, MALICIOUS, SEMI_HONEST, context_of, spec_of
from tests.rules import refused
from tests.wire.samples import BY_NAME, SAMPLES, Ids, Sample, by_id, counted, same

Contexts = st.builds(
    Expected,
    st.sampled_from(Suite),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
Digest = st.binary(min_size=32, max_size=32)
Signature = st.binary(min_size=SIGNATURE_BYTES, max_size=SIGNATURE_BYTES)
Cohorts = Ids.filter(len).map(tuple)
Forms = st.booleans()


@st.composite
def adversaries(draw: st.DrawFn, n: int) -> Adversary:
    """Any, and where so many clients cannot be protected against it, one without losses and corruption."""
    server = draw(st.sampled_from(["malicious", "semi-honest"]))
    bits = draw(st.integers(1, 128)), draw(st.integers(1, 64))
    shares = [draw(st.integers(0, 499)) / 1000 for _ in range(2)]
    adversary = Adversary(server, *shares, *bits)
    return Adversary(server, 0.0, 0.0, *bits) if adversary.infeasible(n) else adversary


@st.composite
def specifications(draw: st.DrawFn) -> RoundSpec:
    cohort = tuple(draw(Ids.filter(lambda ids: len(ids) > 1)))
    return RoundSpec(
        nonce=draw(Digest),
        round=draw(st.integers(0, 2**32 - 1)),
        adversary=draw(adversaries(len(cohort))),
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


def entry(raw: bytes, signed: bool) -> Entry:
    return Entry.parse(raw if signed else raw[:96])


@given(Contexts, st.binary(min_size=160, max_size=160), Forms)
def test_an_advertisement_comes_back(context: Expected, raw: bytes, signed: bool) -> None:
    advertisement = Advertisement(entry(raw, signed))
    assert Advertisement.decode(advertisement.encode(context), context, signed=signed) == advertisement
    assert len(advertisement.encode(context)) == HEADER_BYTES + (160 if signed else 96)


@given(Contexts, by_id(160), Forms)
def test_a_roster_comes_back(context: Expected, raw: dict[int, bytes], signed: bool) -> None:
    entries = {client: entry(one, signed) for client, one in raw.items()}
    decoded = Roster.decode(Roster.of(entries).encode(context), context, raw, signed=signed)
    assert dict(decoded) == entries
    assert list(decoded) == list(raw)
    assert decoded.encode(context) == Roster.of(entries).encode(context)


@given(Contexts, Digest, Digest, by_id(SEALED_BYTES))
def test_shares_come_back(context: Expected, secret: bytes, commitment: bytes, sealed: dict[int, bytes]) -> None:
    shares = Shares(secret, commitment, sealed)
    message = shares.encode(context)
    assert Shares.decode(message, context, sealed) == shares
    assert Shares.peek_pick_secret(message) == secret
    assert message[:HEADER_BYTES] == Shares.header(context, len(sealed))


@given(Contexts, Digest, by_id(SEALED_BYTES), Cohorts, st.randoms(use_true_random=False))
def test_a_delivery_comes_back(
    context: Expected, secret: bytes, sealed: dict[int, bytes], more: tuple[int, ...], rng: Any
) -> None:
    cohort = tuple(sorted({*sealed, *more}))
    receiver = rng.choice(cohort)
    senders = {i: Delivered(secret, one) for i, one in sealed.items() if i != receiver}
    delivery = Delivery(tuple(i for i in cohort if rng.random() < 0.5), senders)
    assert Delivery.decode(delivery.encode(context, cohort), context, cohort, cohort, receiver) == delivery


@given(Contexts, Digest, Digest, by_id(SEALED_BYTES))
def test_a_named_delivery_comes_back(context: Expected, model: bytes, secret: bytes, sealed: dict[int, bytes]) -> None:
    """Whatever it names: 32 bytes more than a delivery, before its body."""
    cohort = (*sealed, 2**32)
    delivery = Delivery(tuple(sealed), {i: Delivered(secret, one) for i, one in sealed.items()})
    named = NamedDelivery(model, delivery)
    message = named.encode(context, cohort)
    assert NamedDelivery.decode(message, context, cohort, cohort, 2**32) == named
    assert message[HEADER_BYTES:] == model + delivery.encode(context, cohort)[HEADER_BYTES:]


@given(Contexts, Cohorts, st.randoms(use_true_random=False))
def test_survivors_come_back(context: Expected, cohort: tuple[int, ...], rng: Any) -> None:
    survivors = Survivors(tuple(client for client in cohort if rng.random() < 0.5))
    assert Survivors.decode(survivors.encode(context, cohort), context, cohort) == survivors


@given(Contexts, Signature)
def test_a_consent_comes_back(context: Expected, signature: bytes) -> None:
    assert Consent.decode(Consent(signature).encode(context), context) == Consent(signature)


@given(Contexts, by_id(SIGNATURE_BYTES), by_id(SIGNATURE_BYTES), Ids)
def test_an_agreement_comes_back(
    context: Expected, signatures: dict[int, bytes], attestations: dict[int, bytes], more: list[int]
) -> None:
    cohort = tuple(sorted({*signatures, *more}))
    agreement = Agreement(signatures, attestations)
    message = agreement.encode(context, cohort)
    assert Agreement.decode(message, context, cohort, cohort, tuple(attestations)) == agreement


@given(Contexts, by_id(SHARE_BYTES), Ids)
def test_a_release_comes_back(context: Expected, shares: dict[int, bytes], more: list[int]) -> None:
    assert Release.decode(Release(shares).encode(context), context, {*shares, *more}) == Release(shares)


@given(Contexts, st.lists(st.integers(0, 2**64 - 1), max_size=20), Signature)
def test_an_attested_input_comes_back(context: Expected, words: list[int], attestation: bytes) -> None:
    sent = Input(np.array(words, "<u8"), attestation)
    back = Input.decode(sent.encode(context), context, len(words), attested=True)
    assert (back.words.tolist(), back.attestation) == (words, attestation)


@given(Cohorts, st.randoms(use_true_random=False))
def test_a_set_has_a_bit_for_each_position_the_lowest_first(cohort: tuple[int, ...], rng: Any) -> None:
    members = tuple(client for client in cohort if rng.random() < 0.5)
    packed = pack_set(members, cohort)
    assert len(packed) == -(-len(cohort) // 8)
    for position, client in enumerate(cohort):
        assert bool(packed[position // 8] >> position % 8 & 1) == (client in members)
    assert read_set(memoryview(packed), cohort) == members


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
    shares = {9: bytes(SHARE_BYTES), 1: b"\x01" * SHARE_BYTES, 4: b"\x02" * SHARE_BYTES}
    message = Release(shares).encode(context)
    assert struct.unpack_from(">3I", message, HEADER_BYTES) == (1, 4, 9)
    assert message[-SHARE_BYTES:] == bytes(SHARE_BYTES)
    assert Release.decode(message, context, shares) == Release(shares)


def test_signatures_and_attestations_travel_in_the_order_of_the_ids() -> None:
    context, cohort = context_of(spec_of()), (1, 4, 9)
    one, two, three = (bytes([n]) * SIGNATURE_BYTES for n in (1, 2, 3))
    message = Agreement({9: three, 1: one}, {4: two, 1: three}).encode(context, cohort)
    assert message[HEADER_BYTES:] == b"\x05" + one + three + three + two


def test_the_headers_fields_lie_where_the_text_says() -> None:
    raw = Header(MessageType.SHARES, 0xFF, b"s" * 32, 0x01020304, 0x05060708, 0x090A0B0C0D0E0F10).pack()
    assert raw.hex() == (
        "53464544" "02" "04" "00ff" + b"s".hex() * 32 + "01020304" "05060708" "090a0b0c0d0e0f10" + "00" * 8
    )  # fmt: skip
    assert Header.parse(raw).type is MessageType.SHARES
    assert SERVER == 0


def test_the_specifications_fields_lie_where_the_text_says() -> None:
    spec = spec_of()
    raw = spec.pack()
    assert len(raw) == 144 + 4 * len(spec.cohort)
    assert raw[:32] == spec.nonce
    assert struct.unpack_from(">I", raw, 32) == (spec.round,)
    assert struct.unpack_from(">BBBBHH", raw, 36) == (2, 40, 20, 0, 250, 250)
    assert (raw[44:76], raw[76:108]) == (spec.model, spec.layout)
    assert struct.unpack_from(">QIIB", raw, 108) == (spec.values, spec.scalars, spec.greatest_weight, spec.bits)
    assert raw[125:132] == bytes(7)
    assert struct.unpack_from(">dI", raw, 132) == (spec.clip, len(spec.cohort))
    assert struct.unpack_from(f">{len(spec.cohort)}I", raw, 144) == spec.cohort


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": bytes(32)},
        {"round": 8},
        {"adversary": SEMI_HONEST},
        {"adversary": replace(MALICIOUS, corrupt=0.249)},
        {"adversary": replace(MALICIOUS, dropouts=0.249)},
        {"adversary": replace(MALICIOUS, security=41)},
        {"adversary": replace(MALICIOUS, correctness=21)},
        {"model": bytes(32)},
        {"layout": bytes(32)},
        {"values": 11},
        {"scalars": 3},
        {"bits": 17},
        {"clip": 0.25},
        {"greatest_weight": 99},
        {"cohort": (2, 3, 5, 9)},
    ],
    ids=str,
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


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_every_sample_comes_back(sample: Sample) -> None:
    assert same(sample.decode(sample.message), sample.value)
    assert sample.encode(sample.value) == sample.message


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
@pytest.mark.parametrize("count", [2**20, 2**32 - 1, 2**40, 2**64 - 1])
def test_a_lying_count_costs_no_memory(sample: Sample, count: int) -> None:
    message = counted(sample.message, count)
    tracemalloc.start()
    try:
        with refused("W11" if sample.exact else "W8" if sample is BY_NAME["OFFER"] and count == 2**20 else "W7"):
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

    context, slow = context_of(spec_of()), Slow(COHORT)
    roster, release = BY_NAME["ROSTER"], BY_NAME["RELEASE"]
    assert same(Roster.decode(roster.message, context, slow, signed=True), roster.value)
    assert Release.decode(release.message, context_of(spec_of(), release.sender), slow) == release.value
    delivery = BY_NAME["DELIVERY"]
    assert Delivery.decode(delivery.message, context, slow, slow, 3) == delivery.value
