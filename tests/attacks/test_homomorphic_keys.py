"""Whose key a round's is, and how often something is opened with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import ClientIdentity, RoundSpec
from securefed.crypto.aead import open_sealed, seal
from securefed.crypto.keystream import Words
from securefed.crypto.x25519 import PrivateKey
from securefed.he.keys import RoundKey, exchange_key
from securefed.he.stages import Stage
from securefed.wire.header import SERVER
from securefed.wire.homomorphic import Ciphertexts, CiphertextSum, ExchangeKey, SealedKey, SealedKeys
from tests.attacks.he_switches import (
    exchange_keys_unverified,
    half_the_cohort_may_be_summed,
    round_keys_outside_the_session,
    sealed_keys_outside_the_session,
    second_holder_unnoticed,
)
from tests.attacks.test_homomorphic import lanes_of, opened, victims_lanes
from tests.attacks.weaker import forgetful
from tests.he.rounds import HOLDER, SEMI_HONEST, VICTIM, Round, he_identity, he_spec, round_secret
from tests.rounds import COHORT, encoded, plain_sum, seed
from tests.rules import refused

PROTOCOL = " ".join((Path(__file__).parents[2] / "protocols/he_aggregation/README.md").read_text().split())
"""The normative text, in one line: what it says it does not cover is shown to be so."""
OTHERS = tuple(client for client in COHORT if client != VICTIM)
OTHERS_OF_HOLDER = tuple(client for client in COHORT if client != HOLDER)
SERVERS = PrivateKey(seed("the server's"))


def read_by(key: RoundKey, round_: Round, payload: bytes) -> Words:
    """What anybody who has a round's key reads of one client's ciphertext: its ring words."""
    adder = round_.server._cipher.adder()
    adder.add(payload)
    lanes = np.concatenate(list(round_.server._cipher.decrypt(key.secret, adder.total(), 1)))
    return round_.spec.numbers.lanes.pack(lanes[: round_.server._encoding.lanes_used])


def servers_entry(round_: Round, client: int) -> ExchangeKey:
    """A key of the server's in a client's name, with the client's own signature of another key."""
    return ExchangeKey(SERVERS.public, round_.entry(client).signature)


def keys_of_the_servers() -> tuple[Round, Words]:
    """The holder is shown a key of the server's in the name of 5, and seals the round's key to it."""
    round_ = Round().until(Stage.KEYS)
    reply = round_.ask(HOLDER, round_.exchange_keys({5: servers_entry(round_, 5)}))
    sealed = SealedKeys.decode(reply, round_.expected(HOLDER), OTHERS_OF_HOLDER).sealed[5]
    sealing = round_.context.sealing_key(SERVERS, round_.entry(HOLDER).public, HOLDER, 5, 3)
    header = SealedKeys.header(round_.expected(HOLDER), 3)
    key = RoundKey(open_sealed(sealing, sealed, header + (5).to_bytes(4, "big")), round_.context)
    round_.server.receive(HOLDER, reply)
    round_.server.advance()
    round_.requests[Stage.INPUT] = dict(round_.server.requests())
    round_.replies[Stage.INPUT][VICTIM] = round_.ask(VICTIM)
    return round_, read_by(key, round_, round_.payload(VICTIM))


@pytest.mark.rule("K5")
def test_an_exchange_key_of_the_servers() -> None:
    """Exchange keys are signed by keys that the holder has from elsewhere (K5)."""
    with refused("K5", peer=SERVER):
        keys_of_the_servers()


def test_succeeds_with_exchange_keys_unverified() -> None:
    """The server reads the round's key, and with it every update as it comes."""
    with exchange_keys_unverified():
        round_, words = keys_of_the_servers()
    assert words.tolist() == encoded(round_.spec, VICTIM).tolist()


def the_server_holds_the_key() -> tuple[Round, Words]:
    """The victim is told of a holder whose exchange key, and whose round key, are the server's own."""
    round_ = Round().until(Stage.INPUT)
    key = RoundKey(seed("the server's"), round_.context)
    mine = round_.context.sealing_key(SERVERS, round_.entry(VICTIM).public, HOLDER, VICTIM, 3)
    header = SealedKeys.header(round_.expected(HOLDER), 3)
    sealed = seal(mine, key.raw, header + VICTIM.to_bytes(4, "big"))
    message = SealedKey(HOLDER, 3, servers_entry(round_, HOLDER), key.id, sealed).encode(round_.expected())
    reply = round_.ask(VICTIM, message)
    payload = Ciphertexts.decode(reply, round_.expected(VICTIM), round_.server._cipher.payload_bytes).payload
    return round_, read_by(key, round_, bytes(payload))


@pytest.mark.rule("K5")
def test_a_round_key_of_the_servers() -> None:
    with refused("K5", peer=SERVER):
        the_server_holds_the_key()


def test_succeeds_for_a_round_key_with_exchange_keys_unverified() -> None:
    with exchange_keys_unverified():
        round_, words = the_server_holds_the_key()
    assert words.tolist() == encoded(round_.spec, VICTIM).tolist()


def two_stories(spec: RoundSpec) -> tuple[Round, Round]:
    """One session, of which a second server says that the first holder was lost: each story has its holder, and each
    holder has sealed a key to all others of it."""
    one, other = Round(spec), Round(spec)
    other.clients, other.identities = one.clients, one.identities
    one.until(Stage.KEYS)
    for client, reply in one.replies[Stage.ADVERTISE].items():
        if client != HOLDER:
            other.server.receive(client, reply)
    other.server.advance()
    for round_ in (one, other):
        round_.answer()
        round_.server.advance()
    assert (one.server.holder, other.server.holder) == (HOLDER, VICTIM)
    return one, other


def two_sums(one: Round, other: Round, of_one: tuple[int, ...], of_other: tuple[int, ...]) -> list[list[int]]:
    """Each client is told one story; each holder is asked for the sum of those who were told its own."""
    for round_, clients in ((one, of_one), (other, of_other)):
        round_.answer(absent=tuple(client for client in COHORT if client not in clients))
        # Whether they are enough is the holders' affair.
        round_.server._survivors, round_.server._stage = clients, Stage.OPEN
        message = CiphertextSum(clients, round_.server._sealed.key_id, round_.sum_of(*clients))
        round_.server._sum_message = message.encode(round_.expected(), round_.spec.cohort)
        round_.server._present.ask((round_.server.holder,))
        round_.requests[Stage.OPEN] = dict(round_.server.requests())
    sums = []
    for round_ in (one, other):
        round_.answer()
        round_.server.advance()
        sums.append(round_.server.aggregate.words.tolist())
    return sums


@pytest.mark.rule("H4")
def test_two_holders_of_two_halves() -> None:
    """Each sum is over L clients or more (H4), L is more than half of them, and each gives one input: there are never
    enough for two."""
    with refused("H4", peer=SERVER):
        two_sums(*two_stories(he_spec()), (2, 5), (3, 8))


@pytest.mark.rule("R4")
def test_two_holders_want_one_client_twice() -> None:
    """Two sets of L have a client in common: its second input is refused (R4; after a restart R10)."""
    with refused("R4", peer=SERVER):
        two_sums(*two_stories(he_spec()), (2, 5, 8), (3, 5, 8))


def test_succeeds_where_half_the_cohort_may_be_summed() -> None:
    with half_the_cohort_may_be_summed():
        spec = he_spec()
        sums = two_sums(*two_stories(spec), (2, 5), (3, 8))
    assert sums == [plain_sum(spec, (2, 5)), plain_sum(spec, (3, 8))]


@pytest.mark.rule("H8")
def test_a_holder_that_is_told_of_another() -> None:
    """Who sealed the round's key takes no other (H8)."""
    one, _ = two_stories(he_spec())
    with refused("H8", peer=SERVER):
        one.ask(VICTIM)


def test_succeeds_with_second_holder_unnoticed() -> None:
    """It gives its input under the other's key. In depth: of two sums there are still not enough clients for one."""
    one, _ = two_stories(he_spec())
    with second_holder_unnoticed():
        one.replies[Stage.INPUT][VICTIM] = one.ask(VICTIM)
    assert read_by(one.round_key(HOLDER), one, one.payload(VICTIM)).tolist() == encoded(one.spec, VICTIM).tolist()


def opened_twice(holder: ClientIdentity) -> np.ndarray:
    """The holder's process is killed after it has opened the sum, and taken up from the snapshot before. Gives the
    difference of what it opens: with the victim, and without."""
    round_ = Round()
    round_.identities[HOLDER] = holder
    round_.clients[HOLDER] = round_.new_client(HOLDER)
    round_.until(Stage.OPEN)
    older = round_.clients[HOLDER].snapshot()
    everyone = opened(round_, round_.requests[Stage.OPEN][HOLDER])
    round_.clients[HOLDER] = round_.scheme.resume_client(holder, older)
    without = opened(round_, round_.total(survivors=OTHERS, payload=round_.sum_of(*OTHERS)))
    return everyone - without & round_.spec.numbers.lanes.ring_mask


@pytest.mark.rule("R10")
def test_a_second_opening_over_a_restart() -> None:
    """The record holds the first, whatever snapshot the holder is started from (R10)."""
    with refused("R10"):
        opened_twice(he_identity(HOLDER))


def test_succeeds_with_forgetful_record_of_a_holder() -> None:
    difference = opened_twice(forgetful(he_identity(HOLDER)))
    assert difference.tolist() == encoded(he_spec(), VICTIM).tolist()


def last_rounds_ciphertexts() -> np.ndarray:
    """All clients' generators gave the same round secrets twice. This round's sum is opened; then, in the next round,
    that of last round's ciphertexts without the victim's."""
    last = Round().until(Stage.OPEN)
    everyone = opened(last, last.requests[Stage.OPEN][HOLDER])
    now = Round(he_spec(round=8, nonce=seed("now")))
    for client in COHORT:
        now.identities[client] = last.identities[client]
        now.clients[client] = now.new_client(client)
    now.until(Stage.OPEN)
    replayed = now.total(survivors=OTHERS, payload=last.sum_of(*OTHERS))
    return everyone - opened(now, replayed) & now.spec.numbers.lanes.ring_mask


@pytest.mark.rule("H5")
def test_ciphertexts_of_the_last_round() -> None:
    """The round's key, the polynomial and the tags are bound to the session, so even from one secret they are others:
    what was encrypted in another round opens to nothing that fits (H5)."""
    with refused("H5", peer=SERVER):
        last_rounds_ciphertexts()


@pytest.mark.rule("H2")
def test_ciphertexts_of_the_last_round_under_their_own_name() -> None:
    last, now = (Round(he_spec(round=number, nonce=seed(f"{number}"))).until(Stage.OPEN) for number in (7, 8))
    with refused("H2", peer=SERVER):
        opened(now, now.total(key_id=last.round_key().id, payload=last.sum_of(*COHORT)))


def test_succeeds_with_round_keys_outside_the_session() -> None:
    with round_keys_outside_the_session():
        difference = last_rounds_ciphertexts()
    assert difference.tolist() == encoded(he_spec(), VICTIM).tolist()


def last_rounds_key(spec: RoundSpec) -> tuple[bytes, bytes]:
    """The victim is given what was sealed to it in the last round, in a message of this one. The ids of the key that it
    encrypts under, and of the last round's."""
    last = Round(replace(spec, round=7, nonce=seed("last"))).until(Stage.INPUT)
    now = Round(replace(spec, round=8, nonce=seed("now"))).until(Stage.INPUT)
    old = SealedKey.decode(
        last.requests[Stage.INPUT][VICTIM], last.expected(), signed=spec.adversary.malicious
    )  # fmt: skip
    reply = now.ask(VICTIM, old.encode(now.expected()))
    size = now.server._cipher.payload_bytes
    return Ciphertexts.decode(reply, now.expected(VICTIM), size).key_id, last.round_key().id


@pytest.mark.rule("S4")
def test_the_sealed_key_of_the_last_round() -> None:
    """A server that follows the protocol would not: but were its store mixed up, the box does not open (S4)."""
    with refused("S4", peer=SERVER):
        last_rounds_key(he_spec(adversary=SEMI_HONEST))


@pytest.mark.rule("K5")
def test_the_sealed_key_of_the_last_round_and_its_holders_signature() -> None:
    with refused("K5", peer=SERVER):
        last_rounds_key(he_spec())


@pytest.mark.rule("R1")
def test_the_very_message_of_the_last_round() -> None:
    last = Round(he_spec(nonce=seed("last"))).until(Stage.INPUT)
    with refused("R1", peer=SERVER):
        Round().until(Stage.INPUT).ask(VICTIM, last.requests[Stage.INPUT][VICTIM])


def test_succeeds_with_sealed_keys_outside_the_session() -> None:
    """The victim encrypts under last round's key, which everyone of last round knows."""
    with sealed_keys_outside_the_session():
        used, last = last_rounds_key(he_spec())
    assert used == last


def test_succeeds_with_a_client_that_colludes() -> None:
    """Every client of a round knows its key: one that works with the server opens every update. The text says so, no
    round may state corrupt clients (H6), and where they cannot be excluded the answer is masks."""
    round_ = Round().until(Stage.INPUT)
    corrupt, session = 5, round_.spec.session
    request = SealedKey.decode(round_.requests[Stage.INPUT][corrupt], round_.expected(), signed=True)
    mine = exchange_key(round_secret(corrupt), session)
    sealing = round_.context.sealing_key(mine, request.entry.public, HOLDER, corrupt, request.recipients)
    header = SealedKeys.header(round_.expected(HOLDER), request.recipients) + corrupt.to_bytes(4, "big")
    key = RoundKey(open_sealed(sealing, request.sealed, header), round_.context)
    round_.answer()
    for client in COHORT:
        words = read_by(key, round_, round_.payload(client))
        assert lanes_of(round_, words).tolist() == victims_lanes(round_, client).tolist()
    assert "a client that works with the server opens every update of the round" in PROTOCOL.replace("**", "")
    assert "Where that cannot be excluded, use masks" in PROTOCOL
