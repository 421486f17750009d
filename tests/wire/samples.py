"""One good message of each type, how it is read, and strategies for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from securefed.crypto.shamir import SHARE_BYTES
from securefed.wire.header import HEADER_BYTES, SERVER, MessageType, Suite
from securefed.wire.messages import (
    SEALED_BYTES,
    Advertisement,
    Delivery,
    Keys,
    Offer,
    Release,
    Roster,
    Shares,
    Survivors,
)
from securefed.wire.vector_writer import read_words, write_words
from tests.rounds import COHORT, context_of, seed, spec_of

SPEC = spec_of()
CLIENT = 3
OTHERS = tuple(client for client in COHORT if client != CLIENT)
RING_WORDS, RING_BITS = 6, 54
BODY = HEADER_BYTES
SUITE = Suite.PAIRWISE_MASKS


def keys_of(client: int) -> Keys:
    return Keys(seed(f"channel {client}"), seed(f"mask {client}"))


def some_bytes(client: int, size: int) -> bytes:
    return (seed(f"bytes {client}") * 3)[:size]


@dataclass(frozen=True)
class Sample:
    """A good message, its decoder with all that was agreed, and where its list of ids begins."""

    kind: MessageType
    value: Any
    message: bytes
    decode: Callable[[bytes], Any]
    exact: bool
    ids_at: int | None = None
    sender: int = SERVER


def _samples() -> list[Sample]:
    server, client = context_of(SPEC), context_of(SPEC, CLIENT)
    kind = MessageType
    offer, advertisement = Offer(SPEC), Advertisement(keys_of(CLIENT))
    roster = Roster({i: keys_of(i) for i in COHORT})
    shares = Shares(seed("commitment"), {i: some_bytes(i, SEALED_BYTES) for i in OTHERS})
    delivery = Delivery({i: some_bytes(i, SEALED_BYTES) for i in OTHERS[1:]})
    words = np.arange(1, RING_WORDS + 1, dtype="<u8") << np.uint64(RING_BITS - 4)
    survivors = Survivors({i: i != 5 for i in COHORT})
    release = Release({i: some_bytes(i, SHARE_BYTES) for i in COHORT})
    return [
        Sample(kind.OFFER, offer, offer.encode(SUITE), lambda m: Offer.decode(m, SUITE), False),
        Sample(
            kind.ADVERTISEMENT,
            advertisement,
            advertisement.encode(client),
            lambda m: Advertisement.decode(m, client),
            True,
            sender=CLIENT,
        ),
        Sample(kind.ROSTER, roster, roster.encode(server), lambda m: Roster.decode(m, server, COHORT), False, BODY),
        Sample(
            kind.SHARES,
            shares,
            shares.encode(client),
            lambda m: Shares.decode(m, client, OTHERS),
            True,
            BODY + 32,
            sender=CLIENT,
        ),
        Sample(
            kind.DELIVERY,
            delivery,
            delivery.encode(server),
            lambda m: Delivery.decode(m, server, OTHERS, len(COHORT)),
            False,
            BODY,
        ),
        Sample(
            kind.INPUT,
            words,
            write_words(client, [words], RING_WORDS, RING_BITS),
            lambda m: read_words(m, client, RING_WORDS, RING_BITS),
            True,
            sender=CLIENT,
        ),
        Sample(
            kind.SURVIVORS,
            survivors,
            survivors.encode(server),
            lambda m: Survivors.decode(m, server, COHORT),
            False,
            BODY,
        ),
        Sample(
            kind.RELEASE,
            release,
            release.encode(client),
            lambda m: Release.decode(m, client, COHORT),
            True,
            BODY,
            sender=CLIENT,
        ),
    ]


SAMPLES = _samples()
BY_KIND = {sample.kind.name: sample for sample in SAMPLES}
LISTS = [sample for sample in SAMPLES if sample.ids_at is not None]


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
