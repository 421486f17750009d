"""One good message of each type, and of those with a second form, how it is read, and strategies for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from securefed.crypto.shamir import SHARE_BYTES
from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.wire.from_client import SEALED_BYTES, Advertisement, Consent, Entry, Input, Release, Shares
from securefed.wire.from_server import Agreement, Delivered, Delivery, NamedDelivery, Offer, Roster, Survivors
from securefed.wire.header import HEADER_BYTES, SERVER, MessageType, Suite
from securefed.wire.vector_writer import read_words, write_words
from tests.rounds import COHORT, context_of, seed, spec_of

SPEC = spec_of()
CLIENT = 3
OTHERS = tuple(client for client in COHORT if client != CLIENT)
RING_WORDS, RING_BITS = 6, 54
BODY = HEADER_BYTES
SUITE = Suite.PAIRWISE_MASKS
SET_BYTES = 1
"""Of a cohort of four: its upper four bits are beyond."""


def some_bytes(name: str, size: int) -> bytes:
    return (seed(f"bytes {name}") * 6)[:size]


def entry_of(client: int, signed: bool = True) -> Entry:
    channel, mask, promise = (seed(f"{name} {client}") for name in ("channel", "mask", "promise"))
    return Entry(channel, mask, promise, some_bytes(f"signature {client}", SIGNATURE_BYTES) if signed else b"")


def signatures_of(clients: tuple[int, ...], name: str = "consent") -> dict[int, bytes]:
    return {client: some_bytes(f"{name} {client}", SIGNATURE_BYTES) for client in clients}


@dataclass(frozen=True)
class Sample:
    """A good message, its decoder with all that was agreed, how it is written, and where list and set begin."""

    kind: MessageType
    value: Any
    message: bytes
    decode: Callable[[bytes], Any]
    exact: bool
    encode: Callable[[Any], bytes]
    ids_at: int | None = None
    set_at: int | None = None
    sender: int = SERVER
    form: str = ""

    @property
    def name(self) -> str:
        return f"{self.kind.name} {self.form}".strip()


def _samples() -> list[Sample]:
    server, client = context_of(SPEC), context_of(SPEC, CLIENT)
    kind = MessageType

    def sample(type_: MessageType, value: Any, decode: Callable[[bytes], Any], exact: bool, **rest: Any) -> Sample:
        context = client if rest.get("sender") == CLIENT else server
        write = rest.pop("encode", lambda one: one.encode(context))
        return Sample(type_, value, write(value), decode, exact, write, **rest)

    def of_set(one: Any) -> bytes:
        raw: bytes = one.encode(server, COHORT)
        return raw

    def masked(words: np.ndarray) -> bytes:
        return write_words(client, [words], RING_WORDS, RING_BITS)

    words = np.arange(1, RING_WORDS + 1, dtype="<u8") << np.uint64(RING_BITS - 4)
    sealed = {i: some_bytes(f"sealed {i}", SEALED_BYTES) for i in OTHERS}
    delivered = {i: Delivered(seed(f"pick secret {i}"), sealed[i]) for i in OTHERS[1:]}
    attested = Input(np.arange(9, dtype="<u8"), some_bytes("attestation", SIGNATURE_BYTES))
    signed, attesting = signatures_of(COHORT[:3]), signatures_of((2, 8), "attestation")
    release = {i: some_bytes(f"share {i}", SHARE_BYTES) for i in COHORT}
    mine: dict[str, Any] = {"sender": CLIENT}
    return [
        sample(kind.OFFER, Offer(SPEC), lambda m: Offer.decode(m, SUITE), False, encode=lambda one: one.encode(SUITE)),
        *(
            sample(
                kind.ADVERTISEMENT,
                Advertisement(entry_of(CLIENT, signed)),
                lambda m, signed=signed: Advertisement.decode(m, client, signed=signed),
                True,
                form="" if signed else "unsigned",
                **mine,
            )
            for signed in (True, False)
        ),
        *(
            sample(
                kind.ROSTER,
                Roster.of({i: entry_of(i, signed) for i in COHORT}),
                lambda m, signed=signed: Roster.decode(m, server, COHORT, signed=signed),
                False,
                ids_at=BODY,
                form="" if signed else "unsigned",
            )
            for signed in (True, False)
        ),
        sample(
            kind.SHARES,
            Shares(seed("pick secret"), seed("commitment"), sealed),
            lambda m: Shares.decode(m, client, OTHERS),
            True,
            ids_at=BODY + 64,
            **mine,
        ),
        sample(
            kind.DELIVERY,
            Delivery(COHORT, delivered),
            lambda m: Delivery.decode(m, server, COHORT, COHORT, CLIENT),
            False,
            encode=of_set,
            ids_at=BODY + SET_BYTES,
            set_at=BODY,
        ),
        sample(
            kind.NAMED_DELIVERY,
            NamedDelivery(seed("named model"), Delivery(COHORT, delivered)),
            lambda m: NamedDelivery.decode(m, server, COHORT, COHORT, CLIENT),
            False,
            encode=of_set,
            ids_at=BODY + 32 + SET_BYTES,
            set_at=BODY + 32,
        ),
        sample(kind.INPUT, words, lambda m: read_words(m, client, RING_WORDS, RING_BITS), True, encode=masked, **mine),
        sample(
            kind.INPUT, attested, lambda m: Input.decode(m, client, 9, attested=True), True, form="attested", **mine
        ),
        sample(
            kind.SURVIVORS,
            Survivors((2, 3, 8)),
            lambda m: Survivors.decode(m, server, COHORT),
            True,
            encode=of_set,
            set_at=BODY,
        ),
        sample(kind.RELEASE, Release(release), lambda m: Release.decode(m, client, COHORT), False, ids_at=BODY, **mine),
        sample(
            kind.CONSENT,
            Consent(some_bytes("consent", SIGNATURE_BYTES)),
            lambda m: Consent.decode(m, client),
            True,
            **mine,
        ),
        *(
            sample(
                kind.AGREEMENT,
                Agreement(signed, dict(attestations)),
                lambda m, who=tuple(attestations): Agreement.decode(m, server, COHORT, COHORT, who),
                False,
                encode=of_set,
                set_at=BODY,
                form="attested" if attestations else "",
            )
            for attestations in ({}, attesting)
        ),
    ]


SAMPLES = _samples()
BY_NAME = {sample.name: sample for sample in SAMPLES}
LISTS = [sample for sample in SAMPLES if sample.ids_at is not None]
SETS = [sample for sample in SAMPLES if sample.set_at is not None]


def same(one: Any, other: Any) -> bool:
    """Whether two decoded messages are the same, whatever holds their numbers."""
    match one, other:
        case np.ndarray(), np.ndarray():
            return one.tolist() == other.tolist()
        case Input(words, attestation), Input():
            return (words.tolist(), attestation) == (other.words.tolist(), other.attestation)
        case Roster(), Roster():
            return dict(one) == dict(other) and list(one) == list(other)
    return bool(one == other)


def patched(message: bytes, at: int, new: bytes) -> bytes:
    """The message with other bytes at one place."""
    return message[:at] + new + message[at + len(new) :]


def counted(message: bytes, count: int) -> bytes:
    """The message with another count."""
    return patched(message, 48, count.to_bytes(8, "big"))


Ids = st.lists(st.integers(1, 2**32 - 1), max_size=12, unique=True).map(sorted)
"""Ids as they travel."""


def by_id(size: int, least: int = 0) -> st.SearchStrategy[dict[int, bytes]]:
    """Items of one size by id."""
    item = st.binary(min_size=size, max_size=size)
    entries = st.dictionaries(st.integers(1, 2**32 - 1), item, min_size=least, max_size=12)
    return entries.map(lambda items: dict(sorted(items.items())))
