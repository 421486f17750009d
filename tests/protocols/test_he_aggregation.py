"""The reference of homomorphic aggregation against itself and against what other code knows: it is right."""

import hashlib
import itertools
import random

import pytest

from protocols.he_aggregation import bfv, ckks, generator, keys, packing, tags, transforms
from protocols.he_aggregation.bfv import Randomness
from protocols.he_aggregation.ckks import SlotRandomness
from protocols.he_aggregation.client import reply
from protocols.he_aggregation.known_answers import greatest_cohort
from protocols.he_aggregation.parameters import ERROR, RINGS, Packing, Ring, check_ring, packing_of
from protocols.he_aggregation.reference import Server
from protocols.he_aggregation.scenario import COMMON_MALICIOUS, Scenario
from protocols.he_aggregation.slots import MIDDLE, SMALL, WHOLE, slots_of
from protocols.notation import KDF, RuleBroken, stream
from protocols.vector_files import seed, seeded_bytes
from protocols.wire.reference import SERVER, Adversary

TINY = 8
"""A degree at which the definition itself can be computed: no ring to encrypt anything in."""


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_products_by_large_integers_are_those_of_the_definition(n):
    rng = random.Random(n)
    for _ in range(20):
        a = [rng.randint(-(10**18), 10**18) for _ in range(n)]
        b = [rng.choice([-1, 0, 1]) for _ in range(n)]
        assert list(bfv.product_of(tuple(a), tuple(b))) == bfv.negacyclic(a, b)
    assert list(bfv.product_of((0,) * n, (1,) * n)) == [0] * n


def test_x_to_the_n_is_minus_one():
    x = [0, 1, 0, 0]
    power = x
    for _ in range(3):
        power = bfv.negacyclic(power, x)
    assert power == [-1, 0, 0, 0]


@pytest.mark.parametrize("bits", [8, 13, 30, 54, 64])
@pytest.mark.parametrize("draw", range(20))
def test_what_is_encrypted_is_decrypted_at_any_degree_and_modulus(bits, draw):
    """One ciphertext and sums of some, for errors up to the least that could break them: tiny rings, any q and t."""
    rng, q = random.Random(draw), 2**bits
    t, summands = 2 ** rng.randint(1, bits - 4), rng.randint(1, 4)
    s = [rng.choice([-1, 0, 1]) for _ in range(TINY)]
    bound = (q // (2 * t) - 1) // summands
    c0, c1, plain = [0] * TINY, [0] * TINY, [0] * TINY
    for _ in range(summands):
        u, a = [rng.randrange(t) for _ in range(TINY)], [rng.randrange(q) for _ in range(TINY)]
        e = [rng.choice([-bound, bound, 0]) for _ in range(TINY)]
        encrypted = bfv.encrypt_polynomial(u, s, q, t, a, e)
        # By the definition: c0 + c1·s = e + (q/t)·u.
        for c, m, x, cs in zip(encrypted, u, e, bfv.negacyclic(a, s), strict=True):
            assert (c + cs - x - q // t * m) % q == 0
        c0 = [(x + y) % q for x, y in zip(c0, encrypted, strict=True)]
        c1 = [(x + y) % q for x, y in zip(c1, a, strict=True)]
        plain = [x + y for x, y in zip(plain, u, strict=True)]
    assert bfv.decrypt_polynomial(c0, c1, s, q, t) == [x % t for x in plain]


def test_an_error_of_half_a_step_is_too_much():
    q, t, s, u = 2**14, 16, [1, 0, -1, 1, 0, 0, 1, -1], [3] * TINY
    a = [random.Random(1).randrange(q) for _ in range(TINY)]
    half = q // (2 * t)
    for error, opened in ((half, 4), (half - 1, 3), (-half, 3), (-half - 1, 2)):
        assert (
            bfv.decrypt_polynomial(bfv.encrypt_polynomial(u, s, q, t, a, [error] * TINY), a, s, q, t) == [opened] * TINY
        )


@pytest.mark.parametrize("suite", list(RINGS))
@pytest.mark.parametrize("bits", [2, 8, 16, 24, 32])
def test_parameters_leave_room_for_every_error(suite, bits):
    """For cohorts up to the greatest, and the next one has none: nothing is rounded in this."""
    ring, greatest = RINGS[suite], greatest_cohort(suite, bits)
    for n in {1, 2, 3, 23, 1000, greatest // 2, greatest - 1, greatest}:
        if not 1 <= n <= greatest:
            continue
        p = packing_of(ring, n, bits, 1)
        t, q = p.plain_modulus, ring.modulus
        assert p.dropped >= 1
        assert 2 * t * n * (ERROR + 2 ** (p.dropped - 1)) < q <= 2 * t * n * (ERROR + 2**p.dropped)
        assert 2 * (2 ** (bits - 1) - 1) * n < 2**p.lane_bits <= t
        assert t * 2**p.dropped <= q
    if greatest < 2**20:
        with pytest.raises(RuleBroken, match="V8"):
            packing_of(ring, greatest + 1, bits, 1)


def test_rings_are_what_they_are_said_to_be():
    for ring in RINGS.values():
        check_ring(ring)
    assert [(ring.degree, ring.modulus) for ring in RINGS.values()] == [(4096, 2**64), (2048, 2**54)]
    for slot_ring in (WHOLE, SMALL, MIDDLE):
        check_ring(slot_ring)
        for prime in slot_ring.primes + slot_ring.key_primes:
            assert (prime - 1) % (2 * slot_ring.degree) == 0
            assert all(pow(base, prime - 1, prime) == 1 for base in range(2, 40))
    assert [ring.bits for ring in (WHOLE, SMALL, MIDDLE)] == [140, 27, 54]


@pytest.mark.parametrize("dropped", [1, 2, 7])
@pytest.mark.parametrize("summands", [1, 2, 5])
def test_what_is_put_back_is_half_of_what_was_cut(dropped, summands):
    p, rng = Packing(Ring(TINY, 12), 4, 1, dropped, TINY), random.Random(dropped)
    drawn = [[rng.randrange(2**12) for _ in range(TINY)] for _ in range(summands)]
    total = bfv.Ciphertext((0,) * TINY, (0,) * TINY)
    for c0 in drawn:
        total = bfv.add(total, bfv.Ciphertext(tuple(packing.drop(x, p) for x in c0), (0,) * TINY), p)
    exact = [sum(column) for column in zip(*drawn, strict=True)]
    for found, due in zip(bfv.restored(total, p, summands), exact, strict=True):
        distance = (found - due + 2**11) % 2**12 - 2**11
        assert -summands * 2 ** (dropped - 1) < distance <= summands * 2 ** (dropped - 1)


def test_errors_are_centred_binomial():
    found = bfv.errors(seed("he/errors"), 20_000)
    assert max(map(abs, found)) <= 21
    assert abs(sum(found)) < 5 * (10.5 * len(found)) ** 0.5
    assert 10.1 < sum(x * x for x in found) / len(found) < 10.9
    assert bfv.errors(seed("he/errors"), 7) == found[:7]
    c1 = bfv.uniform_numbers(seed("he/c1"), 5, 54)
    assert [x << 10 for x in c1] == [x >> 10 << 10 for x in bfv.uniform_numbers(seed("he/c1"), 5, 64)]


@pytest.mark.parametrize("q", [97, 12289, 0x7FFF801])
def test_values_are_those_at_the_odd_powers_of_a_root(q):
    rng = random.Random(q)
    a, b = ([rng.randrange(q) for _ in range(TINY)] for _ in range(2))
    psi = transforms.least_root(TINY, q)
    assert pow(psi, TINY, q) == q - 1
    assert not any(pow(x, TINY, q) == q - 1 for x in range(2, min(psi, 5000)))
    places = [2 * transforms.reversed_bits(i, TINY) + 1 for i in range(TINY)]
    assert places[:4] == [1, 9, 5, 13]
    powers = [pow(psi, place, q) for place in places]
    values = [sum(x * pow(r, k, q) for k, x in enumerate(a)) % q for r in powers]
    assert transforms.values_of(a, q) == values
    assert transforms.polynomial_of(values, q) == a
    products = [x * y % q for x, y in zip(values, transforms.values_of(b, q), strict=True)]
    assert transforms.polynomial_of(products, q) == [x % q for x in bfv.negacyclic(a, b)]


def test_slots_are_values_at_powers_of_three():
    rng = random.Random(8)
    m = [rng.randint(-(2**30), 2**30) for _ in range(TINY)]
    slots = transforms.slots_of(m, 2**10)
    for j, z in enumerate(slots):
        due = sum(x * transforms.turn(k * pow(3, j), TINY) for k, x in enumerate(m)) / 2**10
        assert abs(z - due) < 1e-6
    assert transforms.plaintext_of(slots, 2**10) == m


@pytest.mark.parametrize(("suite", "n", "bits", "count"), [(0x21, 3, 8, 2100), (0x21, 2, 16, 30), (0x20, 2, 12, 10)])
def test_approximate_sums_open_to_the_integers(suite, n, bits, count):
    """Several polynomials; two lanes a part; two primes: with the greatest errors and values."""
    p, greatest = slots_of(suite, n, bits, count), 2 * (2 ** (bits - 1) - 1)
    s = keys.secret_polynomial(seed("he/secret"), b"B", p.ring)
    rng, total, columns = random.Random(count), None, []
    for client in range(n):
        lanes = [rng.choice([0, greatest, rng.randint(0, greatest)]) for _ in range(count)]
        errors = tuple(rng.choice([-21, 21, 3]) for _ in range(p.ring.degree))
        seeds = [seeded_bytes(f"he/slots/{client}/{i}", 64) for i in range(p.polynomials)]
        drawn = [SlotRandomness(one, errors) for one in seeds]
        received = ckks.read_payload(ckks.encrypt(lanes, s, p, drawn), p)
        total = received if total is None else ckks.add(total, received, p)
        columns.append(lanes)
    packed = ckks.sum_payload(total, p)
    assert len(packed) == ckks.sum_bytes(p)
    assert ckks.decrypt(ckks.read_sum(packed, p), s, p, n) == [sum(column) for column in zip(*columns, strict=True)]


def test_blake2b_of_one_block_is_pythons():
    """Under every parameter that Python lets through; the one that it does not is a depth of 0."""
    for fanout, depth, leaf, offset, node_depth, inner in itertools.product(
        (0, 1, 9), (1, 255), (0, 64), (0, 2**40), (0, 3), (0, 64)
    ):
        numbers = {"leaf_size": leaf, "node_offset": offset, "node_depth": node_depth, "inner_size": inner}
        expected = hashlib.blake2b(b"message", fanout=fanout, depth=depth, **numbers).digest()
        block = bytes([64, 0, fanout, depth]) + leaf.to_bytes(4, "little") + offset.to_bytes(8, "little")
        block += bytes([node_depth, inner])
        assert generator.blake2b_of_one_block(b"message", block.ljust(64, b"\x00")) == expected


def test_words_that_would_not_be_uniform_are_replaced(monkeypatch):
    """For each prime in turn, by those behind the words for all primes: so seldom that no seed here shows it."""
    drawn = [generator.MASK, 1, generator.MASK, 7, generator.MASK, 8, 9]
    monkeypatch.setattr(generator, "generated_words", lambda seed: iter(drawn))
    assert generator.uniform_numbers(b"not a seed", 2, (97, 101)) == (8, 1, 9, 7)


def test_a_seeds_numbers_are_words_modulo_the_primes():
    drawn, N = seed("he/self-check") + seed("he/self-check, more"), 256
    numbers = generator.uniform_numbers(drawn, N, WHOLE.primes)
    plain = list(itertools.islice(generator.generated_words(drawn), 2 * N))
    assert list(numbers) == [w % WHOLE.primes[at // N] for at, w in enumerate(plain)]


def test_the_secret_is_ternary_and_even():
    s = keys.secret_polynomial(seed("he/secret"), b"B", RINGS[0x10])
    counts = [s.count(x) for x in (-1, 0, 1)]
    assert sum(counts) == 4096
    assert all(1200 < count < 1530 for count in counts)
    key = KDF(seed("he/secret"), "secret-polynomial", b"B")
    assert s[:200] == [(0, 1, -1)[byte % 3] for byte in stream(key, 300) if byte != 255][:200]


@pytest.mark.parametrize("draw", range(10))
def test_tags_find_every_change_of_a_sum(draw):
    rng, key, B, bits = random.Random(draw), seed("he/tags"), b"B" * 52, rng_bits(draw)
    clients = rng.sample(range(1, 2**32), 3)
    lanes = {i: [rng.randrange(2**bits - 1) for _ in range(6)] for i in clients}
    tagged = [tags.with_tags(key, B, i, lanes[i], bits) for i in clients]
    sums = [sum(column) for column in zip(*tagged, strict=True)]
    assert tags.check_sum(key, B, clients, sums, bits) == [sum(column) for column in zip(*lanes.values(), strict=True)]
    for at in range(len(sums)):
        changed = [*sums[:at], sums[at] + rng.choice([-1, 1, 2**20]), *sums[at + 1 :]]
        with pytest.raises(RuleBroken, match="H5"):
            tags.check_sum(key, B, clients, changed, bits)
    for of in (clients[:2], [*clients, 5], [*clients[:2], 5], []):
        with pytest.raises(RuleBroken, match="H5"):
            tags.check_sum(key, B, of, sums, bits)


def rng_bits(draw):
    return (2, 3, 16, 32)[draw % 4]


def test_a_payload_of_several_polynomials():
    """With a last one that is not full: one seed, then all used coefficients in one string."""
    p = packing_of(Ring(TINY, 54), 3, 16, 37)
    assert (p.coefficients, p.polynomials) == (19, 3)
    s, rng = [1, -1, 0, 1, 0, 0, 1, -1], random.Random(3)
    lanes = [rng.randrange(2**16) for _ in range(37)]
    payload = bfv.encrypt(lanes, s, p, Randomness(seed("he/several"), seed("he/errors of several")))
    assert payload[:32] == seed("he/several")
    assert len(payload) == bfv.payload_bytes(p)
    once = bfv.read_payload(payload, p)
    assert bfv.decrypt(once, s, p, 1) == lanes
    total = bfv.add(bfv.add(once, once, p), once, p)
    packed = bfv.sum_payload(total, p)
    assert len(packed) == bfv.sum_bytes(p)
    assert bfv.decrypt(bfv.read_sum(packed, p), s, p, 3) == [3 * lane for lane in lanes]


THREE = Scenario("he self-check, three", (3, 90, 2**32 - 1), suite=0x11)
SIGNED = Scenario("he self-check, signed", (3, 4, 90, 2**32 - 1), COMMON_MALICIOUS, suite=0x11)


@pytest.mark.parametrize("stages", list(itertools.product((None, 1, 2, 3, 4), repeat=3)))
def test_sum_is_exact_for_every_pattern_of_dropouts(stages):
    """n = 3, L = 2: the sum is that of U3, or too few are left, or the key holder is gone when it is asked."""
    dropouts = {client: stage for client, stage in zip(THREE.cohort, stages, strict=True) if stage}
    result = THREE.encrypted_round(dropouts)
    asked = [client for client in THREE.cohort if dropouts.get(client, 9) > 1]
    # Who holds the key: the first that seals it; those before it have left.
    while len(asked) >= 2 and dropouts.get(asked[0], 9) == 2:
        asked = asked[1:]
    inputs = [client for client in asked if dropouts.get(client, 9) > 3]
    if len(asked) < 2 or len(inputs) < 2 or dropouts.get(asked[0], 9) <= 4:
        assert result.sum is None
        assert result.aborted_at
        return
    assert result.survived == tuple(inputs)
    words = [THREE.ring_words(client) for client in inputs]
    assert result.sum == [sum(column) for column in zip(*words, strict=True)]


@pytest.mark.parametrize("scenario", [THREE, SIGNED], ids=["semi-honest", "signed"])
def test_a_step_computed_again_gives_the_same_message(scenario):
    result = scenario.encrypted_round({})
    for client in scenario.cohort[:2]:
        requests = [m.message for m in result.transcript if m.sender == SERVER and client in m.recipients]
        sent = [m.message for m in result.transcript if m.sender == client]
        for stage in range(len(requests)):
            brought = scenario.contribution(client)
            assert reply(scenario.client(client), scenario.suite, brought, requests[: stage + 1], []) == sent[stage]


def test_two_holders_seal_two_keys():
    """No client can be given both: each encrypts once, under the one that it was given."""
    one, two = (keys.round_key(THREE.round_secret(client), b"B") for client in THREE.cohort[:2])
    assert keys.key_id(b"B", one) != keys.key_id(b"B", two)
    assert keys.secret_polynomial(one, b"B", RINGS[0x11]) != keys.secret_polynomial(two, b"B", RINGS[0x11])


@pytest.mark.parametrize("missing", SIGNED.cohort)
def test_h6_k6_k7_a_server_does_not_begin_a_round_that_it_cannot_run(missing):
    s, identities = SIGNED.specification, SIGNED.identities
    with pytest.raises(RuleBroken, match="K6"):
        Server(s, 0x11, identities={i: key for i, key in identities.items() if i != missing})
    with pytest.raises(RuleBroken, match="K7"):
        Server(s, 0x11, identities=identities | {missing: identities[3 if missing != 3 else 4]})
    corrupt = Scenario("he self-check, corrupt", (3, 4, 90), Adversary(1, 40, 20, 1, 0), suite=0x11)
    with pytest.raises(RuleBroken, match="H6"):
        Server(corrupt.specification, 0x11)
    many = Scenario("he self-check, many", tuple(range(1, 258)), bits=32, suite=0x11)
    with pytest.raises(RuleBroken, match="H6"):
        Server(many.specification, 0x11)
    assert Server(s, 0x11, identities=identities).requests()
