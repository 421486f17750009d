"""Homomorphic rounds in both writings: the same messages, the same fates, and sums that are exact to the last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.he_aggregation import bfv as their_bfv
from protocols.he_aggregation import parameters as theirs
from protocols.he_aggregation.bfv import Randomness
from protocols.he_aggregation.client import Contribution, replies, reply
from protocols.he_aggregation.holder_refusals import AT as AT_HOLDER
from protocols.he_aggregation.keys import secret_polynomial
from protocols.he_aggregation.known_answers import greatest_cohort
from protocols.he_aggregation.packing import to_polynomials
from protocols.he_aggregation.server import Server as TheirServer
from protocols.he_aggregation.server_refusals import ANSWERS, ROUND
from protocols.notation import RuleBroken
from protocols.pairwise_masking.participant import Client as TheirClient
from securefed.aggregation import Adversary
from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError, RemoteProtocolError, RoundAborted
from securefed.he.client import HomomorphicClient
from securefed.he.exact import Bfv
from securefed.he.packing import CoefficientPacking
from securefed.he.rings import CONSERVATIVE, STANDARD_LIMIT, Ring
from tests.differential.cases import Case, cases
from tests.differential.he_rounds import NUMBERS, OPEN, SCHEMES, Stage, client_of, drawing, drawn_by, server_of
from tests.differential.reading import load, policy_from, update_from
from tests.differential.test_rounds import mutated
from tests.rounds import identities, identity_of, seed

RINGS = {0x10: CONSERVATIVE, 0x11: STANDARD_LIMIT}
Suites = st.sampled_from([0x10, 0x11])
EXAMPLES = settings().max_examples
SEALED_KEY = bytes([14])
DIGESTS = {15: 64 + 32, 16: 64 + 32, 17: 64}
"""Where a message of a type has its digest."""


@settings(max_examples=10 * EXAMPLES)
@given(Suites, st.integers(1, 2**20), st.integers(2, 32), st.integers(1, 10**8))
def test_parameters_are_the_same(suite: int, n: int, bits: int, lanes: int) -> None:
    compare_parameters(suite, n, bits, lanes)


@settings(max_examples=3 * EXAMPLES)
@given(Suites, st.integers(2, 32), st.integers(-2, 2), st.integers(0, 20))
def test_parameters_are_the_same_where_a_lane_just_fits(suite: int, bits: int, beside: int, doubled: int) -> None:
    n = max(1, min(2**20, (greatest_cohort(suite, bits) >> doubled) + beside))
    compare_parameters(suite, n, bits, 1)


def compare_parameters(suite: int, n: int, bits: int, lanes: int) -> None:
    try:
        p = theirs.packing_of(theirs.RINGS[suite], n, bits, lanes)
    except RuleBroken:  # V8, as the text's own tests say
        with pytest.raises(ConfigError, match="V8"):
            CoefficientPacking(RINGS[suite], Numbers(n, bits, 1.0), lanes)
        return
    ours = CoefficientPacking(RINGS[suite], Numbers(n, bits, 1.0), lanes)
    expected = (p.lane_bits, p.lanes, p.plain_bits, p.dropped, p.coefficients, p.polynomials, p.sent_bits)
    found = (ours.lanes.width, ours.lanes.per_word, ours.plain_bits, ours.dropped, ours.coefficients)
    assert (*found, ours.polynomials, ours.sent_bits) == expected
    # What proves that sums open: with whole integers, so nothing is rounded.
    assert p.dropped >= 1
    assert 2 * p.plain_modulus * n * (21 + 2 ** (p.dropped - 1)) < p.ring.modulus
    assert n * 2 * (2 ** (bits - 1) - 1) < 2**p.lane_bits


@cache
def cipher_of(ring: Ring, n: int, bits: int, lanes: int) -> Bfv:
    """Contexts are slow to make."""
    return Bfv(CoefficientPacking(ring, Numbers(n, bits, 1.0), lanes))


def secret_of(ring: Ring) -> tuple[list[int], np.ndarray]:
    """One secret polynomial, in integers and as ours."""
    s = secret_polynomial(seed("he secret"), b"", theirs.Ring(ring.degree, ring.bits))
    return s, np.array(s, np.int8)


def pieces_of(lanes: np.ndarray, cuts: list[int]) -> Iterator[np.ndarray]:
    """The lanes, cut at these places."""
    places = sorted({0, len(lanes), *(cut % len(lanes) for cut in cuts)})
    return (lanes[low:high] for low, high in pairwise(places))


@given(Suites, st.integers(2, 9), st.integers(2, 32), st.data())
def test_sums_are_those_of_integers(suite: int, n: int, bits: int, data: st.DataObject) -> None:
    """Lanes of every kind, at lengths about a polynomial's end; as many summands as the cohort or fewer."""
    ring, greatest = RINGS[suite], 2 * (2 ** (bits - 1) - 1)
    whole = ring.degree * theirs.packing_of(theirs.RINGS[suite], n, bits, 1).lanes
    few, end = st.integers(1, 60), st.integers(-2, 2).map(lambda by: whole + by)
    count = data.draw(st.one_of(few, few, few, end))
    cipher, (_, secret) = cipher_of(ring, n, bits, count), secret_of(ring)
    adder, total, summands = cipher.adder(), np.zeros(count, "<u8"), data.draw(st.integers(1, n))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    for _ in range(summands):
        kind = data.draw(st.sampled_from(["zeros", "greatest", "any", "any", "one of each"]))
        lanes = {
            "zeros": np.zeros(count, "<u8"),
            "greatest": np.full(count, greatest, "<u8"),
            "any": rng.integers(0, greatest + 1, count, "<u8"),
            "one of each": np.resize(np.array([0, greatest, 1, greatest - 1], "<u8"), count),
        }[kind]
        payload = cipher.encrypt(secret, pieces_of(lanes, data.draw(st.lists(st.integers(0, 10**6), max_size=3))))
        assert len(payload) == cipher.payload_bytes
        adder.add(payload)
        total += lanes
    packed = adder.total()
    assert len(packed) == cipher.sum_bytes
    opened = np.concatenate(list(cipher.decrypt(secret, packed, summands)))
    assert opened.tolist() == total.tolist()


@settings(max_examples=max(EXAMPLES // 4, 1))
@given(Suites, st.integers(2, 9), st.integers(2, 32), st.binary(min_size=64, max_size=64), st.data())
def test_ciphertexts_are_the_same(suite: int, n: int, bits: int, drawn: bytes, data: st.DataObject) -> None:
    """To the byte, as is their sum, given the seed and the error key; sometimes of two polynomials."""
    ring, greatest = RINGS[suite], 2 * (2 ** (bits - 1) - 1)
    whole = ring.degree * theirs.packing_of(theirs.RINGS[suite], n, bits, 1).lanes
    few = st.integers(1, 60)
    count = data.draw(st.one_of(few, few, few, few, st.sampled_from([whole - 1, whole, whole + 1])))
    p = theirs.packing_of(theirs.RINGS[suite], n, bits, count)
    cipher, (s, secret) = cipher_of(ring, n, bits, count), secret_of(ring)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    adder, total = cipher.adder(), None
    for summand in range(2):
        lanes = rng.integers(0, greatest + 1, count, "<u8")
        secrets = bytes(x ^ summand for x in drawn[:32]), drawn[32:]
        payload = cipher.encrypt(secret, iter([lanes]), seed=secrets[0], error_key=secrets[1])
        assert payload == their_bfv.encrypt(lanes.tolist(), s, p, Randomness(*secrets))
        adder.add(payload)
        received = their_bfv.read_payload(payload, p)
        total = received if total is None else their_bfv.add(total, received, p)
    assert total is not None
    assert adder.total() == their_bfv.sum_payload(total, p)


@pytest.mark.parametrize(("polynomials", "more"), [(8, 0), (8, 1), (9, -1)])
def test_long_ciphertexts_are_the_same(polynomials: int, more: int) -> None:
    """Ours are worked on eight polynomials at a time: lengths about the ends of these."""
    count = polynomials * 2048 * theirs.packing_of(theirs.RINGS[0x11], 2, 32, 1).lanes + more
    p, (s, secret) = theirs.packing_of(theirs.RINGS[0x11], 2, 32, count), secret_of(STANDARD_LIMIT)
    cipher, rng = Bfv(CoefficientPacking(STANDARD_LIMIT, Numbers(2, 32, 1.0), count)), np.random.default_rng(count)
    lanes = rng.integers(0, 2**32 - 1, count, "<u8")
    payload = cipher.encrypt(secret, iter([lanes]), seed=seed("he long"), error_key=seed("he long errors"))
    assert payload == their_bfv.encrypt(lanes.tolist(), s, p, Randomness(seed("he long"), seed("he long errors")))
    adder, received = cipher.adder(), their_bfv.read_payload(payload, p)
    adder.add(payload)
    adder.add(payload)
    total = adder.total()
    assert total == their_bfv.sum_payload(their_bfv.add(received, received, p), p)
    assert np.concatenate(list(cipher.decrypt(secret, total, 2))).tolist() == (2 * lanes).tolist()
    again = cipher.adder()
    again.take_up(total)
    assert again.total() == total


@pytest.mark.parametrize("suite", [0x10, 0x11])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("n", "bits"), [(None, 32), (None, 28), (2048, 16), (23, 20), (23, 6), (2, 2), (1000, 12)])
def test_the_worst_errors_of_a_whole_cohort_are_rounded_away(suite: int, sign: int, n: int | None, bits: int) -> None:
    """Each error at its bound and of one sign, and what is cut off at its bound too; n may be the greatest there is."""
    n = n or greatest_cohort(suite, bits)
    ring = RINGS[suite]
    lanes = [0, top := 2 * (2 ** (bits - 1) - 1), 1, 2 ** (bits - 1) - 1, top - 1, 0, top // 3] * 20
    p = theirs.packing_of(theirs.RINGS[suite], n, bits, len(lanes))
    s, secret = secret_of(ring)
    q, z = p.ring.modulus, p.sent_bits
    (u,) = to_polynomials(lanes, p)
    # With c1 = a and a secret coefficient of 1, c0 = e + (q/t)·u − a: nothing of it is cut off for a = e = 21, and all
    # ones for a = −20 and e = −21. As q/t is a multiple of 2^r these are the greatest errors that there are.
    one = s[: p.coefficients].index(1)
    c1 = [21 if sign > 0 else -20] + [0] * (ring.degree - 1)
    c0 = their_bfv.encrypt_polynomial(u, s, q, p.plain_modulus, c1, [21 * sign] * ring.degree)
    assert c0[one] % 2**p.dropped == (0 if sign > 0 else 2**p.dropped - 1)
    first = tuple(n * (x >> p.dropped) % 2**z for x in c0[: p.coefficients])
    total = their_bfv.Ciphertext(first, tuple(n * x % q for x in c1))
    errors = their_bfv.errors_of(total, [n * lane for lane in lanes], s, p, n)
    assert errors[one] == n * (21 + 2 ** (p.dropped - 1) - (sign < 0)) * sign
    assert max(map(abs, errors)) <= n * (21 + 2 ** (p.dropped - 1)) < q // (2 * p.plain_modulus)
    assert their_bfv.decrypt(total, s, p, n) == [n * lane for lane in lanes]
    cipher = cipher_of(ring, n, bits, len(lanes))
    opened = cipher.decrypt(secret, their_bfv.sum_payload(total, p), n)
    assert np.concatenate(list(opened)).tolist() == [n * lane for lane in lanes]


@pytest.mark.rule("V8")
@pytest.mark.parametrize("suite", [0x10, 0x11])
@pytest.mark.parametrize("bits", [20, 24, 28, 32])
def test_one_client_more_than_the_greatest_cohort_is_refused(suite: int, bits: int) -> None:
    n = greatest_cohort(suite, bits)
    assert Bfv(CoefficientPacking(RINGS[suite], Numbers(n, bits, 1.0), 1)).payload_bytes
    with pytest.raises(ConfigError, match="V8"):
        CoefficientPacking(RINGS[suite], Numbers(n + 1, bits, 1.0), 1)


def test_a_whole_cohort_at_the_bound_adds_up() -> None:
    """256 clients or so with 32 bits a value: the limit of the smaller ring, with errors as they come."""
    n = greatest_cohort(0x11, 32)
    cipher, (_, secret) = cipher_of(STANDARD_LIMIT, n, 32, 5), secret_of(STANDARD_LIMIT)
    lanes = np.array([0, 2**32 - 2, 2**32 - 2, 1, 12345], "<u8")
    adder = cipher.adder()
    for _ in range(n):
        adder.add(cipher.encrypt(secret, iter([lanes])))
    (opened,) = cipher.decrypt(secret, adder.total(), n)
    assert opened.tolist() == (n * lanes).tolist()


@st.composite
def he_cases(draw: st.DrawFn) -> Case:
    """A small round in which nobody is corrupt."""
    case = draw(cases().filter(lambda case: len(case.spec.cohort) < 10))
    spec = case.spec
    adversary = Adversary(spec.adversary.server, 0.0, spec.adversary.dropouts)
    if adversary.infeasible(len(spec.cohort)):
        adversary = Adversary(spec.adversary.server, 0.0, 0.0)
    return replace(case, spec=replace(spec, adversary=adversary))


def contribution_of(case: Case, client: int) -> Contribution:
    """What either writing brings to the input: the same lanes, and the same draws."""
    spec, width = case.spec, case.spec.numbers.lanes.width
    words, per_word = case.their_words(client), 64 // width
    lanes = [word >> (width * at) & ((1 << width) - 1) for word in words for at in range(per_word)]
    count = spec.values + spec.scalars * spec.numbers.digits
    return Contribution(lanes[:count], Randomness(*drawn_of(client)))


def drawn_of(client: int) -> tuple[bytes, bytes]:
    return seed(f"seed {client}"), seed(f"error key {client}")


@settings(max_examples=max(EXAMPLES // 4, 1))
@given(he_cases(), st.sampled_from([0x11, 0x11, 0x11, 0x10]))
def test_a_round_is_the_same_in_both_writings(case: Case, suite: int) -> None:
    """Two servers side by side are given the same answers, which both writings of a client give to the byte."""
    cohort, scheme, known = case.spec.cohort, SCHEMES[suite], identities(case.spec.cohort)
    server = scheme.server(case.spec, case.layout, known)
    them = TheirServer(case.their_spec, suite, case.their_layout, known if case.spec.adversary.malicious else {})
    clients = {i: our_client(case, i, suite) for i in cohort}
    received: dict[int, list[bytes]] = {i: [] for i in cohort}
    while server.stage is not Stage.DONE:
        number, requests = NUMBERS[server.stage], server.requests()
        assert (number, requests) == (them.stage, them.requests())
        for client in sorted(requests):
            if case.dropouts.get(client, 9) <= number:
                continue
            received[client].append(requests[client])
            with drawing(*drawn_of(client) if number == NUMBERS[Stage.INPUT] else ()):
                answer = clients[client].reply(requests[client], lambda c=client: case.updates[c])
            assert answer == their_answer(case, client, suite, received[client])
            server.receive(client, answer)
            them.receive(client, answer)
        aborted = [fails(server.advance), fails(them.advance)]
        assert aborted[0] == aborted[1]
        if aborted[0]:
            assert server.aggregate is None
            return
    aggregate = server.aggregate
    assert aggregate is not None
    assert aggregate.words is not None
    assert aggregate.survivors == tuple(sorted(them.inputs))
    columns = zip(*(case.their_words(client) for client in aggregate.survivors), strict=True)
    assert aggregate.words.tolist() == them.sum == [sum(column) for column in columns]


def our_client(case: Case, client: int, suite: int) -> HomomorphicClient:
    identity = identity_of(client, case.layout, OPEN, case.spec.cohort)
    return HomomorphicClient(SCHEMES[suite].parameters, identity, round_secret=seed(f"round secret {client}"))


def their_answer(case: Case, client: int, suite: int, requests: list[bytes]) -> bytes:
    key, known = case.their_keys[client], identities(case.spec.cohort)
    who = TheirClient(client, seed(f"round secret {client}"), key, known, layout=case.their_layout)
    return reply(who, suite, contribution_of(case, client), requests, [])


def fails(step: Callable[[], None]) -> bool:
    """Whether the end of a stage is the round's."""
    from protocols.he_aggregation.server import RoundAborted as TheirRoundAborted

    try:
        step()
    except (RoundAborted, TheirRoundAborted):
        return True
    return False


def changed(message: bytes, data: st.DataObject) -> bytes:
    """One change, sometimes behind the digest of what was changed."""
    bad = bytearray(mutated(message, data))
    at = DIGESTS.get(message[5])
    if at is not None and len(bad) >= at + 32 and data.draw(st.booleans()):
        parts = b"securefed/1/envelope\x00" + bytes(bad[:at]) + bytes(bad[at + 32 :])
        bad[at : at + 32] = hashlib.sha256(parts).digest()
    return bytes(bad)


@settings(max_examples=6 * EXAMPLES)
@given(st.sampled_from(["client_refuses", "holder_refuses"]), st.data())
def test_a_mutated_request_meets_the_same_fate_in_both_writings(name: str, data: st.DataObject) -> None:
    """Accepted with the same answer, or refused by the same rule, at whatever stage, as holder or not."""
    file, at = file_of(name), AT_HOLDER if name == "holder_refuses" else other_client()
    requests = at.requests[: data.draw(st.integers(1, len(at.requests)))]
    requests = [*requests[:-1], changed(requests[-1], data)]
    theirs_ = replies(at.client, at.suite, at.scenario.contribution(at.id), requests)[-1]
    policy = policy_from(file["policy"], OPEN.schemes)
    us = client_of(file, file["client"], policy, file["record"]["last_input"])
    answer: Any = None
    for request in requests:
        drawn = drawn_by(file["client"]) if request[5:6] == SEALED_KEY else ()
        try:
            with drawing(*drawn):
                answer = us.reply(request, lambda: update_from(file["client"]["update"]))
        except RemoteProtocolError as error:
            answer = error.rule
    assert answer == (theirs_.rule if isinstance(theirs_, RuleBroken) else theirs_)


@cache
def file_of(name: str) -> dict[str, Any]:
    return load("he_aggregation", name)


def other_client() -> Any:
    from protocols.he_aggregation.client_refusals import AT

    return AT


@settings(max_examples=5 * EXAMPLES)
@given(st.data())
def test_a_mutated_answer_meets_the_same_fate_in_both_writings(data: st.DataObject) -> None:
    """At the server, at whatever stage: taken by both, or refused by both by the same rule."""
    stage = data.draw(st.sampled_from([1, 2, 3, 3, 4]))
    sender = data.draw(st.sampled_from(sorted(ANSWERS[stage])))
    us, them = (
        server_of(file_of("server_refuses")),
        TheirServer(ROUND.specification, ROUND.suite, AT_HOLDER.client.layout, ROUND.identities),
    )
    for number in range(1, stage):
        for client, message in ANSWERS[number].items():
            us.receive(client, message)
            them.receive(client, message)
        us.advance()
        them.advance()
    bad = changed(ANSWERS[stage][sender], data)
    verdicts: list[str | None] = [None, None]
    try:
        us.receive(sender, bad)
    except RemoteProtocolError as error:
        verdicts[0] = error.rule
    try:
        them.receive(sender, bad)
    except RuleBroken as error:
        verdicts[1] = error.rule
    assert verdicts[0] == verdicts[1]
