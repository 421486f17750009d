"""Chains that are taken up from what they stored; what does not fit, and what the record has overtaken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securefed.chains import ClientChain, ServerChain
from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import LocalProtocolError, PersistenceError, RoundAborted
from securefed.participation import INPUT
from securefed.secagg.stages import Stage
from securefed.wire.snapshot import Party, pack_snapshot, parse_snapshot
from tests.chains.jobs import Job
from tests.rounds import COHORT, LAYOUT, identities, identity_of, seed
from tests.rules import refused
from tests.secagg.lies import flip

CLIENT = 3
OTHER = Layout((TensorSpec("lora_A", (5,)),), ())


def under_way() -> Job:
    """A prepared round before its input, with the next one riding."""
    job = Job()
    job.round(1)
    job.begin(2)
    return job


def resume_client(job: Job, stored: bytes, client: int = CLIENT) -> ClientChain:
    return ClientChain.resume(job.scheme, job.identities[client], stored)


def resume_server(job: Job, stored: bytes, layouts: tuple[Layout, ...] = (LAYOUT,)) -> ServerChain:
    return ServerChain.resume(job.scheme, layouts, stored, identities(COHORT))


def test_p1_damaged() -> None:
    job = under_way()
    client, server = job.clients[CLIENT].snapshot(), job.server.snapshot()
    for stored, resume in ((client, resume_client), (server, resume_server)):
        for bad in (b"", stored[:-1], flip(stored, 40), flip(stored, -1), stored + b"\0"):
            with pytest.raises(PersistenceError) as caught:
                resume(job, bad)
            assert caught.value.rule == "P1"


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_p1_other_than_one_or_two_rounds(keep: int) -> None:
    job = under_way()
    sections = parse_snapshot(Party.SERVER_CHAIN, job.server.snapshot())
    assert len(sections) == 4
    for count in {keep, keep + 4} - {4}:
        with pytest.raises(PersistenceError) as caught:
            resume_server(job, pack_snapshot(Party.SERVER_CHAIN, (sections * 2)[:count]))
        assert caught.value.rule == "P1"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[:-1],
        lambda s: s + s,
        lambda s: [s[0][:-1], *s[1:]],
        lambda s: [s[0], s[1][:-1], *s[2:]],
        lambda s: [s[0], bytes(s[1]) + b"\0", *s[2:]],
        lambda s: [*s[:2], b"", *s[3:]],
    ],
)
def test_p1_sessions_that_do_not_hold_together(change: object) -> None:
    job = under_way()
    sections = parse_snapshot(Party.CLIENT_CHAIN, job.clients[CLIENT].snapshot())
    with pytest.raises(PersistenceError) as caught:
        resume_client(job, pack_snapshot(Party.CLIENT_CHAIN, change(sections)))  # type: ignore[operator]
    assert caught.value.rule == "P1"


def test_p3_of_another() -> None:
    """Party, client, or layout."""
    job = under_way()
    client, server = job.clients[CLIENT].snapshot(), job.server.snapshot()
    for wrong in (
        lambda: resume_client(job, server),
        lambda: resume_server(job, client),
        lambda: resume_client(job, client, 5),
        lambda: resume_server(job, server, (OTHER,)),
    ):
        with pytest.raises(PersistenceError) as caught:
            wrong()
        assert caught.value.rule == "P3"


def test_nothing_has_begun() -> None:
    """A client may store before its first round; a server has nothing to store."""
    job = Job()
    assert resume_client(job, job.clients[CLIENT].snapshot()).snapshot() == job.clients[CLIENT].snapshot()
    with pytest.raises(ValueError, match="no round has begun"):
        job.server.snapshot()


@pytest.mark.rule("R10")
def test_r10_an_older_snapshot() -> None:
    """From before the input: the record knows better."""
    job = under_way()
    stored = job.clients[CLIENT].snapshot()
    request = job.server.requests()[CLIENT]
    job.ask(CLIENT, request)
    with refused("R10") as caught:
        resume_client(job, stored)
    assert isinstance(caught.value, LocalProtocolError)


@pytest.mark.rule("R10")
def test_r10_a_copy_that_lives_on() -> None:
    job = under_way()
    copied = resume_client(job, job.clients[CLIENT].snapshot())
    request = job.server.requests()[CLIENT]
    job.ask(CLIENT, request)
    with refused("R11"):
        copied.reply(request, job.update(CLIENT))


def test_a_client_comes_back_though_a_set_up_was_of_no_use() -> None:
    """A guess was wrong, or an attempt broken off: what was prepared is of a round that has its input now. It is given
    up with the input; a client that is started again is not stopped by it."""
    job = Job()
    job.round(1)
    job.begin(2)
    job.until(Stage.CONSENT)  # the set-up of round 3 rides on the inputs
    with pytest.raises(RoundAborted):
        job.server.advance()
    for number in (3, 4):
        job.begin(number, following=False)
        assert job.finish(between=lambda job: job.restart()) == 5
        job.check_sum()


def test_a_client_that_gave_an_input_elsewhere() -> None:
    """Its record is shared: for an older chain that means what an older snapshot means."""
    job = under_way()
    stored = job.clients[CLIENT].snapshot()
    job.identities[CLIENT].record.claim(INPUT, 9, seed("another job"))
    with refused("R10"):
        resume_client(job, stored)


def test_rounds_of_two_layouts() -> None:
    """Each session has its own, and so after a restart."""
    job = Job(others=(OTHER,))
    other = Job(others=(LAYOUT,), layout=OTHER)
    job.begin(1, following=replace(other.plan(2), layout=OTHER))
    job.finish(between=Job.restart)
    job.check_sum()
    other.server, other.clients, other.identities = job.server, job.clients, job.identities
    assert other.round(2, between=lambda _: job.restart(server=False)) == 3
    assert other.aggregate().survivors == COHORT


def test_no_secret_of_a_client_is_shown() -> None:
    job = under_way()
    assert repr(job.clients[CLIENT]) == "ClientChain(id=3, sessions=2)"
    assert identity_of(CLIENT).rounding_key.hex() not in repr(vars(job.clients[CLIENT])["_sessions"])
