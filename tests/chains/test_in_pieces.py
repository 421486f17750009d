"""Inputs as large as a language model's: neither side of a chain holds one whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from securefed.aggregation import Adversary
from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import RemoteProtocolError
from securefed.secagg.stages import Stage
from securefed.wire.bundle import is_bundle
from tests.chains.jobs import Job
from tests.rounds import COHORT, MALICIOUS
from tests.rules import refused
from tests.secagg.modes import both_modes

CLIENT = 3
LARGE = Layout((TensorSpec("weight", (8_000_000,)),), ())
"""Of which an input has eighteen megabytes."""


def cut(message: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(message), size):
        yield message[at : at + size]


@both_modes
@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_all_answers_in_pieces(adversary: Adversary, size: int) -> None:
    job = Job(adversary)
    for number, exchanges in ((1, 5), (2, 3), (3, 3)):
        job.begin(number)
        done = 0
        while job.server.aggregate is None:
            done += 1
            for client, request in job.server.requests().items():
                answer = b"".join(job.clients[client].reply_in_pieces(request, job.update(client)))
                job.server.receive_in_pieces(client, cut(answer, size))
            job.server.advance()
        job.check_sum()
        assert done == exchanges - (not adversary.malicious)


def test_an_input_is_never_whole() -> None:
    """At the client one piece of it, at the server its ring words and the sum: the message itself nowhere."""
    job = Job(MALICIOUS, layout=LARGE)
    job.begin(1)
    job.until(Stage.INPUT)
    requests = dict(job.server.requests())
    first, last = COHORT[0], COHORT[-1]
    updates = {client: job.update(client)() for client in (first, last)}
    assert is_bundle(requests[first])
    made, sent = peak_of(
        lambda: sum(map(len, job.clients[first].reply_in_pieces(requests[first], lambda: updates[first])))
    )
    assert sent > 18_000_000
    assert made < sent / 2
    pieces = job.clients[last].reply_in_pieces(requests[last], lambda: updates[last])
    taken, _ = peak_of(lambda: job.server.receive_in_pieces(last, pieces))
    words = 8 * job.server.spec.words
    assert taken < words + 3 * sent / 4


def peak_of(run: Callable[[], Any]) -> tuple[int, Any]:
    """Bytes that were in use at most, and what came of it."""
    tracemalloc.start()
    try:
        result = run()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_a_connection_that_breaks_is_no_answer() -> None:
    """Neither of the input nor of its rider: who comes again is heard."""
    job = Job()
    job.begin(1)
    job.until(Stage.INPUT)
    before = job.server.snapshot()
    answers = {client: job.ask(client, request) for client, request in job.server.requests().items()}

    def broken() -> Iterator[bytes]:
        yield answers[CLIENT][:-5]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        job.server.receive_in_pieces(CLIENT, broken())
    assert job.server.snapshot() == before
    for client, answer in answers.items():
        job.server.receive_in_pieces(client, [answer])
    job.server.advance()
    assert job.finish() == 2
    assert job.round(2) == 3


@pytest.mark.rule("W8")
@pytest.mark.parametrize("size", [1, 64, 10_000, None])
def test_w8_a_main_message_that_is_too_long(size: int | None) -> None:
    """Its rider was good, and counts for nothing."""
    job = Job()
    job.begin(1)
    job.until(Stage.INPUT)
    answer = job.ask(CLIENT, job.server.requests()[CLIENT])
    before = job.server._next[1].snapshot()
    with refused("W8", peer=CLIENT):
        if size is None:
            job.server.receive(CLIENT, answer + b"\0")
        else:
            job.server.receive_in_pieces(CLIENT, cut(answer + b"\0", size))
    assert job.server._next[1].snapshot() == before


def test_nothing_is_trained_before_the_first_piece_is_asked_for() -> None:
    job = Job()
    job.begin(1)
    job.until(Stage.INPUT)
    request = job.server.requests()[CLIENT]
    pieces = job.clients[CLIENT].reply_in_pieces(request, job.update(CLIENT))
    assert not job.trained
    next(pieces)
    assert job.trained == [(CLIENT, 1)]
    assert job.identities[CLIENT].record.last_round == 1
    pieces.close()
    with pytest.raises(RemoteProtocolError):
        job.ask(CLIENT, request)
