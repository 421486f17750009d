"""Sparse rounds: the sum is exact whoever drops out, or there is none, and which of both follows from the picks."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.aggregation import Adversary
from securefed.crypto.keystream import StreamSum
from securefed.errors import RoundAborted
from securefed.secagg.graph import mask_peers
from securefed.secagg.keys import PairContext, self_mask_key
from securefed.secagg.stages import Stage
from securefed.wire.from_server import Delivery
from tests.rounds import Drops, context_of, encoded, plain_sum
from tests.secagg import lies
from tests.secagg.modes import stages_of
from tests.secagg.sparse import FORTY, FORTY_TRUSTING, SMALL, SMALL_TRUSTING, TIGHT, Sparse, foretell

SPARSE = [
    pytest.param(40, FORTY, id="malicious"),
    pytest.param(40, FORTY_TRUSTING, id="semi-honest"),
    pytest.param(24, TIGHT, id="malicious-24"),
]
LOSING = [
    pytest.param(28, SMALL, id="malicious"),
    pytest.param(28, SMALL_TRUSTING, id="semi-honest"),
    pytest.param(24, TIGHT, id="malicious-24"),
]
sparse = pytest.mark.parametrize(("n", "adversary"), SPARSE)


def check(round_: Sparse, drops: Drops) -> None:
    """Played to its end, the round is what the picks foretell; where there is a sum it is exact."""
    spec = round_.spec
    try:
        round_.until(Stage.DONE, drops)
        aborted = None
    except RoundAborted as error:
        aborted = error
    told = foretell(round_, drops)
    assert round_.refused == told.refused
    if told.aborted is None:
        assert aborted is None, aborted
        aggregate = round_.server.aggregate
        assert aggregate is not None
        assert aggregate.words is not None
        assert aggregate.survivors == told.survivors
        assert aggregate.words.tolist() == plain_sum(spec, told.survivors)
        return
    assert aborted is not None
    assert aborted.stage == told.aborted
    assert round_.server.aggregate is None
    if told.unopened:
        assert any(f"client {client}: [S3]" in aborted.detail for client in told.unopened)


@sparse
def test_what_the_stated_adversary_gives(n: int, adversary: Adversary) -> None:
    """So that no test here is of a complete graph, or of masks with all holders only."""
    found = Sparse(n, adversary).found
    assert not found.complete
    assert found.neighbours < n // 2
    assert found.masks <= found.neighbours
    assert adversary.malicious == (found.signatures > 0)
    assert found.signatures < n


@sparse
def test_nobody_drops_out(n: int, adversary: Adversary) -> None:
    round_ = Sparse(n, adversary)
    check(round_, {})
    assert round_.server.aggregate is not None
    assert not round_.refused


def stages_to_lose_in() -> list[object]:
    return [
        pytest.param(*one.values, stage, id=f"{one.id}-{stage}")
        for one in LOSING
        for stage in stages_of(one.values[1])  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(("n", "adversary", "stage"), stages_to_lose_in())
def test_as_many_as_stated_drop_out_in_one_stage(n: int, adversary: Adversary, stage: Stage) -> None:
    """Some choices of them leave a client without enough neighbours, others do not."""
    rng, ended = random.Random(1), 0
    for attempt in range(2):
        round_ = Sparse(n, adversary, f"nonce {attempt}")
        gone = rng.sample(round_.spec.cohort, adversary.lost_clients(n))
        check(round_, dict.fromkeys(gone, stage))
        ended += round_.server.aggregate is not None
    assert ended


@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.SHARE, Stage.INPUT, Stage.RELEASE])
def test_one_more_than_stated_before_the_sum_is_fixed_ends_a_semi_honest_round(stage: Stage) -> None:
    """Its graph is connected for at most D losses. Who gave an input is in the sum, whatever becomes of it later."""
    lost = FORTY_TRUSTING.lost_clients(40)
    for more in (0, 1):
        round_ = Sparse(40, FORTY_TRUSTING)
        gone = round_.spec.cohort[:: 40 // lost][:lost] + round_.spec.cohort[1 : 1 + more]
        if more and stage is not Stage.RELEASE:
            with pytest.raises(RoundAborted, match=f"{39 - lost} of .* clients answered, {40 - lost} are needed"):
                round_.until(Stage.DONE, dict.fromkeys(gone, stage))
            assert round_.server.aggregate is None
        else:
            check(round_, dict.fromkeys(gone, stage))
            assert round_.server.aggregate is not None


@settings(max_examples=settings().max_examples // 2)
@given(data=st.data(), which=st.sampled_from(LOSING))
def test_any_pattern_of_dropouts(data: st.DataObject, which: ParameterSet) -> None:
    n, adversary = which.values
    round_ = Sparse(n, adversary)  # type: ignore[arg-type]
    stages = st.sampled_from(stages_of(round_.spec.adversary))
    check(round_, data.draw(st.dictionaries(st.sampled_from(round_.spec.cohort), stages, max_size=5)))


@sparse
def test_every_pair_of_mask_peers_cancels_and_no_other(n: int, adversary: Adversary) -> None:
    """Off each upload its self mask and one stream for each mask peer, picked or picked by: the update is left."""
    round_ = Sparse(n, adversary).until(Stage.INPUT)
    round_.play()
    spec = round_.spec
    peers = mask_peers(round_.neighbourhoods())
    pairs = PairContext(spec.session, lies.roster_digest(round_))
    everyone = np.zeros(spec.words, "<u8")
    for client in spec.cohort:
        secrets = lies.secrets_of(round_, client)
        words = lies.words_of(round_, client)
        own = [(self_mask_key(secrets.self_mask_seed, spec.session, client), -1)]
        StreamSum(own).add_to(words)
        everyone += words
        theirs = {peer: lies.secrets_of(round_, peer).mask.public for peer in peers[client]}
        shared = [
            (pairs.mask_key(secrets.mask, key, client, peer), -1 if client < peer else +1)
            for peer, key in theirs.items()
        ]
        assert round_.found.masks <= len(shared) < n - 1
        StreamSum(shared).add_to(words)
        assert (words & spec.numbers.lanes.ring_mask).tolist() == encoded(spec, client).tolist()
    assert (everyone & spec.numbers.lanes.ring_mask).tolist() == plain_sum(spec, spec.cohort)


@sparse
def test_a_delivery_is_from_those_who_picked_the_receiver(n: int, adversary: Adversary) -> None:
    """And from no other, the receiver's own picks included; shares go to k clients, to none of them two."""
    round_ = Sparse(n, adversary).until(Stage.INPUT)
    cohort, edges, total = round_.spec.cohort, round_.neighbourhoods(), 0
    for client, request in round_.requests[Stage.INPUT].items():
        delivery = Delivery.decode(request, context_of(round_.spec), cohort, cohort, client)
        assert delivery.senders.keys() == {one for one in cohort if client in edges[one].holders}
        total += len(delivery.senders)
    assert total == n * round_.found.neighbours


@sparse
def test_what_is_released(n: int, adversary: Adversary) -> None:
    """Of each client that picked the releaser one share, of the kind that says whether it survived."""
    for attempt in itertools.count():
        round_ = Sparse(n, adversary, f"nonce {attempt}")
        gone = round_.spec.cohort[attempt % n]
        if foretell(played(round_, gone), {gone: Stage.INPUT}).aborted is None:
            break
    edges = round_.neighbourhoods()
    for client, message in round_.replies[Stage.RELEASE].items():
        holds = {one for one in round_.spec.cohort if client in edges[one].holders}
        shares = lies.released(round_, client, message)
        assert shares.keys() == holds
        for owner, share in shares.items():
            ids = tuple(sorted(edges[owner].holders))
            both = lies.secrets_of(round_, owner).share_out(
                lies.roster_digest(round_), ids, round_.found.threshold
            )[client]  # fmt: skip
            assert share == (both[33:] if owner == gone else both[:33])


def played(round_: Sparse, gone: int) -> Sparse:
    """To the end or as far as it goes, without one input."""
    try:
        round_.until(Stage.DONE, {gone: Stage.INPUT})
    except RoundAborted:
        assert round_.refused or round_.server.aggregate is None
    return round_
