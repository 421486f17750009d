"""Snapshots that are damaged, of another, or older than what was given since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from securefed.aggregation import Adversary
from securefed.crypto.hashing import DIGEST_BYTES, digest
from securefed.errors import PersistenceError
from securefed.federated.record import FileRecord
from securefed.he import HomomorphicScheme, bfv, bfv_2048
from securefed.he.client import HomomorphicClient
from securefed.he.stages import Stage
from securefed.wire.snapshot import Party, pack_snapshot, parse_snapshot
from tests.he.rounds import (
    HOLDER,
    MALICIOUS,
    VICTIM,
    Round,
    both_modes,
    he_identity,
    he_spec,
)
from tests.rounds import COHORT, LAYOUT, identities, seed
from tests.rules import refused
from tests.secagg.lies import flip

Resume = Callable[[bytes], object]


def parties(adversary: Adversary, scheme: HomomorphicScheme) -> list[tuple[bytes, Resume, Resume]]:
    """Snapshots of each kind of state, how they are taken up, and by whom they must not be."""
    round_, found = Round(he_spec(adversary=adversary), scheme=scheme), []
    known, spec = identities(COHORT), round_.spec
    another = he_spec(adversary=adversary, nonce=seed("another attempt"))

    def client(who: int) -> Resume:
        return lambda stored: scheme.resume_client(he_identity(who), stored)

    def server(spec: object) -> Resume:
        return lambda stored: scheme.resume_server(spec, LAYOUT, stored, known)

    while round_.server.stage is not Stage.DONE:
        found.append((round_.clients[HOLDER].snapshot(), client(HOLDER), client(VICTIM)))
        found.append((round_.clients[VICTIM].snapshot(), client(VICTIM), client(HOLDER)))
        found.append((round_.server.snapshot(), server(spec), server(another)))
        round_.answer()
        found.append((round_.server.snapshot(), server(spec), server(another)))
        round_.server.advance()
    found.append((round_.clients[VICTIM].snapshot(), client(VICTIM), client(HOLDER)))
    found.append((round_.server.snapshot(), server(spec), server(another)))
    return found


def resealed(stored: bytes) -> bytes:
    """With a digest that fits again."""
    return stored[:-DIGEST_BYTES] + digest(stored[:-DIGEST_BYTES])


def persistence(rule: str, resume: Resume, stored: bytes) -> None:
    with pytest.raises(PersistenceError) as caught:
        resume(stored)
    assert caught.value.rule == rule


@both_modes
def test_p1_damaged_and_truncated(adversary: Adversary) -> None:
    for stored, resume, _ in parties(adversary, bfv()):
        step = max(64, len(stored) // 8)
        cuts = [stored[:at] for at in range(0, len(stored), step)]
        flips = [flip(stored, at) for at in range(0, len(stored), step)]
        for bad in (*cuts, *flips, stored[:-1], stored + b"\0", flip(stored, -1), b"", b"\x80\x04pickle"):
            persistence("P1", resume, bad)
        assert resume(stored)


@both_modes
def test_p2_another_version(adversary: Adversary) -> None:
    for stored, resume, _ in parties(adversary, bfv()):
        for version in (0, 1, 2, 255):
            persistence("P2", resume, resealed(stored[:4] + bytes([version]) + stored[5:]))


@both_modes
def test_p3_of_another(adversary: Adversary) -> None:
    """Client, round, or party."""
    every = parties(adversary, bfv())
    for stored, _, other in every:
        persistence("P3", other, stored)
    persistence("P3", every[2][1], every[0][0])
    persistence("P3", every[0][1], every[2][0])


def test_of_another_scheme() -> None:
    """The suite is in every stored request and offer, so nothing of one is taken up by the other; a session that had
    not been offered anything is the same for both."""
    small = bfv_2048()

    def resume_as_small(stored: bytes) -> object:
        if Party(stored[5]) is Party.SERVER:
            return small.resume_server(he_spec(), LAYOUT, stored, identities(COHORT))
        return small.resume_client(he_identity(int.from_bytes(stored[20:24], "big")), stored)

    for stored, resume, _ in parties(MALICIOUS, bfv())[2:]:
        if b"he-closed" in stored:
            continue
        with pytest.raises(PersistenceError) as caught:
            resume_as_small(stored)
        assert caught.value.rule in ("P1", "P3")
        assert resume(stored)


@pytest.mark.parametrize("stage", [Stage.KEYS, Stage.INPUT])
def test_p3_a_client_that_is_not_the_same_any_more(stage: Stage) -> None:
    round_ = Round().until(stage)
    stored, was = round_.clients[VICTIM].snapshot(), round_.identities[VICTIM]
    stricter = replace(was, policy=replace(was.policy, least_cohort=5))
    with pytest.raises(PersistenceError, match="does not fit this client any more") as caught:
        round_.scheme.resume_client(stricter, stored)
    assert caught.value.rule == "P3"


SERVER_STATES = [
    ("an input without a key", Stage.INPUT, {4: b""}),
    ("a sum without a key", Stage.OPEN, {4: b""}),
    ("a holder of no id", Stage.INPUT, {3: (9).to_bytes(4, "big")}),
    ("no holder", Stage.INPUT, {3: b""}),
    ("no holder asked", Stage.KEYS, {3: b""}),
    ("half a holder", Stage.KEYS, {3: b"\0\0"}),
    ("survivors that gave no key", Stage.OPEN, {5: (9).to_bytes(4, "big")}),
    ("too few survivors", Stage.OPEN, {5: (2).to_bytes(4, "big")}),
    ("a sum of another length", Stage.OPEN, {7: bytes(8)}),
    ("no sum", Stage.OPEN, {7: b""}),
    ("a sum of inputs of another length", Stage.INPUT, {5: (2).to_bytes(4, "big"), 7: bytes(8)}),
    ("a stage that there is none", Stage.INPUT, {1: b"release"}),
    ("a stage that is no text", Stage.INPUT, {1: b"\xff"}),
    ("refused of no id", Stage.INPUT, {2: b"\0"}),
    ("a finished sum of nobody", Stage.DONE, {5: b""}),
    ("a finished sum that is none", Stage.DONE, {8: b"\xff" * 80}),
]


@pytest.mark.parametrize(
    ("stage", "changes"), [one[1:] for one in SERVER_STATES], ids=[one[0] for one in SERVER_STATES]
)
def test_a_server_that_does_not_hold_together(stage: Stage, changes: dict[int, bytes]) -> None:
    round_ = Round().until(stage)
    sections = [bytes(one) for one in parse_snapshot(Party.SERVER, round_.server.snapshot())]
    stored = pack_snapshot(Party.SERVER, [changes.get(at, one) for at, one in enumerate(sections)])
    persistence(
        "P1", lambda raw: round_.scheme.resume_server(round_.spec, LAYOUT, raw, identities(COHORT)), stored
    )  # fmt: skip


@pytest.mark.rule("R10")
@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.KEYS, Stage.INPUT])
@pytest.mark.parametrize("client", [HOLDER, VICTIM])
def test_r10_no_second_input_from_an_older_snapshot(client: int, stage: Stage, tmp_path: Path) -> None:
    """Taken up from what was stored before the input, with the record as it is after it."""
    round_ = Round()
    round_.identities[client] = replace(round_.identities[client], record=FileRecord(tmp_path / "record"))
    round_.clients[client] = round_.new_client(client)
    older = round_.until(stage).clients[client].snapshot()
    round_.until(Stage.OPEN)
    identity = replace(round_.identities[client], record=FileRecord(tmp_path / "record"))
    if stage is Stage.ADVERTISE:
        # Nothing was offered to it yet: the round itself is refused (R11).
        again = round_.scheme.resume_client(identity, older)
        with refused("R11"):
            again.reply(round_.requests[Stage.ADVERTISE][client], lambda: pytest.fail("trained"))
        return
    with refused("R10"):
        round_.scheme.resume_client(identity, older)


@pytest.mark.rule("R10")
@pytest.mark.parametrize("gave_input", [True, False])
def test_r10_no_second_opening_from_an_older_snapshot(gave_input: bool, tmp_path: Path) -> None:
    round_ = Round()
    round_.identities[HOLDER] = replace(round_.identities[HOLDER], record=FileRecord(tmp_path / "record"))
    round_.clients[HOLDER] = round_.new_client(HOLDER)
    round_.until(Stage.INPUT).answer(absent=() if gave_input else (HOLDER,))
    round_.server.advance()
    round_.requests.setdefault(Stage.OPEN, {}).update(round_.server.requests())
    older = round_.clients[HOLDER].snapshot()
    round_.ask(HOLDER)
    identity = replace(round_.identities[HOLDER], record=FileRecord(tmp_path / "record"))
    again = round_.scheme.resume_client(identity, older)
    assert isinstance(again, HomomorphicClient)
    other = round_.total(survivors=(3, 5, 8), payload=round_.sum_of(3, 5, 8))
    with refused("R10"):
        again.reply(other, lambda: pytest.fail("trained"))
    with refused("R5"):
        again.reply(other, lambda: pytest.fail("trained"))


def test_a_holder_that_is_started_again_seals_the_same_key() -> None:
    """From a snapshot before its answer: the very same bytes, so nothing is sealed twice under one key."""
    round_ = Round().until(Stage.KEYS)
    older = round_.clients[HOLDER].snapshot()
    first = round_.ask(HOLDER)
    again = round_.scheme.resume_client(round_.identities[HOLDER], older)
    assert again.reply(round_.requests[Stage.KEYS][HOLDER], lambda: pytest.fail("trained")) == first


def test_a_holder_that_is_rolled_back_and_shown_another_list() -> None:
    """The same number of recipients: the same key is sealed to the same ones, byte for byte; another number: under
    other keys, in which the number is."""
    round_ = Round().until(Stage.KEYS)
    older = round_.clients[HOLDER].snapshot()
    messages = []
    for left_out in (None, 5, 8):
        changes = {} if left_out is None else {left_out: None}
        client = round_.scheme.resume_client(round_.identities[HOLDER], older)
        messages.append(client.reply(round_.exchange_keys(changes), lambda: pytest.fail("trained")))
    all_, without_5, without_8 = messages
    to_3 = [all_[96 + 12 :][:48], without_5[96 + 8 :][:48], without_8[96 + 8 :][:48]]
    assert to_3[1] == to_3[2]
    assert to_3[0] != to_3[1]
    assert all_[64:96] == without_5[64:96] == without_8[64:96]
