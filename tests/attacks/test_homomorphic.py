"""A server that gives the key holder something else than the sum that it says it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.crypto.keystream import Words
from securefed.encoding.lanes import pack_bits, packed_length, unpack_bits
from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import RemoteProtocolError
from securefed.he import HomomorphicScheme, ckks
from securefed.he.keys import RoundKey
from securefed.he.opening import NOT_THE_SUM
from securefed.he.stages import Stage
from securefed.wire.header import SERVER
from securefed.wire.homomorphic import Ciphertexts, Opened
from tests.attacks.he_switches import bounds_spoken_of, tags_unchecked
from tests.he.rounds import HOLDER, SCHEMES, VICTIM, Round, approximate_schemes, both_schemes, everyone, he_spec
from tests.rounds import COHORT, encoded, plain_sum, seed
from tests.rules import refused
from tests.tenseal import needs_tenseal

Lie = Callable[[Round], bytes]


def opened(round_: Round, message: bytes) -> Words:
    """What the holder answers: ring words."""
    answer = round_.ask(HOLDER, message)
    bits = round_.spec.numbers.lanes.ring_bits
    packed = Opened.decode(answer, round_.expected(HOLDER), packed_length(round_.spec.words, bits)).words
    return unpack_bits(packed, round_.spec.words, bits)


def lanes_of(round_: Round, words: Words) -> Words:
    return round_.spec.numbers.lanes.unpack(np.asarray(words, "<u8"))[: round_.server._encoding.lanes_used]


def victims_lanes(round_: Round, client: int = VICTIM) -> Words:
    return lanes_of(round_, encoded(round_.spec, client))


def one_client_for_all(round_: Round) -> bytes:
    """The victim's ciphertext, as often as there are clients: 'the sum of all of them'."""
    return round_.total(payload=round_.sum_of(*[VICTIM] * len(COHORT)))


def one_client_twice(round_: Round) -> bytes:
    return round_.total(payload=round_.sum_of(2, VICTIM, VICTIM, 5))


def two_clients_for_all(round_: Round) -> bytes:
    return round_.total(payload=round_.sum_of(2, VICTIM))


def another_set(round_: Round) -> bytes:
    return round_.total(survivors=(2, 5, 8), payload=round_.sum_of(2, VICTIM, 5))


def polynomials(round_: Round, payload: bytes) -> tuple[Words, Words]:
    """Both of a sum of one ciphertext; of the first one what was sent of its used coefficients."""
    packing = round_.server._cipher.packing
    assert packing.polynomials == 1
    packed, size = np.frombuffer(payload, "<u8"), packing.sent_bytes // 8
    return (
        unpack_bits(packed[:size], packing.coefficients, packing.sent_bits).copy(),
        unpack_bits(packed[size:], packing.ring.degree, packing.ring.bits).copy(),
    )


def payload_of(round_: Round, first: Words, second: Words) -> bytes:
    packing = round_.server._cipher.packing
    return pack_bits(first, packing.sent_bits).tobytes() + pack_bits(second, packing.ring.bits).tobytes()


def times_a_power_of_x(round_: Round, payload: bytes, power: int) -> bytes:
    """All coefficients of the plaintext that many places on."""
    first, second = polynomials(round_, payload)
    turned = np.concatenate([np.uint64(0) - second[-power:], second[:-power]])
    return payload_of(round_, np.concatenate([np.zeros(power, "<u8"), first[:-power]]), turned)


def rotated(round_: Round) -> bytes:
    """The victim's lanes one coefficient on, in the place of everyone's."""
    return round_.total(payload=times_a_power_of_x(round_, round_.sum_of(VICTIM), 1))


def beside_each_other(round_: Round) -> bytes:
    """Everyone's sum, and the victim's first coefficients again behind those that hold parameters."""
    first, second = polynomials(round_, round_.sum_of(*COHORT))
    more, also = polynomials(round_, times_a_power_of_x(round_, round_.sum_of(VICTIM), 2))
    return round_.total(payload=payload_of(round_, first + more, second + also))


LIES = [one_client_for_all, one_client_twice, two_clients_for_all, another_set, rotated, beside_each_other]


@both_schemes
@pytest.mark.rule("H5")
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_something_else_than_the_sum(scheme: HomomorphicScheme, lie: Lie) -> None:
    """One-time tags add up as the vectors do, and fit the true sum alone (H5). The holder says the rule and no more,
    and there is no second try."""
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    good = round_.requests[Stage.OPEN][HOLDER]
    with refused("H5", peer=SERVER) as caught:
        opened(round_, lie(round_))
    assert str(caught.value).endswith("the ciphertext is not the sum over the clients that it is said to be of")
    with refused("R5", peer=SERVER):
        opened(round_, good)


@both_schemes
def test_succeeds_for_one_client_with_tags_unchecked(scheme: HomomorphicScheme) -> None:
    """n times the victim's vector: divided by n it is there, to the last bit."""
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    with tags_unchecked():
        words = opened(round_, one_client_for_all(round_))
    found = lanes_of(round_, words)
    assert not (found % len(COHORT)).any()
    assert (found // len(COHORT)).tolist() == victims_lanes(round_).tolist()


@both_schemes
def test_succeeds_for_another_set_with_tags_unchecked(scheme: HomomorphicScheme) -> None:
    """A client twice; two in the place of four; another three than are named."""
    for lie, clients in ((one_client_twice, (2, 3, 3, 5)), (two_clients_for_all, (2, 3)), (another_set, (2, 3, 5))):
        round_ = Round(scheme=scheme).until(Stage.OPEN)
        with tags_unchecked():
            words = opened(round_, lie(round_))
        assert words.tolist() == plain_sum(round_.spec, clients)


@both_schemes
def test_succeeds_for_rotated_polynomials_with_tags_unchecked(scheme: HomomorphicScheme) -> None:
    """The victim's vector one coefficient on, its own lanes and no one else's."""
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    with tags_unchecked():
        found = lanes_of(round_, opened(round_, rotated(round_)))
    shift = round_.server._cipher.packing.lanes.per_word
    assert found[shift:].tolist() == victims_lanes(round_)[:-shift].tolist()


@pytest.mark.rule("H5")
@pytest.mark.parametrize("lie", LIES[:4], ids=lambda lie: lie.__name__)
@approximate_schemes
def test_something_else_than_the_sum_of_approximate_ciphertexts(scheme: HomomorphicScheme, lie: Lie) -> None:
    """The tags are the same (H5)."""
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    with refused("H5", peer=SERVER):
        opened(round_, lie(round_))


def said_of_the_victim(value: float) -> str:
    """The victim's ciphertext alone, and an amount added to one slot: it leaves its bounds where the victim's value is
    not below 0, and is no sum in any case. Gives what the holder says."""
    layout = Layout((TensorSpec("w", (30,)),))
    spec = he_spec(layout, greatest_weight=1)
    round_ = Round(
        spec, layout, ckks(), lambda client: everyone(layout, value if client == VICTIM else 0.0, 1, spec)
    ).until(Stage.OPEN)
    cipher, numbers = round_.server._cipher, spec.numbers
    (ciphertext,) = cipher.parse_sum(round_.sum_of(VICTIM))
    amounts = np.zeros(cipher.packing.ring.degree // 2, np.complex128)
    amounts[5] = 2**cipher.packing.lanes.width - len(COHORT) * numbers.greatest
    context = cipher.context
    context._evaluator.add_plain_inplace(ciphertext, context._encoded(amounts))
    with refused("H5", peer=SERVER) as caught:
        round_.ask(HOLDER, round_.total(payload=bytes(cipher.pack_sum([context.words(ciphertext)]))))
    return str(caught.value)


@needs_tenseal
@pytest.mark.rule("H5")
def test_what_a_holder_says_of_approximate_values() -> None:
    """The same of all (H5): else the server would learn a bit of its choice about one client a round."""
    assert {said_of_the_victim(value) for value in (0.4, 0.1, -0.1, -0.4)} == {f"server: [H5] {NOT_THE_SUM}"}


@needs_tenseal
def test_succeeds_where_bounds_are_spoken_of() -> None:
    with bounds_spoken_of():
        assert len({said_of_the_victim(value) for value in (0.4, 0.1)}) == 1
        assert said_of_the_victim(0.4) != said_of_the_victim(-0.4)


def flipped(round_: Round, at: int, bit: int) -> bytes:
    payload = bytearray(round_.sum_of(*COHORT))
    payload[at % len(payload)] ^= 1 << bit
    return round_.total(payload=bytes(payload))


@pytest.mark.rule("H5")
def test_a_high_bit_anywhere() -> None:
    """Of every coefficient that is full of lanes (the last is not), and of some of c1: with a digest that fits (H5)."""
    round_ = Round().until(Stage.OPEN)
    packing, older = round_.server._cipher.packing, round_.clients[HOLDER].snapshot()
    bits = packing.sent_bits
    first = [
        coefficient * bits + bits - below for coefficient in range(packing.coefficients - 1) for below in (1, 9, 30)
    ]
    second = [8 * packing.sent_bytes + at * 64 + 60 for at in range(0, 4096, 256)]
    for at in first + second:
        round_.identities[HOLDER].record.__init__()  # each time as if it were the only one
        round_.clients[HOLDER] = round_.scheme.resume_client(round_.identities[HOLDER], older)
        with refused("H5", peer=SERVER):
            round_.ask(HOLDER, flipped(round_, at // 8, at % 8))


@given(at=st.integers(0, 2**20), bit=st.integers(0, 7), scheme=st.sampled_from(SCHEMES))
def test_any_bit_anywhere(at: int, bit: int, scheme: HomomorphicScheme) -> None:
    """A flip below the errors that decryption takes away changes nothing; whatever changes the sum is refused."""
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    try:
        found = opened(round_, flipped(round_, at, bit)).tolist()
    except RemoteProtocolError as error:
        found = error.rule
    assert found in ("H5", "W13", plain_sum(round_.spec, COHORT))


def test_succeeds_for_a_changed_sum_with_tags_unchecked() -> None:
    """A high bit of one coefficient, and the sum that is published is another one: nobody sees it."""
    round_ = Round().until(Stage.OPEN)
    at = round_.server._cipher.packing.sent_bits - 9
    with tags_unchecked():
        answer = round_.ask(HOLDER, flipped(round_, at // 8, at % 8))
        round_.server.receive(HOLDER, answer)
        round_.server.advance()
    assert round_.server.aggregate.words.tolist() != plain_sum(round_.spec, COHORT)
    assert round_.server.aggregate.survivors == COHORT


def foreign(round_: Round, *, says: bytes | None = None) -> bytes:
    """The victim's update under a key of nobody else's; it names that key, or another."""
    key = RoundKey(seed("of its own"), round_.context)
    cipher, numbers = round_.server._cipher, round_.spec.numbers
    tagged = key.tags.append_tags([victims_lanes(round_)], VICTIM, numbers.bits - 1, numbers.digits)
    payload = cipher.encrypt(key.secret, tagged)
    return Ciphertexts(key.id if says is None else says, payload).encode(round_.expected(VICTIM))


def with_a_foreign_key(round_: Round, message: bytes) -> Round:
    round_.until(Stage.INPUT)
    round_.server.receive(VICTIM, message)
    round_.answer(absent=(VICTIM,))
    round_.server.advance()
    round_.answer()
    round_.server.advance()
    return round_


@pytest.mark.rule("H2")
@both_schemes
def test_ciphertexts_under_a_foreign_key(scheme: HomomorphicScheme) -> None:
    """They would spoil the sum: refused by their name (H2), and the others are summed."""
    round_ = Round(scheme=scheme).until(Stage.INPUT)
    with refused("H2", peer=VICTIM):
        round_.server.receive(VICTIM, foreign(round_))
    round_.answer(absent=(VICTIM,))
    round_.server.advance()
    assert round_.words() == plain_sum(round_.spec, (2, 5, 8))


@pytest.mark.rule("H5")
def test_ciphertexts_under_a_foreign_key_that_name_the_rounds() -> None:
    """A client that lies about it makes the round fail (H5), and nobody can name it. Nothing is learnt."""
    round_ = Round().until(Stage.INPUT)
    with refused("H5", peer=SERVER):
        with_a_foreign_key(round_, foreign(round_, says=round_.round_key().id))


def test_succeeds_for_a_foreign_key_with_tags_unchecked() -> None:
    """The mean is noise; at most V11 says so."""
    round_ = Round().until(Stage.INPUT)
    with tags_unchecked(), pytest.raises(RemoteProtocolError, match="V11"):
        with_a_foreign_key(round_, foreign(round_, says=round_.round_key().id))


@pytest.mark.rule("H2")
def test_a_sum_under_another_key_than_the_holders() -> None:
    round_ = Round().until(Stage.OPEN)
    with refused("H2", peer=SERVER):
        opened(round_, round_.total(key_id=replace_first(round_.round_key().id)))


def replace_first(name: bytes) -> bytes:
    return bytes([name[0] ^ 1]) + name[1:]


def test_what_is_refused_here_is_taken_when_it_is_true() -> None:
    """The same messages made of the true sum open: it is the lie that is refused."""
    round_ = Round(he_spec()).until(Stage.OPEN)
    first, second = polynomials(round_, round_.sum_of(*COHORT))
    message = round_.total(payload=payload_of(round_, first, second))
    assert opened(round_, message).tolist() == plain_sum(round_.spec, COHORT)
    round_ = Round(replace(round_.spec, nonce=seed("three"))).until(Stage.OPEN)
    three = round_.total(survivors=(2, 3, 5), payload=round_.sum_of(5, 3, 2))
    assert opened(round_, three).tolist() == plain_sum(round_.spec, (2, 3, 5))
