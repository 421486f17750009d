"""The references against themselves and against what other code knows: they are right, not only repeatable."""

import hmac
import itertools
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols import generate
from protocols.notation import KDF, SEGMENT, H, RuleBroken, stream
from protocols.pairwise_masking import agreed, graph, keys, shamir
from protocols.pairwise_masking.client import reply
from protocols.pairwise_masking.parameters import parameters_of
from protocols.pairwise_masking.received import held_shares
from protocols.pairwise_masking.reference import Client, Server, identity
from protocols.pairwise_masking.scenario import COMMON_MALICIOUS, SAMPLED, SPARSE, SPARSE_MALICIOUS, Scenario
from protocols.vector_files import VERSIONS, VectorFile, load, seed
from protocols.wire.reference import SERVER, decode
from protocols.wire.specification import dropouts, least_survivors

SCENARIO = Scenario("self-check", (3, 4, 90, 2**32 - 1))
SIGNED = Scenario("self-check, signed", (3, 4, 90, 2**32 - 1), COMMON_MALICIOUS)
SPARSE_ROUND = Scenario("self-check, sparse", tuple(range(5, 23)), SPARSE)
SPARSE_SIGNED = Scenario("self-check, sparse and signed", tuple(range(5, 14)), SPARSE_MALICIOUS)
SAMPLE = Scenario("self-check, sampled", tuple(range(5, 25)), SAMPLED)
ALL = [SCENARIO, SIGNED, SPARSE_ROUND, SPARSE_SIGNED]
PREPARED = [replace(scenario, name=f"{scenario.name}, prepared", prepared=True) for scenario in ALL]
INPUTS = {client: SCENARIO.ring_words(client) for client in SCENARIO.cohort}
SECRETS = {client: SCENARIO.round_secret(client) for client in SCENARIO.cohort}

WITHOUT_VECTOR = {"R10", "K7", "N2", "D1", "D2", "D3", "D4", "D5", "D13", "D14", "U5", "M4"}
"""Rules on what a party does or holds itself, not on what it receives: no bytes break them."""


def total(scenario: Scenario, clients: tuple[int, ...]) -> list[int]:
    columns = zip(*(scenario.ring_words(client) for client in clients), strict=True)
    return [sum(column) % 2**scenario.parameters.ring.bits for column in columns]


def named(scenario: Scenario) -> str:
    return scenario.name


@pytest.fixture(scope="module")
def files() -> list[VectorFile]:
    return generate.files()


def test_vectors_are_those_that_would_be_generated(files, monkeypatch):
    monkeypatch.setattr(generate, "files", lambda: files)
    assert generate.main(["--check"]) == 0


def test_every_rule_has_a_vector(files):
    folder = Path(generate.__file__).parent
    rules: set[str] = set()
    for readme in folder.glob("*/README.md"):
        for row in re.findall(r"^\| ([A-Z]\d+(?:, [A-Z]\d+)*) \|", readme.read_text(encoding="utf-8"), re.MULTILINE):
            rules |= set(row.split(", "))
    broken = {v["rule"] for file in files for v in file.vectors if "rule" in v}
    assert broken == rules - WITHOUT_VECTOR


def test_vector_names_are_unique_and_files_are_described(files):
    for file in files:
        content = load(file.protocol, file.name)
        assert list(content)[:3] == ["protocol", "version", "description"]
        assert content["version"] == VERSIONS[file.protocol]
        names = [(v.get("rule"), v["name"]) for v in content["vectors"] if "name" in v]
        assert len(set(names)) == len(names), file.path


@pytest.mark.parametrize("segment", [0, 1])
def test_stream_is_the_keystream_of_gcm(segment):
    key = seed("gcm")
    sealed = AESGCM(key).encrypt(segment.to_bytes(12, "big"), bytes(SEGMENT), None)
    assert stream(key, SEGMENT, segment * SEGMENT) == sealed[:SEGMENT]


def test_stream_does_not_depend_on_where_it_is_cut():
    key, start = seed("cut"), SEGMENT - 100
    whole = stream(key, 200, start)
    for cut in range(0, 200, 7):
        assert stream(key, cut, start) + stream(key, 200 - cut, start + cut) == whole


def test_kdf_is_hkdf_of_rfc_5869():
    """Case 3 of the RFC has an empty salt; ours differs by its info alone, so extract and expand by hand."""
    secret, context = seed("secret"), seed("context")
    extracted = hmac.digest(bytes(32), secret, "sha256")
    info = b"securefed/1/" + b"rounding" + b"\x00" + context
    assert KDF(secret, "rounding", context) == hmac.digest(extracted, info + b"\x01", "sha256")


@pytest.mark.parametrize("threshold", [1, 2, 3, 5])
def test_any_threshold_of_shares_gives_the_secret(threshold):
    secret = 2**256 - 3
    polynomial = [int.from_bytes(seed(f"polynomial/{m}"), "big") for m in range(threshold - 1)]
    shares = [(index, shamir.share(secret, polynomial, index)) for index in (1, 2, 9, 77, 2**32 - 1)]
    for chosen in itertools.permutations(shares, threshold):
        assert shamir.combine(list(chosen), threshold) == secret
    if threshold > 1:
        assert shamir.combine(shares[: threshold - 1], threshold - 1) != secret


def test_modulus_of_the_sharing_is_prime():
    p = shamir.P
    odd, twos = p - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 60):
        powers = [pow(base, odd << i, p) for i in range(twos)]
        assert powers[0] == 1 or p - 1 in powers


@pytest.mark.parametrize("scenario", [*ALL, *PREPARED], ids=named)
def test_pairwise_masks_cancel(scenario):
    """The sum of the masked inputs is the sum of the inputs and of the self masks."""
    result = scenario.run({})
    s, session, bits = scenario.specification, agreed.session(scenario.specification), scenario.parameters.ring.bits
    count = agreed.ring_words_of_round(s)
    S_named = keys.named_session(session, scenario.named_model)
    masks = []
    for client in s.cohort:
        key = keys.self_mask_key(keys.self_mask_seed(scenario.round_secret(client), session), S_named, client)
        masks.append(keys.mask(key, count, bits))
    masked = [0] * count
    for sent in result.transcript:
        if sent.stage == 3 and sent.sender != SERVER:
            body = decode(sent.message, agreed.masked_input(s, sent.sender, graph.attested(s)))
            string = sum(word << (64 * i) for i, word in enumerate(body.words))
            keys.add(masked, 1, [string >> (bits * i) & (2**bits - 1) for i in range(count)])
    expected = [sum(column) for column in zip(total(scenario, s.cohort), *masks, strict=True)]
    assert [word % 2**bits for word in masked] == [word % 2**bits for word in expected]


THREE = Scenario("self-check, three", (3, 90, 2**32 - 1))


@pytest.mark.parametrize("stages", list(itertools.product((None, 1, 2, 3, 5), repeat=3)))
def test_sum_is_exact_for_every_pattern_of_dropouts(stages):
    """n = 3, L = t = 2: with one dropout at most the sum is that of U3, with more the round is aborted."""
    dropouts = {client: stage for client, stage in zip(THREE.cohort, stages, strict=True) if stage}
    result = THREE.run(dropouts)
    if len(dropouts) > 1:
        assert result.sum is None
        assert result.aborted_at == sorted(dropouts.values())[1]
    else:
        sent_an_input = tuple(c for c in THREE.cohort if dropouts.get(c, 9) > 3)
        assert result.answered[3] == sent_an_input
        assert result.sum == total(THREE, sent_an_input)


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("client", SIGNED.cohort)
def test_sum_is_exact_for_every_dropout_of_a_signed_round(stage, client):
    """n = 4, L = t = θ = 3."""
    result = SIGNED.run({client: stage})
    assert result.answered[3] == tuple(c for c in SIGNED.cohort if c != client or stage > 3)
    assert result.sum == total(SIGNED, result.answered[3])


@pytest.mark.parametrize("draw", range(12))
@pytest.mark.parametrize("scenario", [SPARSE_ROUND, SPARSE_SIGNED], ids=named)
def test_a_sparse_round_gives_the_exact_sum_or_none(scenario, draw):
    """Of up to D + 1 dropouts at any stages; where it gives none, somebody names the rule, or too few answered."""
    rng = random.Random(draw)
    gone = rng.sample(scenario.cohort, rng.randint(0, dropouts(len(scenario.cohort), scenario.adversary) + 1))
    result = scenario.run({client: rng.choice([1, 2, 3, 4, 5]) for client in gone})
    if result.sum is None:
        assert result.rule == "S3" or result.aborted_at
        return
    assert result.sum == total(scenario, result.answered[3])
    assert len(result.answered[3]) >= least_survivors(len(scenario.cohort), scenario.adversary)


@pytest.mark.parametrize("scenario", ALL, ids=named)
def test_only_one_kind_of_share_is_released(scenario):
    """Over a whole round no client's seed and mask key can both be combined."""
    gone, here = scenario.cohort[2], scenario.cohort[0]
    result = scenario.run({gone: 3})
    s = scenario.specification
    requests = [m.message for m in result.transcript if m.sender == SERVER and here in m.recipients]
    shares = held_shares(scenario.client(here), s, requests[1], requests[2])
    released = next(m.message for m in result.transcript if m.stage == 5 and m.sender == here)
    assert shares
    for owner, (of_seed, of_key) in shares.items():
        assert (of_seed.to_bytes(33, "big") in released) == (owner != gone)
        assert (of_key.to_bytes(33, "big") in released) == (owner == gone)


@pytest.mark.parametrize("scenario", ALL, ids=named)
def test_shares_lie_with_the_holders_alone(scenario):
    """Each client that sends shares sends them to its picks; in a complete graph to all others."""
    s, result = scenario.specification, scenario.run({})
    k = parameters_of(len(s.cohort), s.adversary).neighbours
    for sent in result.transcript:
        if sent.stage == 2 and sent.sender != SERVER:
            secret = keys.pick_secret(scenario.round_secret(sent.sender), agreed.session(s))
            holders = graph.holders(s, sent.sender, secret)
            assert len(holders) == k
            recipients = holders - {sent.sender}
            body = decode(sent.message, agreed.shares(s, sent.sender, recipients))
            assert (body.pick_secret, set(body.sealed)) == (secret, recipients)


@pytest.mark.parametrize("scenario", ALL, ids=named)
def test_a_step_computed_again_gives_the_same_message(scenario):
    result, client = scenario.run({}), scenario.cohort[1]
    requests = [m.message for m in result.transcript if m.sender == SERVER and client in m.recipients]
    sent = [m.message for m in result.transcript if m.sender == client]
    for stage in range(len(requests)):
        assert reply(scenario.client(client), scenario.ring_words(client), requests[: stage + 1], []) == sent[stage]


def test_equal_rosters_are_what_masks_are_bound_to():
    """Another order of events gives the same roster; another roster gives other masks."""
    S = agreed.session(SCENARIO.specification)
    private, public = (keys.mask_private_key(SECRETS[c], S) for c in (3, 4))
    peer = keys.public_key(public)
    one = keys.pairwise_mask_key(private, peer, S, H(b"one roster"), 3, 4)
    assert one != keys.pairwise_mask_key(private, peer, S, H(b"another"), 3, 4)
    assert one == keys.pairwise_mask_key(public, keys.public_key(private), S, H(b"one roster"), 4, 3)


@pytest.mark.parametrize("wrong", [{}, {2: b"x" * 32}])
def test_k7_an_identity_roster_without_the_own_key_is_refused(wrong):
    own = seed("an identity key")
    with pytest.raises(RuleBroken, match="K7"):
        Client(1, seed("a secret"), own, wrong)
    with pytest.raises(RuleBroken, match="K7"):
        Client(1, seed("a secret"), own, {1: identity(seed("another"))})
    assert Client(1, seed("a secret"), own, {1: identity(own), 2: b"x" * 32}).known


def test_k6_k7_a_server_does_not_begin_with_identities_that_are_missing_or_shared():
    identities = SIGNED.identities
    with pytest.raises(RuleBroken, match="K6"):
        Server(SIGNED.specification, {i: key for i, key in identities.items() if i != 90})
    with pytest.raises(RuleBroken, match="K7"):
        Server(SIGNED.specification, identities | {90: identities[3]})
    assert Server(SIGNED.specification, identities).requests()


def test_a_server_asks_those_of_whom_it_still_waits():
    """Not who has answered, and not who was refused."""
    s = SIGNED.specification
    server, (first, second, *others) = Server(s, SIGNED.identities), s.cohort
    assert list(server.requests()) == list(s.cohort)
    offer = server.request(first)
    server.receive(first, reply(SIGNED.client(first), [], [offer], []))
    with pytest.raises(RuleBroken, match="W1"):
        server.receive(second, b"")
    assert server.requests() == dict.fromkeys(others, offer)


def test_the_consents_looked_for_change_with_every_byte_of_the_agreement():
    s = SAMPLE.specification
    drawn = {graph.consents_looked_for(s, seed("a sample key"), H(bytes([byte]))) for byte in range(20)}
    assert len(drawn) > 15
    assert all(len(set(clients)) == 10 and set(clients) <= set(s.cohort) for clients in drawn)
