"""A session that is taken up from its snapshot in another object goes on as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.aggregation import Adversary, ClientIdentity
from securefed.crypto.hashing import DIGEST_BYTES, digest
from securefed.crypto.kdf import Label, derive
from securefed.errors import PersistenceError, RoundAborted
from securefed.secagg import PairwiseMasks
from securefed.secagg.server_log import Log
from securefed.secagg.stages import Stage
from securefed.wire.snapshot import Party, pack_ids, pack_snapshot, parse_snapshot, unpack_ids
from tests.rounds import COHORT, LAYOUT, MALICIOUS, SEMI_HONEST, Drops, Round, identities, identity_of, seed, spec_of
from tests.rules import refused
from tests.secagg import lies
from tests.secagg.lies import VICTIM
from tests.secagg.modes import both_modes, every_stage, stages_of
from tests.secagg.sparse import SMALL, Sparse

SCHEME = PairwiseMasks()


def identity(round_: Round, client: int) -> ClientIdentity:
    return round_.clients[client]._identity


def restart(round_: Round, clients: Iterable[int] = (), server: bool = False) -> None:
    """These parties go away and come back from what they stored; a client's record stays where it is."""
    for client in clients:
        stored = round_.clients[client].snapshot()
        round_.clients[client] = SCHEME.resume_client(identity(round_, client), stored)
        assert round_.clients[client].snapshot() == stored
    if server:
        stored = round_.server.snapshot()
        known = identities(round_.spec.cohort)
        round_.server = SCHEME.resume_server(round_.spec, round_.layout, stored, known)
        assert round_.server.snapshot() == stored


def played(round_: Round, drops: Drops, between: Callable[[Round], None]) -> Round:
    """To the end, with something done before each stage and after it."""
    gone: tuple[int, ...] = ()
    between(round_)
    while round_.server.stage is not Stage.DONE:
        gone += tuple(client for client, at in drops.items() if at is round_.server.stage)
        round_.answer(gone)
        between(round_)
        round_.server.advance()
        between(round_)
    return round_


def same(one: Round, other: Round) -> None:
    for stage in stages_of(one.spec.adversary):
        assert one.requests[stage] == other.requests[stage]
    assert one.replies == other.replies
    first, second = one.server.aggregate, other.server.aggregate
    assert first is not None
    assert second is not None
    assert first.words is not None
    assert second.words is not None
    assert (first.words == second.words).all()
    assert (first.weight, first.survivors, first.metrics) == (second.weight, second.survivors, second.metrics)
    assert all((first.tensors[name] == second.tensors[name]).all() for name in first.tensors)


@every_stage
def test_all_parties_restart_before_and_after_every_stage(adversary: Adversary, stage: Stage) -> None:
    """Every message afterwards is the same to the byte, whoever is lost."""
    drops = {5: stage}
    undisturbed = Round(spec_of(adversary=adversary)).until(Stage.DONE, drops)
    restarted = played(
        Round(spec_of(adversary=adversary)), drops, lambda r: restart(r, COHORT, server=True)
    )  # fmt: skip
    same(undisturbed, restarted)


def test_in_a_sparse_graph_too() -> None:
    """With attestations, neighbourhoods of others, and a sample of consents."""
    nonce = next(
        f"nonce {at}" for at in range(50) if Sparse(28, SMALL, f"nonce {at}").until(Stage.DONE).server.aggregate
    )  # fmt: skip
    undisturbed = Sparse(28, SMALL, nonce).until(Stage.DONE)
    restarted = played(Sparse(28, SMALL, nonce), {}, lambda r: restart(r, r.spec.cohort, server=True))
    same(undisturbed, restarted)


@given(data=st.data(), adversary=st.sampled_from([MALICIOUS, SEMI_HONEST]))
def test_any_party_restarts_at_any_time(data: st.DataObject, adversary: Adversary) -> None:
    """In mid-stage as well: between two answers of other clients."""
    lost = data.draw(st.dictionaries(st.sampled_from(COHORT), st.sampled_from(stages_of(adversary)), max_size=1))
    undisturbed = Round(spec_of(adversary=adversary)).until(Stage.DONE, lost)
    round_ = Round(spec_of(adversary=adversary))
    who, gone = st.sets(st.sampled_from([0, *COHORT])), set()
    while round_.server.stage is not Stage.DONE:
        stage = round_.server.stage
        gone |= {client for client, at in lost.items() if at is stage}
        round_.requests[stage] = dict(round_.server.requests())
        awaited = dict(round_.requests[stage])
        for client in [client for client in round_.requests[stage] if client not in gone]:
            chosen = data.draw(who)
            restart(round_, chosen - {0}, server=0 in chosen)
            assert round_.server.requests() == awaited
            del awaited[client]
            round_.replies[stage][client] = round_.ask(client)
            round_.server.receive(client, round_.replies[stage][client])
        round_.server.advance()
    same(undisturbed, round_)


@pytest.mark.rule("R3")
@pytest.mark.rule("R5")
@every_stage
def test_a_server_remembers_who_has_answered_and_who_was_refused(adversary: Adversary, stage: Stage) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    round_.server.receive(2, round_.ask(2))
    good = round_.ask(5)
    with refused("W1", peer=5):
        round_.server.receive(5, b"")
    asked = round_.server.requests()
    assert not asked.keys() & {2, 5}
    restart(round_, server=True)
    assert round_.server.requests() == asked
    with refused("R3", peer=2):
        round_.server.receive(2, b"")
    with refused("R5", peer=5):
        round_.server.receive(5, good)


@pytest.mark.rule("R5")
@every_stage
def test_an_aborted_round_stays_aborted(adversary: Adversary, stage: Stage) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    round_.answer(absent=(2, 5, 8))
    with pytest.raises(RoundAborted):
        round_.server.advance()
    restart(round_, server=True)
    assert round_.server.aggregate is None
    assert not round_.server.requests()
    with refused("R5", peer=2):
        round_.server.receive(2, b"")
    with refused("R5"):
        round_.server.advance()


@every_stage
def test_a_client_that_has_left_stays_away(adversary: Adversary, stage: Stage) -> None:
    """After an error R5, after the end R4; and in between its error was forgotten by nobody."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    with refused("W1"):
        round_.ask(VICTIM, b"")
    restart(round_, (VICTIM,))
    with refused("R5"):
        round_.ask(VICTIM)
    round_ = Round(spec_of(adversary=adversary)).until(Stage.DONE)
    restart(round_, COHORT, server=True)
    with refused("R4"):
        round_.clients[VICTIM].reply(round_.requests[Stage.RELEASE][VICTIM], lambda: pytest.fail("trained"))


def secrets(round_: Round, client: int) -> dict[str, bytes]:
    """What masks and shares are made from."""
    secret, session = seed(f"round secret {client}"), round_.spec.session
    labels = (Label.CHANNEL_KEY, Label.MASK_KEY, Label.SELF_MASK_SEED)
    return {"round secret": secret, **{label.value: derive(secret, label, session) for label in labels}}


@every_stage
def test_what_a_snapshot_of_a_client_holds(adversary: Adversary, stage: Stage) -> None:
    """The round secret until the input is given, then shares of others, then nothing; the identity key never."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    masked = stage in (Stage.CONSENT, Stage.RELEASE)
    stored = round_.clients[VICTIM].snapshot()
    held = {name for name, secret in secrets(round_, VICTIM).items() if secret in stored}
    assert held == (set() if masked else {"round secret"})
    if masked:
        for share in lies.good_pair(round_, 2):
            assert share.to_bytes(33, "big") in stored
    round_.ask(VICTIM)
    afterwards = round_.clients[VICTIM].snapshot()
    if stage is Stage.RELEASE:
        assert len(afterwards) < 200
    for found in (stored, afterwards):
        assert seed(f"identity {VICTIM}") not in found
        assert seed(f"rounding {VICTIM}") not in found


@every_stage
def test_what_a_snapshot_of_the_server_holds(adversary: Adversary, stage: Stage) -> None:
    """No upload: of the inputs the sum alone."""
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    round_.answer()
    stored = round_.server.snapshot()
    for client, message in round_.replies[Stage.INPUT].items():
        assert message[64:128] not in stored
        assert not [secret for secret in secrets(round_, client).values() if secret in stored]


def parties(adversary: Adversary) -> list[tuple[bytes, Callable[[bytes], object]]]:
    """Snapshots of each kind of state, and how they are taken up."""
    round_, found = Round(spec_of(adversary=adversary)), []
    known, spec = identities(COHORT), round_.spec

    def client(stored: bytes) -> object:
        return SCHEME.resume_client(identity_of(VICTIM), stored)

    def server(stored: bytes) -> object:
        return SCHEME.resume_server(spec, LAYOUT, stored, known)

    while round_.server.stage is not Stage.DONE:
        found += [(round_.clients[VICTIM].snapshot(), client), (round_.server.snapshot(), server)]
        round_.play()
    return [*found, (round_.clients[VICTIM].snapshot(), client), (round_.server.snapshot(), server)]


@both_modes
def test_p1_damaged_and_truncated(adversary: Adversary) -> None:
    for stored, resume in parties(adversary):
        cuts = [stored[:at] for at in range(0, len(stored), 64)]
        flips = [lies.flip(stored, at) for at in range(0, len(stored), 64)]
        for bad in (*cuts, *flips, stored[:-1], stored + b"\0", lies.flip(stored, -1), b"", b"\x80\x04pickle"):
            with pytest.raises(PersistenceError) as caught:
                resume(bad)
            assert caught.value.rule == "P1"
        assert resume(stored)


def resealed(stored: bytes) -> bytes:
    """With a digest that fits again."""
    return stored[:-DIGEST_BYTES] + digest(stored[:-DIGEST_BYTES])


def test_ids_of_every_size_come_back() -> None:
    ids = {1, 2**8, 2**24 - 1, 2**24, 2**32 - 1}
    assert unpack_ids(pack_ids(ids)) == ids
    log = Log()
    for client in sorted(ids):
        log.answered(client, b"reply")
    assert Log.parse(log.pack(ids))[0].events == log.events


@both_modes
def test_p1_what_does_not_hold_together_though_its_digest_fits(adversary: Adversary) -> None:
    """Another kind of file, bytes behind the last section, an event too short for a client's id."""
    for stored, resume in parties(adversary):
        bad = [b"KIND" + stored[4:], stored[:-DIGEST_BYTES] + bytes(1 + DIGEST_BYTES)]
        if "server" in resume.__qualname__:
            sections = parse_snapshot(Party.SERVER, stored)[:6]
            events = ([b""], [bytes(3)], [bytes(4), b"1"])
            bad += [pack_snapshot(Party.SERVER, [*sections, *few]) for few in events]
        for raw in bad:
            with pytest.raises(PersistenceError) as caught:
                resume(resealed(raw))
            assert caught.value.rule == "P1"


@both_modes
def test_p2_another_version(adversary: Adversary) -> None:
    for stored, resume in parties(adversary):
        for version in (0, 1, 2, 255):
            with pytest.raises(PersistenceError) as caught:
                resume(resealed(stored[:4] + bytes([version]) + stored[5:]))
            assert caught.value.rule == "P2"


@both_modes
def test_p3_of_another(adversary: Adversary) -> None:
    """Party, client or round."""
    every = parties(adversary)
    for (stored, resume), (_, other) in zip(every, every[1:] + every[:1], strict=True):
        with pytest.raises(PersistenceError) as caught:
            other(stored)
        assert caught.value.rule == "P3"
        if "client" in resume.__qualname__:
            with pytest.raises(PersistenceError) as caught:
                SCHEME.resume_client(identity_of(2), stored)
        else:
            spec = spec_of(adversary=adversary, nonce=seed("another attempt"))
            with pytest.raises(PersistenceError) as caught:
                SCHEME.resume_server(spec, LAYOUT, stored, identities(COHORT))
        assert caught.value.rule == "P3"


@pytest.mark.parametrize("stage", [Stage.SHARE, Stage.INPUT])
def test_p3_a_client_that_is_not_the_same_any_more(stage: Stage) -> None:
    """Its policy has become stricter, or an identity key has changed: the round is not taken up again."""
    round_ = Round().until(stage)
    stored, was = round_.clients[VICTIM].snapshot(), identity(round_, VICTIM)
    stricter = replace(was, policy=replace(was.policy, least_cohort=5))
    with pytest.raises(PersistenceError, match="does not fit this client any more") as caught:
        SCHEME.resume_client(stricter, stored)
    assert caught.value.rule == "P3"
