"""Messages out of their place: replayed, reordered, of another round, session, sender or recipient."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from securefed.aggregation import Adversary
from securefed.errors import RoundAborted
from securefed.secagg.stages import STAGES, Stage
from securefed.wire.header import SERVER
from tests.attacks.knowledge import SELF_MASK, VICTIM
from tests.attacks.server import MaliciousServer
from tests.attacks.switches import headers_unchecked, second_answers_count
from tests.rounds import COHORT, Round, encoded, seed, spec_of
from tests.rules import case, refused

ANOTHER = seed("another session")


def with_field(at: int, value: bytes) -> Callable[[bytes], bytes]:
    """The message with some bytes of its header changed."""
    return lambda message: message[:at] + value + message[at + len(value) :]


FIELDS = [
    case("R1", "session", with_field(8, ANOTHER)),
    case("R2", "round", with_field(40, (6).to_bytes(4, "big"))),
    case("W12", "sender", with_field(44, (5).to_bytes(4, "big"))),
    case("W5", "suite", with_field(6, bytes(2))),
]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("rule", "change"), FIELDS)
def test_every_message_to_a_client_is_of_its_place(rule: str, stage: Stage, change: Callable[[bytes], bytes]) -> None:
    """Each message names suite, session, round and sender, and a client holds it to what was agreed."""
    round_ = Round().until(stage)
    with refused(rule, peer=SERVER):
        round_.ask(VICTIM, change(round_.requests[stage][VICTIM]))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("rule", "change"), FIELDS)
def test_every_message_to_the_server_is_of_its_place(rule: str, stage: Stage, change: Callable[[bytes], bytes]) -> None:
    """Likewise the server what a client sends; the round goes on without it."""
    round_ = Round().until(stage)
    reply = round_.ask(VICTIM)
    with refused(rule, peer=VICTIM):
        round_.server.receive(VICTIM, change(reply))


@pytest.mark.rule("R1")
@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_replay_from_another_session(stage: Stage) -> None:
    """The very message of the same stage of an earlier attempt at the same round, in both directions (R1)."""
    earlier, now = Round(spec_of(nonce=seed("earlier"))).until(Stage.DONE), Round().until(stage)
    with refused("R1", peer=SERVER):
        now.ask(VICTIM, earlier.requests[stage][VICTIM])
    with refused("R1", peer=2):
        now.server.receive(2, earlier.replies[stage][2])


@pytest.mark.parametrize(
    ("rule", "stage", "sent"),
    [case("R4", f"{sent} in {stage}", stage, sent) for stage, sent in permutations(STAGES, 2)],
)
def test_a_message_of_another_stage(rule: str, stage: Stage, sent: Stage) -> None:
    """Reordered, repeated or early, in both directions: one type is expected at a time (R4)."""
    whole, now = Round().until(Stage.DONE), Round().until(stage)
    with refused(rule, peer=SERVER):
        now.ask(VICTIM, whole.requests[sent][VICTIM])
    with refused(rule, peer=2):
        now.server.receive(2, whole.replies[sent][2])


@pytest.mark.rule("R3")
@pytest.mark.parametrize("stage", STAGES)
def test_an_answer_twice(stage: Stage) -> None:
    """A replayed input would count twice: the second answer of a stage is refused (R3), and late ones are (R6)."""
    round_ = Round().until(stage)
    round_.answer()
    with refused("R3", peer=VICTIM):
        round_.server.receive(VICTIM, round_.replies[stage][VICTIM])
    round_.server.advance()
    if stage is Stage.RELEASE:
        assert round_.server.aggregate is not None
    else:
        with refused("R4", peer=VICTIM):
            round_.server.receive(VICTIM, round_.replies[stage][VICTIM])


def test_succeeds_with_second_answers_count() -> None:
    """Who replays one input of an honest client has spoilt the round of all."""
    round_ = Round().until(Stage.INPUT)
    round_.answer()
    with second_answers_count():
        round_.server.receive(VICTIM, round_.replies[Stage.INPUT][VICTIM])
    round_.server.advance()
    with pytest.raises(RoundAborted, match=r"\[V11\]"):
        round_.until(Stage.DONE)


@pytest.mark.rule("W10")
def test_another_clients_delivery() -> None:
    """What was sealed for 2 is delivered to the victim: its own share is among it (W10)."""
    round_ = Round().until(Stage.INPUT)
    with refused("W10", peer=SERVER):
        round_.ask(VICTIM, round_.requests[Stage.INPUT][2])


@pytest.mark.rule("S4")
def test_a_sealed_share_for_another_recipient() -> None:
    """The box of 2 for 5 goes to the victim as one for it: recipient and message are in what is sealed.

    It does not open (S4) and is not held; nothing of 2 is released by the victim, and the round goes on.
    """
    server = MaliciousServer().until_shares()
    server.shares[2].sealed[VICTIM] = server.shares[2].sealed[5]
    for client in COHORT:
        server.deliver(client)
    server.close_round(COHORT)
    assert server.opened[2, SELF_MASK].keys() == {2, 5, 8}
    assert server.opened[5, SELF_MASK].keys() == set(COHORT)
    assert server.self_mask_seed(2) is not None


def survivors_of_before() -> MaliciousServer:
    """A replaying network with two corrupt clients, beside a server that follows the protocol.

    In the round before, 5 had dropped out. The old message makes an honest client release its share of 5's mask key,
    while 5 itself, which is in the sum, releases its share of its self-mask.
    """
    follows = Adversary("semi-honest", corrupt=0.499, dropouts=0.25)
    before = MaliciousServer(spec_of(round=6, nonce=seed("before"), adversary=follows))
    now = MaliciousServer(spec_of(adversary=follows), corrupt=[2, 8]).until_inputs()
    now.plot()
    now.ask_release(5, COHORT)
    now.take_release(3, now.ask(3, before.survivors((2, 3, 8))), (2, 3, 8))
    return now


@pytest.mark.rule("R1")
def test_the_survivors_of_another_round() -> None:
    """Session and round are in every header (R1, R2), as they are in every key."""
    with refused("R1", peer=SERVER):
        survivors_of_before()


def test_succeeds_with_headers_unchecked() -> None:
    with headers_unchecked():
        server = survivors_of_before()
    assert server.recover(5).tolist() == encoded(server.spec, 5).tolist()
