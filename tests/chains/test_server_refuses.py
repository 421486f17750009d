"""What a hostile client may send to a server's chain: rules, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.errors import RemoteProtocolError
from securefed.wire.bundle import pack_bundle
from tests.chains.jobs import at_input, parts
from tests.rounds import COHORT, SEMI_HONEST
from tests.rules import case, refused

CLIENT = 3


@pytest.mark.parametrize("in_pieces", [False, True])
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
def test_w16_to_a_server(rule: str, change: Callable[[bytes], bytes], in_pieces: bool) -> None:
    """Like any bad answer: its sender is listened to no more, and nobody else is touched."""
    job, request = at_input()
    answer = job.ask(CLIENT, request)

    def receive(raw: bytes) -> None:
        if in_pieces:
            job.server.receive_in_pieces(CLIENT, [raw[:10], raw[10:]])
        else:
            job.server.receive(CLIENT, raw)

    with refused(rule, peer=CLIENT):
        receive(change(answer))
    with refused("R5", peer=CLIENT):
        receive(change(answer))
    with refused("R5", peer=CLIENT):
        receive(answer)
    job.ask_all((CLIENT,))
    job.server.advance()
    job.finish()
    job.check_sum((2, 5, 8))


@pytest.mark.rule("R3")
@pytest.mark.rule("R6")
@pytest.mark.parametrize("in_pieces", [False, True])
def test_r3_and_r6_come_before_w16(in_pieces: bool) -> None:
    job, request = at_input()
    answer = job.ask(CLIENT, request)
    job.server.receive(CLIENT, answer)
    for client, rule in ((CLIENT, "R3"), (99, "R6")):
        with refused(rule, peer=client):
            if in_pieces:
                job.server.receive_in_pieces(client, [answer[:15]])
            else:
                job.server.receive(client, answer[:15])
    job.ask_all((CLIENT,))
    job.server.advance()
    assert job.finish() == 2
    job.check_sum()


def test_a_second_rider_does_not_replace_the_first() -> None:
    """The second answer is refused as a whole (R3); the next round stands."""
    job, _ = at_input(1)
    answers = {client: job.ask(client, request) for client, request in job.server.requests().items()}
    for client, answer in answers.items():
        job.server.receive(client, answer)
        with refused("R3", peer=client):
            job.server.receive(client, pack_bundle(b"garbage", parts(answer)[1]))
    job.server.advance()
    job.finish()
    assert job.round(2) == 3


def test_an_answer_of_the_next_round_alone() -> None:
    """A rider that comes as a message of its own is one of another session."""
    job, _ = at_input()
    rider, _ = parts(job.ask(CLIENT, job.server.requests()[CLIENT]))
    with refused("R1", peer=CLIENT):
        job.server.receive(CLIENT, rider)


@given(data=st.data())
def test_any_bytes_to_a_server(data: st.DataObject) -> None:
    """Nothing, or RemoteProtocolError of the sender; whole and in pieces the same, and the others' sum comes out."""
    job = at_input(1, SEMI_HONEST)[0]
    answer = job.ask(CLIENT, job.server.requests()[CLIENT])
    at = data.draw(st.integers(0, len(answer)))
    message = answer[:at] + data.draw(st.binary(max_size=8)) + answer[at + data.draw(st.integers(0, 8)) :]
    size = data.draw(st.integers(1, 300))
    stored = job.server.snapshot()
    outcomes = []
    for in_pieces in (False, True):
        other = type(job.server).resume(job.scheme, [job.layout], stored)
        try:
            if in_pieces:
                other.receive_in_pieces(CLIENT, [message[i : i + size] for i in range(0, len(message), size)])
            else:
                other.receive(CLIENT, message)
        except RemoteProtocolError as error:
            outcomes.append((error.rule, error.peer))
        else:
            outcomes.append(("taken", CLIENT))
        outcomes.append(other.snapshot())
    assert outcomes[:2] == outcomes[2:]
    assert outcomes[0][1] == CLIENT
    job.server = other
    job.ask_all((CLIENT,))
    job.server.advance()
    survivors = COHORT if outcomes[0][0] == "taken" else (2, 5, 8)
    job.ask_all((CLIENT,))
    job.server.advance()
    assert job.aggregate().survivors == survivors
