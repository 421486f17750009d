"""What a client uploads looks like noise, and the same statistic says so where a mask is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from securefed.crypto.hashing import digest
from securefed.crypto.keystream import StreamSum, Words
from securefed.crypto.x25519 import PrivateKey
from securefed.encoding.layout import Layout, TensorSpec
from securefed.secagg.keys import ClientSecrets, PairContext, self_mask_key
from securefed.secagg.stages import Stage
from securefed.wire.header import HEADER_BYTES
from tests.rounds import COHORT, Round, encoded, seed, spec_of
from tests.secagg import lies

LAYOUT = Layout((TensorSpec("delta", (30_000,)),))
SPEC = spec_of(LAYOUT)

DEVIATIONS = 6.0
"""Acceptance: the statistic has 255 degrees of freedom, so mean 255 and variance 510; beyond 6 σ is under 1 in 10^7."""


def looks_uniform(data: bytes) -> bool:
    """Chi-square over the values of bytes."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    expected = len(data) / 256
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return abs(statistic - 255) < DEVIATIONS * math.sqrt(510)


def uploads(round_: Round) -> dict[int, bytes]:
    """The bodies of the INPUT messages, without the last words: those hold a weight, and R does not divide 64."""
    round_.until(Stage.INPUT).answer()
    return {client: message[HEADER_BYTES:-16] for client, message in round_.replies[Stage.INPUT].items()}


def test_the_statistic_accepts_noise_and_rejects_what_is_not() -> None:
    rng = np.random.default_rng(0)
    assert all(looks_uniform(rng.bytes(80_000)) for _ in range(100))
    assert not looks_uniform(bytes(80_000))
    almost = bytearray(rng.bytes(80_000))
    almost[::20] = bytes(len(almost[::20]))
    assert not looks_uniform(bytes(almost))


def test_each_upload_alone_is_uniform() -> None:
    for body in uploads(Round(SPEC, LAYOUT)).values():
        assert looks_uniform(body)


def test_without_masks_no_upload_is_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same statistic, the masks left out: it can fail."""
    monkeypatch.setattr(StreamSum, "add_to", lambda self, words: None)
    for body in uploads(Round(SPEC, LAYOUT)).values():
        assert not looks_uniform(body)


def pairwise(round_: Round, client: int) -> list[tuple[bytes, int]]:
    """The streams that take the client's pairwise masks off, from its mask key."""
    pairs = PairContext(SPEC.session, roster_digest(round_))
    mine = ClientSecrets(seed(f"round secret {client}"), SPEC.session).mask
    theirs = {c: ClientSecrets(seed(f"round secret {c}"), SPEC.session).mask.public for c in COHORT}
    return [
        (pairs.mask_key(mine, theirs[other], client, other), -1 if client < other else +1)
        for other in COHORT
        if other != client
    ]


def roster_digest(round_: Round) -> bytes:
    return digest(round_.requests[Stage.SHARE][COHORT[0]])


def test_without_its_pairwise_masks_an_upload_is_still_uniform() -> None:
    """An input that came too late: the server has the client's mask key by then, and the self mask is what is left."""
    round_ = Round(SPEC, LAYOUT)
    uploads(round_)
    for client in COHORT:
        words = lies.words_of(round_, client)
        StreamSum(pairwise(round_, client)).add_to(words)
        words &= SPEC.numbers.lanes.ring_mask
        assert words.tolist() != encoded(SPEC, client, LAYOUT).tolist()
        assert spread(words)


def test_without_its_self_mask_an_upload_is_still_uniform() -> None:
    """A survivor: the server has its self-mask seed, and the pairwise masks are what is left."""
    round_ = Round(SPEC, LAYOUT)
    uploads(round_)
    for client in COHORT:
        words = lies.words_of(round_, client)
        secret = ClientSecrets(seed(f"round secret {client}"), SPEC.session).self_mask_seed
        own = (self_mask_key(secret, SPEC.session, client), -1)
        StreamSum([own]).add_to(words)
        assert spread(words & SPEC.numbers.lanes.ring_mask)
        # Both kinds taken off leave the update itself: nothing else was on it.
        StreamSum(pairwise(round_, client)).add_to(words)
        assert (words & SPEC.numbers.lanes.ring_mask).tolist() == encoded(SPEC, client, LAYOUT).tolist()


def spread(words: Words) -> bool:
    """The low 48 of a ring word's 54 bits, as bytes."""
    low = (words & np.uint64(2**48 - 1)).astype("<u8").view(np.uint8).reshape(-1, 8)[:-2, :6]
    return looks_uniform(low.tobytes())


def test_the_plain_words_would_not_pass() -> None:
    assert not spread(encoded(SPEC, 2, LAYOUT))


def test_the_same_update_looks_different_in_every_session_and_for_every_client() -> None:
    one = uploads(Round(SPEC, LAYOUT))
    other = uploads(Round(spec_of(LAYOUT, nonce=seed("another")), LAYOUT))
    bodies = [*one.values(), *other.values()]
    differences = [np.frombuffer(a, "<u8") - np.frombuffer(b, "<u8") for i, a in enumerate(bodies) for b in bodies[:i]]
    assert all(looks_uniform(difference.tobytes()) for difference in differences)


def test_channel_and_mask_keys_are_different_keys() -> None:
    secrets = ClientSecrets(seed("one secret"), SPEC.session)
    assert len({secrets.channel.public, secrets.mask.public, PrivateKey(secrets.self_mask_seed).public}) == 3
