"""Attestations: with whom each survivor masked, signed by itself, so that nobody was told of fewer clients (G4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from securefed.crypto.hashing import digest
from securefed.crypto.keystream import Words
from securefed.errors import RoundAborted
from securefed.secagg.keys import PairContext
from securefed.secagg.stages import Stage
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Input
from securefed.wire.header import HEADER_BYTES
from tests.rounds import context_of, plain_sum, signing_key
from tests.rules import case, refused
from tests.secagg import lies
from tests.secagg.lies import flip
from tests.secagg.sparse import SMALL, Sparse, foretell
from tests.secagg.test_sparse_refuses import VICTIM, agreed, over, packed

LIAR = 5


def fewer(round_: Sparse) -> tuple[int, ...]:
    return round_.spec.cohort[:-1]


def attestation(round_: Sparse, client: int, shared: tuple[int, ...]) -> bytes:
    """Signed by that client: it masked within this set."""
    pairs = PairContext(round_.spec.session, digest(round_.requests[Stage.SHARE][client]))
    return signing_key(client).sign(pairs.attested(pack_set(shared, round_.spec.cohort)))


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        case("G4", "a bit of one", lambda r, who, good: flip(good, 3)),
        case("G4", "none", lambda r, who, good: bytes(64)),
        case("G4", "for a smaller set", lambda r, who, good: attestation(r, who, fewer(r))),
        case("G4", "another's", lambda r, who, good: attestation(r, VICTIM, r.spec.cohort)),
    ],
)
def test_g4_at_a_client(rule: str, changed: Callable[[Sparse, int, bytes], bytes]) -> None:
    """Who was told of fewer clients masked with fewer: its shares are not released beside those of the others."""
    round_ = Sparse(28, SMALL).until(Stage.RELEASE)
    good = agreed(round_)
    whose = next(iter(good.attestations))
    assert good.attestations[whose] == attestation(round_, whose, round_.spec.cohort)
    false = replace(good, attestations=good.attestations | {whose: changed(round_, whose, good.attestations[whose])})
    over(round_, rule, packed(round_, false))


@pytest.mark.rule("W8")
def test_w8_an_attestation_less() -> None:
    round_ = Sparse(28, SMALL).until(Stage.RELEASE)
    good = agreed(round_)
    over(round_, "W8", packed(round_, replace(good, attestations=dict(list(good.attestations.items())[1:]))))


def input_of(round_: Sparse, client: int, request: bytes | None = None) -> Input:
    message = round_.ask(client, request)
    words = (len(message) - HEADER_BYTES - 64) // 8
    return Input.decode(message, context_of(round_.spec, client), words, attested=True)


@pytest.mark.parametrize(
    ("rule", "lie"),
    [
        case(
            "G4", "for a smaller set", lambda r, good: replace(good, attestation=attestation(r, 5, r.spec.cohort[1:]))
        ),
        case("G4", "another's", lambda r, good: replace(good, attestation=attestation(r, 8, r.spec.cohort))),
        case("G4", "none", lambda r, good: replace(good, attestation=bytes(64))),
        case("W8", "left out", lambda r, good: replace(good, attestation=b"")),
        case("W13", "good, before words outside the ring", lambda r, good: replace(good, words=outside(good))),
    ],
)
def test_g4_at_the_server(rule: str, lie: Callable[[Sparse, Input], Input]) -> None:
    """The liar counts as dropped, and the others end the round without it."""
    for attempt in range(20):
        round_ = Sparse(28, SMALL, f"nonce {attempt}").until(Stage.INPUT)
        for client in round_.spec.cohort:
            if client == LIAR:
                false = lie(round_, input_of(round_, LIAR)).encode(context_of(round_.spec, LIAR))
                with refused(rule, peer=LIAR):
                    round_.server.receive(LIAR, false)
                continue
            round_.server.receive(client, round_.ask(client))
        round_.server.advance()
        try:
            round_.until(Stage.DONE)
        except RoundAborted:
            assert foretell(round_, {LIAR: Stage.INPUT}).aborted
            continue
        told = foretell(round_, {LIAR: Stage.INPUT})
        assert round_.refused == told.refused
        assert round_.server.aggregate is not None
        assert round_.server.aggregate.words is not None
        assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, told.survivors)
        return
    pytest.fail("no round ended")


def outside(good: Input) -> Words:
    words = good.words.copy()
    words[-1] |= np.uint64(1 << 63)
    return words


@pytest.mark.rule("G4")
def test_g4_who_was_told_of_fewer_is_not_opened() -> None:
    """The attack: a server hides clients from one survivor alone, who so masks with fewer peers than G3 counts."""
    round_ = Sparse(28, SMALL).until(Stage.INPUT)
    edges = round_.neighbourhoods()
    deceived = next(client for client in round_.spec.cohort if VICTIM in edges[client].holders)
    hidden = next(one for one in edges[deceived].picked_masks - {VICTIM} if deceived not in edges[one].holders)
    told = [client for client in round_.spec.cohort if client != hidden]
    given = input_of(round_, deceived, lies.delivery(round_, {}, shared=told, victim=deceived)).attestation
    assert given == attestation(round_, deceived, tuple(told))
    # Of the masks with the hidden one half is in the sum: such a round gives noise. But no share is to leave at all.
    round_ = Sparse(28, SMALL).until(Stage.RELEASE)
    good = agreed(round_)
    over(round_, "G4", packed(round_, replace(good, attestations=good.attestations | {deceived: given})))
