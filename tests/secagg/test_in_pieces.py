"""Inputs that are never whole in memory: the same bytes, the same rules, no second chance for who stops half-way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from securefed.aggregation import Adversary, Update
from securefed.secagg.stages import Stage
from securefed.wire.header import HEADER_BYTES, SERVER
from tests.rounds import COHORT, MALICIOUS, Round, plain_sum, spec_of, update_of
from tests.rules import case, refused
from tests.secagg.lies import VICTIM, flip
from tests.secagg.modes import both_modes, every_stage
from tests.secagg.sparse import SMALL, Sparse

LIAR = 5


def cut(message: bytes, size: int) -> Iterator[bytes]:
    """In pieces of so many bytes, of which none is a multiple of a word or a header."""
    for at in range(0, len(message), size):
        yield message[at : at + size]


@both_modes
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_round_in_pieces_is_the_same_round(adversary: Adversary, size: int) -> None:
    """Every message of it, made and taken piece by piece."""
    whole, round_ = (Round(spec_of(adversary=adversary)) for _ in range(2))
    whole.until(Stage.DONE)
    while round_.server.stage is not Stage.DONE:
        stage = round_.server.stage
        for client, request in round_.server.requests().items():
            made = round_.clients[client].reply_in_pieces(request, lambda client=client: update_of(client))
            reply = b"".join(made)
            assert reply == whole.replies[stage][client]
            round_.server.receive_in_pieces(client, cut(reply, size))
        round_.server.advance()
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.words is not None
    assert round_.server.aggregate.words.tolist() == plain_sum(round_.spec, COHORT)
    assert round_.server.snapshot() == whole.server.snapshot()


def test_attested_inputs_in_pieces() -> None:
    whole, round_ = (Sparse(28, SMALL).until(Stage.INPUT) for _ in range(2))
    whole.play()
    for client, reply in whole.replies[Stage.INPUT].items():
        made = round_.clients[client].reply_in_pieces(
            round_.requests[Stage.INPUT][client], lambda client=client: update_of(client)
        )  # fmt: skip
        assert b"".join(made) == reply
        round_.server.receive_in_pieces(client, cut(reply, 100))
    round_.server.advance()
    assert round_.server.snapshot() == whole.server.snapshot()


@pytest.mark.rule("R5")
@pytest.mark.parametrize("taken", [1, 2])
def test_r5_who_stops_half_way_has_left(taken: int) -> None:
    """The record holds the input from the first piece on: no second mask, neither here nor after a restart."""
    round_ = Round().until(Stage.INPUT)
    request, client = round_.requests[Stage.INPUT][VICTIM], round_.clients[VICTIM]
    pieces = client.reply_in_pieces(request, lambda: update_of(VICTIM))
    for _ in range(taken):
        assert next(pieces)
    del pieces
    assert client._identity.record.last_round == round_.spec.round
    stored = client.snapshot()
    for session in (client, type(client).resume(client._identity, stored)):
        with refused("R5", peer=SERVER):
            session.reply(request, lambda: update_of(VICTIM))


def test_nothing_is_trained_before_the_first_piece_is_asked_for() -> None:
    round_ = Round().until(Stage.INPUT)
    asked: list[int] = []

    def update() -> Update:
        asked.append(1)
        return update_of(VICTIM)

    pieces = round_.clients[VICTIM].reply_in_pieces(round_.requests[Stage.INPUT][VICTIM], update)
    assert not asked
    next(pieces)
    assert asked == [1]


SHORT = [
    case("W1", "nothing", lambda m: b""),
    case("W1", "half a header", lambda m: m[:40]),
    case("W8", "cut after the header", lambda m: m[:HEADER_BYTES]),
    case("W8", "cut in the attestation", lambda m: m[: HEADER_BYTES + 10]),
    case("W8", "a false attestation before too few words", lambda m: flip(m, HEADER_BYTES)[:-1]),
]
LIES = [
    case("W8", "a byte less", lambda m: m[:-1]),
    case("W8", "a byte more", lambda m: m + b"\0"),
    case("W13", "a word outside the ring", lambda m: m[:-1] + b"\xff"),
    case("R1", "of another session", lambda m: flip(m, 8)),
    case("R2", "of another round", lambda m: flip(m, 43)),
    case("W12", "in the server's name", lambda m: m[:44] + bytes(4) + m[48:]),
    case("W11", "a word less, and said so", lambda m: flip(m, 55)[:-8]),
    case("G4", "a false attestation", lambda m: flip(m, HEADER_BYTES + 5)),
]


@pytest.mark.parametrize(("rule", "change"), LIES)
@pytest.mark.parametrize("size", [1, 64, 10**6], ids=["bytes", "64", "one piece"])
def test_what_is_refused_whole_is_refused_in_pieces(rule: str, change: Callable[[bytes], bytes], size: int) -> None:
    """By the same rule; the sum is what it was, and the liar has dropped out."""
    refuse(rule, change, size)


@pytest.mark.parametrize(("rule", "change"), SHORT)
def test_the_length_is_checked_first(rule: str, change: Callable[[bytes], bytes]) -> None:
    refuse(rule, change, 64)


def refuse(rule: str, change: Callable[[bytes], bytes], size: int) -> None:
    for pieces in (False, True):
        round_ = Sparse(28, SMALL).until(Stage.INPUT)
        round_.server.receive(2, round_.ask(2))
        before, false = round_.server.snapshot(), change(round_.ask(LIAR))
        with refused(rule, peer=LIAR):
            if pieces:
                round_.server.receive_in_pieces(LIAR, cut(false, size))
            else:
                round_.server.receive(LIAR, false)
        with refused("R5", peer=LIAR):
            round_.server.receive_in_pieces(LIAR, cut(false, size))
        after = round_.server.snapshot()
        # But for the list of those that were refused, and the digest.
        assert len(after) == len(before) + 4


@pytest.mark.rule("R3")
@pytest.mark.rule("R6")
@every_stage
def test_attendance_in_pieces(adversary: Adversary, stage: Stage) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(stage)
    round_.server.receive_in_pieces(2, cut(reply := round_.ask(2), 50))
    with refused("R3", peer=2):
        round_.server.receive_in_pieces(2, cut(reply, 50))
    with refused("R6", peer=9):
        round_.server.receive_in_pieces(9, cut(reply, 50))


def test_a_connection_that_breaks_is_no_answer() -> None:
    """Nothing is added, and the client may still give the same bytes: that is the transport's affair, not a lie."""
    round_ = Round(spec_of(adversary=MALICIOUS)).until(Stage.INPUT)
    reply = round_.ask(LIAR)

    def broken() -> Iterator[bytes]:
        yield reply[: len(reply) // 2]
        raise ConnectionResetError

    before = round_.server.snapshot()
    with pytest.raises(ConnectionResetError):
        round_.server.receive_in_pieces(LIAR, broken())
    assert round_.server.snapshot() == before
    round_.server.receive_in_pieces(LIAR, cut(reply, 50))
    round_.play(absent=(LIAR,))
    round_.until(Stage.DONE)
    assert round_.server.aggregate is not None
    assert round_.server.aggregate.survivors == COHORT
