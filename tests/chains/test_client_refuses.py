"""What a hostile server may send to a client's chain: rules, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.aggregation import Adversary, Update
from securefed.errors import LocalProtocolError, RemoteProtocolError
from securefed.secagg.stages import SUITE, Stage
from securefed.wire.bundle import pack_bundle
from securefed.wire.from_server import Offer
from securefed.wire.header import HEADER_BYTES, SERVER
from tests.chains.jobs import Job, at_input, kinds_in, parts
from tests.rounds import SEMI_HONEST
from tests.rules import case, refused
from tests.secagg.modes import both_modes

CLIENT = 3


def none() -> Update:
    raise AssertionError("nothing is trained for a request that is refused")


def offer(job: Job, number: int, model: bytes | None = None, **changes: Any) -> bytes:
    """Of a session of its own each time."""
    return Offer(job.plan(number, **changes).specification(model)).encode(SUITE)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        case("W16", "cut in its header", lambda raw: raw[:15]),
        case("W16", "without its main message", lambda raw: raw[: 16 + len(parts(raw)[0])]),
        case("W16", "another version", lambda raw: raw[:4] + b"\2" + raw[5:]),
        case("W16", "a reserved byte", lambda raw: raw[:7] + b"\1" + raw[8:]),
        case("W16", "a rider without end", lambda raw: raw[:8] + b"\xff" * 8 + raw[16:]),
    ],
)
def test_w16_to_a_client(rule: str, change: Callable[[bytes], bytes]) -> None:
    """Before either part is looked at: no session has heard of it."""
    job, request = at_input()
    before = job.clients[CLIENT].snapshot()
    with refused(rule, peer=SERVER):
        job.clients[CLIENT].reply(change(request), none)
    assert job.clients[CLIENT].snapshot() == before
    assert job.ask(CLIENT, request)


@pytest.mark.rule("R1")
def test_r1_a_session_that_is_not_known() -> None:
    job, other = at_input()[0], at_input()[0]
    _, foreign = parts(other.server.requests()[CLIENT])
    with refused("R1", peer=SERVER):
        job.clients[CLIENT].reply(foreign, none)
    rider, main = parts(job.server.requests()[CLIENT])
    with refused("R1", peer=SERVER):
        job.clients[CLIENT].reply(pack_bundle(rider, foreign), none)
    assert job.ask(CLIENT, main)


@pytest.mark.rule("R1")
def test_a_rider_of_a_session_that_is_not_known() -> None:
    """A roster without its offer: its place stays empty, the present round goes on."""
    job = Job()
    job.begin(1)
    job.until(Stage.RELEASE)
    request = job.server.requests()[CLIENT]
    other = Job()
    other.begin(1)
    other.until(Stage.RELEASE)
    foreign, _ = parts(other.server.requests()[CLIENT])
    answer = job.ask(CLIENT, pack_bundle(foreign, parts(request)[1]))
    assert kinds_in(answer)[0] is None
    job.server.receive(CLIENT, answer)


@pytest.mark.parametrize("rider", [b"", b"SFED", os.urandom(200), pack_bundle(b"", b"x")], ids=len)
def test_a_rider_that_is_no_message(rider: bytes) -> None:
    job, request = at_input()
    assert kinds_in(job.ask(CLIENT, pack_bundle(rider, parts(request)[1])))[0] is None


@pytest.mark.rule("W2")
def test_w2_a_bundle_in_a_bundle() -> None:
    job, request = at_input()
    rider, _ = parts(request)
    with refused("W2", peer=SERVER):
        job.clients[CLIENT].reply(pack_bundle(rider, request), none)


@both_modes
def test_a_rider_gets_no_update(adversary: Adversary) -> None:
    """A delivery in the rider's place: nothing is trained, nothing written down, the session is over."""
    job, request = at_input(adversary=adversary)
    _, delivery = parts(request)
    before = list(job.trained)
    answer = job.ask(CLIENT, pack_bundle(delivery, offer(job, 3)))
    assert kinds_in(answer)[0] is None
    assert job.trained == before
    assert job.identities[CLIENT].record.last_round == 1
    with refused("R5", peer=SERVER):
        job.ask(CLIENT, delivery)


@both_modes
def test_one_session_in_both_places(adversary: Adversary) -> None:
    """Two messages of one session are two messages: the second meets the state after the first."""
    job, request = at_input(adversary=adversary)
    _, delivery = parts(request)
    job.ask(CLIENT, delivery)
    with refused("R4", peer=SERVER):
        job.ask(CLIENT, pack_bundle(offer(job, 3), delivery))


@both_modes
def test_a_server_that_offers_many_sessions(adversary: Adversary) -> None:
    """Two are kept; with the third the oldest goes, and its secrets with it."""
    job = Job(adversary)
    sizes, requests = [], [offer(job, number) for number in range(1, 40)]
    for request in requests:
        job.ask(CLIENT, request)
        sizes.append(len(job.clients[CLIENT].snapshot()))
    assert max(sizes) == sizes[1]
    kept = job.clients[CLIENT].snapshot()
    for at, request in enumerate(requests):
        assert (request[HEADER_BYTES:] in kept) == (at >= len(requests) - 2)
    assert "sessions=2" in repr(job.clients[CLIENT])


def test_a_server_that_lets_riders_push_out_its_own_round() -> None:
    """It loses the client for the present round, and nothing else happens."""
    job, request = at_input()
    rider, main = parts(request)
    job.ask(CLIENT, offer(job, 5))
    with refused("R1", peer=SERVER):
        job.ask(CLIENT, pack_bundle(rider, main))
    assert job.identities[CLIENT].record.last_round == 1


@pytest.mark.rule("R11")
def test_r11_two_prepared_sessions_of_one_round() -> None:
    """One of them gets an input. The other is given up with it; what is kept beside it is of later rounds alone."""
    job = Job()
    job.round(1)
    job.begin(2)
    job.until(Stage.INPUT)
    later = offer(job, 2)
    job.ask(CLIENT, later)
    session = later[8:40]
    assert session in job.clients[CLIENT].snapshot()
    _, main = parts(job.server.requests()[CLIENT])
    job.ask(CLIENT, main)
    assert session not in job.clients[CLIENT].snapshot()
    with refused("R11", peer=SERVER):
        job.ask(CLIENT, offer(job, 2))


def test_what_stays_of_earlier_rounds_goes_with_an_input() -> None:
    """A client that was lost after its input holds shares of others: no longer than until its next input."""
    job = Job()
    job.begin(1, following=False)
    job.until(Stage.CONSENT)
    held = job.server.spec.session
    job.ask_all((CLIENT,))
    job.server.advance()
    job.finish()
    assert held in job.clients[CLIENT].snapshot()
    job.begin(2, following=False)
    job.until(Stage.INPUT)
    assert held in job.clients[CLIENT].snapshot()
    job.ask_all()
    assert held not in job.clients[CLIENT].snapshot()


@given(data=st.data())
def test_any_bytes_to_a_client(data: st.DataObject) -> None:
    """An answer, or one of two errors; no update for what rides."""
    job, request = at_input(1, SEMI_HONEST)
    rider, main = parts(request)
    some = st.sampled_from([b"", rider, main, request, offer(job, 7), offer(job, 1)]) | st.binary(max_size=100)

    def changed(raw: bytes) -> bytes:
        at = data.draw(st.integers(0, len(raw)))
        return raw[:at] + data.draw(st.binary(max_size=8)) + raw[at + data.draw(st.integers(0, 8)) :]

    for _ in range(data.draw(st.integers(1, 4))):
        message = data.draw(some)
        if data.draw(st.booleans()):
            message = pack_bundle(data.draw(some), message)
        if data.draw(st.booleans()):
            message = changed(message)
        try:
            answer = job.ask(CLIENT, message)
        except (RemoteProtocolError, LocalProtocolError) as error:
            blamed = getattr(error, "peer", SERVER)
        else:
            blamed = SERVER if kinds_in(answer) else CLIENT
        assert blamed == SERVER
    assert job.trained.count((CLIENT, 1)) <= 2
