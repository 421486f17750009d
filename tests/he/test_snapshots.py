"""A session that is taken up from its snapshot in another object goes on as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.aggregation import Adversary
from securefed.errors import RoundAborted
from securefed.he import HomomorphicScheme
from securefed.he.stages import Stage
from tests.he.rounds import (
    HOLDER,
    MALICIOUS,
    SCHEMES,
    SEMI_HONEST,
    VICTIM,
    Round,
    all_schemes,
    both_modes,
    every_stage,
    he_spec,
    round_secret,
)
from tests.rounds import COHORT, identities, plain_sum, seed
from tests.rules import refused


def restart(round_: Round, clients: Iterable[int] = (), server: bool = False) -> None:
    """These parties go away and come back from what they stored; a client's record stays where it is."""
    for client in clients:
        stored = round_.clients[client].snapshot()
        round_.clients[client] = round_.scheme.resume_client(round_.identities[client], stored)
        assert round_.clients[client].snapshot() == stored
    if server:
        stored, before = round_.server.snapshot(), round_.server
        known = identities(round_.spec.cohort)
        round_.server = round_.scheme.resume_server(round_.spec, round_.layout, stored, known)
        assert round_.server.snapshot() == stored
        assert round_.server.requests() == before.requests()
        assert round_.server.stage is before.stage


@all_schemes
@both_modes
@every_stage
def test_all_parties_restart_before_and_after_every_stage(
    scheme: HomomorphicScheme, adversary: Adversary, stage: Stage
) -> None:
    """Encryption is never the same twice, the sum is: whoever is lost, but for the holder at its last stage."""
    lost = 5 if stage is Stage.OPEN else HOLDER if stage is Stage.KEYS else VICTIM
    round_, gone = Round(he_spec(adversary=adversary), scheme=scheme), ()
    restart(round_, COHORT, server=True)
    while round_.server.stage is not Stage.DONE:
        gone = (lost,) if round_.server.stage in (stage, *(() if not gone else (round_.server.stage,))) else gone
        round_.answer(gone)
        restart(round_, COHORT, server=True)
        round_.server.advance()
        restart(round_, COHORT, server=True)
    survivors = COHORT if stage is Stage.OPEN else tuple(client for client in COHORT if client != lost)
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, survivors)


@settings(max_examples=max(10, settings().max_examples // 4))
@given(data=st.data(), adversary=st.sampled_from([MALICIOUS, SEMI_HONEST]), scheme=st.sampled_from(SCHEMES))
def test_any_party_restarts_at_any_time(data: st.DataObject, adversary: Adversary, scheme: HomomorphicScheme) -> None:
    """In mid-stage as well: between two answers of other clients."""
    round_ = Round(he_spec(adversary=adversary), scheme=scheme)
    who = st.sets(st.sampled_from([0, *COHORT]))
    while round_.server.stage is not Stage.DONE:
        for client in list(round_.server.requests()):
            chosen = data.draw(who)
            restart(round_, chosen - {0}, server=0 in chosen)
            round_.server.receive(client, round_.ask(client))
        round_.server.advance()
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)


@pytest.mark.rule("R3")
@pytest.mark.rule("R5")
@every_stage
def test_a_server_remembers_who_has_answered_and_who_was_refused(stage: Stage) -> None:
    alone = stage in (Stage.KEYS, Stage.OPEN)
    round_ = Round().until(stage)
    if not alone:
        with refused("W1", peer=5):
            round_.server.receive(5, b"")
    round_.server.receive(HOLDER, round_.ask(HOLDER))
    restart(round_, server=True)
    with refused("R3", peer=HOLDER):
        round_.server.receive(HOLDER, b"")
    if not alone:
        with refused("R5", peer=5):
            round_.server.receive(5, round_.ask(5, round_.requests[stage][5]))


@pytest.mark.rule("R5")
@every_stage
def test_an_aborted_round_stays_aborted(stage: Stage) -> None:
    round_ = Round().until(stage)
    if stage is Stage.KEYS:
        round_.server.advance()
    with pytest.raises(RoundAborted):
        round_.server.advance()
    restart(round_, server=True)
    assert round_.server.aggregate is None
    assert not round_.server.requests()
    with refused("R5", peer=2):
        round_.server.receive(2, b"")
    with refused("R5"):
        round_.server.advance()


def test_a_finished_round_stays_finished() -> None:
    round_ = Round().until(Stage.DONE)
    words = round_.server.aggregate.words.tolist()
    restart(round_, COHORT, server=True)
    assert round_.server.aggregate.words.tolist() == words
    assert round_.server.aggregate.survivors == COHORT
    for client in COHORT:
        with refused("R4"):
            round_.ask(client, round_.requests[Stage.OPEN][HOLDER])


@every_stage
def test_a_client_that_has_left_stays_away(stage: Stage) -> None:
    round_ = Round().until(stage)
    with refused("W1"):
        round_.ask(HOLDER, b"")
    restart(round_, (HOLDER,))
    with refused("R5"):
        round_.ask(HOLDER)


@every_stage
def test_what_a_snapshot_holds(stage: Stage) -> None:
    """A client's: its round secret until nothing is left to give, of the key nothing that anyone else made. The
    server's: no secret, and of the inputs their sum alone."""
    round_ = Round().until(stage)
    key = round_.round_key().raw if stage is not Stage.ADVERTISE else seed("none yet")
    stored = {client: round_.clients[client].snapshot() for client in COHORT}
    for client, snapshot in stored.items():
        gives = stage is not Stage.OPEN or client == HOLDER
        assert (round_secret(client) in snapshot) is gives
        assert key not in snapshot
        assert seed(f"identity {client}") not in snapshot
        assert seed(f"rounding {client}") not in snapshot
    round_.answer()
    server = round_.server.snapshot()
    secrets = [key, *(round_secret(client) for client in COHORT)]
    assert not [secret for secret in secrets if secret in server]
    for message in round_.replies[Stage.INPUT].values():
        assert message[128:192] not in server
        assert message[-64:] not in server
