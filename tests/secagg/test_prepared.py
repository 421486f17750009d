"""A round whose model is named after its set-up: the same sum, and all from the input on is bound to the name."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from securefed.aggregation import Adversary
from securefed.crypto.keystream import StreamSum
from securefed.crypto.signing import verifies
from securefed.errors import PersistenceError, RoundAborted
from securefed.secagg import PairwiseMasks
from securefed.secagg.keys import named_session, self_mask_key
from securefed.secagg.stages import Stage, expected_from
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Consent
from securefed.wire.header import Header, MessageType
from securefed.wire.snapshot import Party, pack_snapshot, parse_snapshot
from securefed.wire.specification import NAMED_LATER
from tests.rounds import (
    COHORT,
    LAYOUT,
    MALICIOUS,
    MODEL,
    Round,
    identities,
    plain_sum,
    seed,
    signing_key,
    spec_of,
    update_of,
)
from tests.rounds import encoded as words_in_clear
from tests.rules import refused
from tests.secagg import lies
from tests.secagg.lies import VICTIM
from tests.secagg.modes import both_modes, every_stage
from tests.secagg.prepared import encoded, named_delivery, pairs_of, prepared_spec
from tests.secagg.sparse import SMALL, Sparse, cohort_of
from tests.secagg.test_snapshots import restart, same

SCHEME = PairwiseMasks()
OTHER = seed("another model")


@every_stage
def test_the_sum_is_that_of_the_integers(adversary: Adversary, stage: Stage) -> None:
    """Whoever is lost, in the set-up or later."""
    round_ = Round(prepared_spec(adversary=adversary)).until(Stage.DONE, {5: stage})
    survivors = COHORT if stage in (Stage.CONSENT, Stage.RELEASE) else (2, VICTIM, 8)
    assert round_.server.aggregate.survivors == survivors
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, survivors)


@both_modes
def test_only_the_delivery_looks_different(adversary: Adversary) -> None:
    """Types of messages, and what a name adds to one: 32 bytes."""
    known = Round(spec_of(adversary=adversary)).until(Stage.DONE)
    round_ = Round(prepared_spec(adversary=adversary)).until(Stage.DONE)
    for stage, requests in known.requests.items():
        for client, request in requests.items():
            ours, theirs = round_.requests[stage][client], request
            delivery = stage is Stage.INPUT
            kind = MessageType.NAMED_DELIVERY if delivery else Header.parse(theirs).type
            assert Header.parse(ours).type is kind
            assert len(ours) == len(theirs) + 32 * delivery
            if stage in known.replies and client in known.replies[stage]:
                assert len(round_.replies[stage][client]) == len(known.replies[stage][client])


def test_the_named_session() -> None:
    """As the text says, and the session itself where the specification has a model."""
    spec = prepared_spec()
    assert named_session(spec, MODEL) == hashlib.sha256(b"securefed/1/named\0" + spec.session + MODEL).digest()
    assert named_session(spec_of(), MODEL) == spec_of().session


@both_modes
def test_masks_are_bound_to_the_name(adversary: Adversary) -> None:
    """The victim's words come out with the keys of the named model, and with no other's."""
    round_ = Round(prepared_spec(adversary=adversary)).until(Stage.DONE)
    secrets, mask = {c: lies.secrets_of(round_, c) for c in COHORT}, round_.spec.numbers.lanes.ring_mask

    def opened(self_session: bytes, model: bytes) -> list[int]:
        words, pairs = lies.words_of(round_, VICTIM), pairs_of(round_, model)
        terms = [(self_mask_key(secrets[VICTIM].self_mask_seed, self_session, VICTIM), -1)]
        for peer in set(COHORT) - {VICTIM}:
            key = pairs.mask_key(secrets[VICTIM].mask, secrets[peer].mask.public, VICTIM, peer)
            terms.append((key, -1 if peer > VICTIM else +1))
        StreamSum(terms).add_to(words)
        return (words & mask).tolist()

    clear, named = words_in_clear(round_.spec, VICTIM).tolist(), named_session(round_.spec, MODEL)
    assert opened(named, MODEL) == clear
    assert opened(round_.spec.session, MODEL) != clear
    assert opened(named, OTHER) != clear


def test_consents_are_bound_to_the_name() -> None:
    round_ = Round(prepared_spec()).until(Stage.RELEASE)
    everyone = pack_set(COHORT, COHORT)
    reply = round_.replies[Stage.CONSENT][VICTIM]
    signature = Consent.decode(reply, expected_from(round_.spec, VICTIM)).signature
    key = identities(COHORT)[VICTIM]
    assert verifies(key, pairs_of(round_).consent(everyone, everyone), signature)
    assert not verifies(key, pairs_of(round_, OTHER).consent(everyone, everyone), signature)
    assert not verifies(key, lies.PairContext(round_.spec.session, lies.roster_digest(round_)).consent(
        everyone, everyone), signature)  # fmt: skip


def sparse_round(stage: Stage) -> Sparse:
    """A prepared round in a sparse graph that comes to its end with everybody in it."""
    for at in range(50):
        round_ = Sparse(28, SMALL, f"nonce {at}", model=NAMED_LATER).until(Stage.DONE)
        if round_.server.aggregate is not None and not round_.refused:
            return Sparse(28, SMALL, f"nonce {at}", model=NAMED_LATER).until(stage)
    raise AssertionError("no nonce whose graph is good for all")


def test_in_a_sparse_graph() -> None:
    round_ = sparse_round(Stage.DONE)
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, cohort_of(28))


@pytest.mark.rule("G4")
def test_g4_an_attestation_of_the_session_alone() -> None:
    """What an honest client attests to is the named session; of another name, or of none, it counts for nothing."""
    round_ = sparse_round(Stage.INPUT)
    client = round_.spec.cohort[0]
    good = round_.ask(client)
    for session in (round_.spec.session, named_session(round_.spec, OTHER)):
        pairs = lies.PairContext(session, lies.roster_digest(round_))
        signature = signing_key(client).sign(pairs.attested(pack_set(round_.replies[Stage.SHARE], round_.spec.cohort)))
        server = SCHEME.resume_server(round_.spec, LAYOUT, round_.server.snapshot(), identities(round_.spec.cohort))
        with refused("G4", peer=client):
            server.receive(client, good[:64] + signature + good[128:])
    round_.server.receive(client, good)


def in_stage(stage: Stage) -> Round:
    return Round(prepared_spec()).until(stage)


# Restarts.


@every_stage
def test_all_parties_restart_before_and_after_every_stage(adversary: Adversary, stage: Stage) -> None:
    """Every message afterwards is the same to the byte, and so it is where the name comes after a restart."""
    drops = {5: stage}
    undisturbed = Round(prepared_spec(adversary=adversary)).until(Stage.DONE, drops)
    round_ = Round(prepared_spec(adversary=adversary))
    gone: tuple[int, ...] = ()
    while round_.server.stage is not Stage.DONE:
        gone += tuple(client for client, at in drops.items() if at is round_.server.stage)
        restart(round_, COHORT, server=True)
        round_.answer(gone)
        restart(round_, COHORT, server=True)
        round_.server.advance()
        if round_.server.stage is Stage.INPUT:
            restart(round_, COHORT, server=True)
            assert round_.server.requests() == {}
            assert round_.server.awaited == tuple(client for client in COHORT if client not in gone)
            round_.server.name_model(MODEL)
    same(undisturbed, round_)


def test_a_server_in_the_middle_of_the_inputs() -> None:
    round_ = Round(prepared_spec()).until(Stage.INPUT)
    round_.server.receive(2, round_.ask(2))
    restart(round_, server=True)
    assert tuple(round_.server.requests()) == round_.server.awaited == (VICTIM, 5, 8)
    with refused("R12"):
        round_.server.name_model(MODEL)
    with refused("R3", peer=2):
        round_.server.receive(2, b"")
    round_.play((2,))
    assert round_.until(Stage.DONE).server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)


MODEL_AT = 1
"""Section of a server's snapshot: the model that was named."""


@pytest.mark.parametrize(
    ("stage", "model"),
    [
        (Stage.SHARE, MODEL),
        (Stage.INPUT, NAMED_LATER),
        (Stage.INPUT, MODEL[:31]),
        (Stage.CONSENT, b""),
        (Stage.DONE, b""),
    ],
    ids=["too early", "zeros", "too short", "missing", "missing at the end"],
)
def test_p1_a_stored_name_that_does_not_fit(stage: Stage, model: bytes) -> None:
    """Before it could be given, none at all, or missing where inputs were taken."""
    round_ = in_stage(stage)
    sections = parse_snapshot(Party.SERVER, round_.server.snapshot())
    sections[MODEL_AT] = memoryview(model)
    with pytest.raises(PersistenceError) as caught:
        SCHEME.resume_server(round_.spec, LAYOUT, pack_snapshot(Party.SERVER, sections), identities(COHORT))
    assert caught.value.rule == "P1"


def test_p1_a_stored_name_of_a_round_that_has_its_model() -> None:
    round_ = Round().until(Stage.INPUT)
    sections = parse_snapshot(Party.SERVER, round_.server.snapshot())
    assert not sections[MODEL_AT]
    sections[MODEL_AT] = memoryview(OTHER)
    with pytest.raises(PersistenceError) as caught:
        SCHEME.resume_server(round_.spec, LAYOUT, pack_snapshot(Party.SERVER, sections), identities(COHORT))
    assert caught.value.rule == "P1"


@pytest.mark.parametrize("size", [0, 31, 33])
@pytest.mark.parametrize("at", [3, 4])
def test_p1_a_client_that_holds_no_digest(at: int, size: int) -> None:
    """Named session and roster are of 32 bytes."""
    round_ = in_stage(Stage.CONSENT)
    sections = parse_snapshot(Party.CLIENT, round_.clients[VICTIM].snapshot())
    assert bytes(sections[3]) == named_session(round_.spec, MODEL)
    assert bytes(sections[4]) == lies.roster_digest(round_)
    sections[at] = memoryview(bytes(size))
    with pytest.raises(PersistenceError) as caught:
        SCHEME.resume_client(round_.clients[VICTIM]._identity, pack_snapshot(Party.CLIENT, sections))
    assert caught.value.rule == "P1"


def test_two_names_leave_noise() -> None:
    """What the server adds up of clients that were told of two models is not a sum of any of them."""
    round_ = Round(prepared_spec(adversary=replace(MALICIOUS, server="semi-honest"))).until(Stage.INPUT)
    for client in COHORT:
        request = named_delivery(round_, OTHER if client == VICTIM else MODEL, client)
        round_.server.receive(
            client,
            round_.clients[client].reply(
                encoded(round_, request), lambda client=client, m=request.model: replace(update_of(client), model=m)
            ),
        )
    round_.server.advance()
    with pytest.raises(RoundAborted):
        round_.until(Stage.DONE)
