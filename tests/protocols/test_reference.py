"""The references against themselves and against what other code knows: they are right, not only repeatable."""

import hmac
import itertools
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols import generate
from protocols.notation import KDF, SEGMENT, H, stream
from protocols.pairwise_masking import agreed, keys, shamir
from protocols.pairwise_masking.client import read_delivery
from protocols.pairwise_masking.reference import Client, Round, masked_input, run_round
from protocols.pairwise_masking.scenario import Scenario
from protocols.vector_files import load, seed
from protocols.wire.reference import SERVER, decode

SCENARIO = Scenario("self-check", (3, 4, 90, 2**32 - 1), 3)
INPUTS = {client: SCENARIO.ring_words(client) for client in SCENARIO.cohort}
SECRETS = {client: SCENARIO.round_secret(client) for client in SCENARIO.cohort}
MODULUS = 2**SCENARIO.parameters.ring.bits

WITHOUT_VECTOR = {"R10"}
"""Rules on what a party does itself, not on what it receives: no bytes break them."""


def run(dropouts: dict[int, int]) -> Round:
    return run_round(SCENARIO.specification, SECRETS, INPUTS, dropouts)


def total(clients: tuple[int, ...]) -> list[int]:
    return [sum(column) % MODULUS for column in zip(*(INPUTS[c] for c in clients), strict=True)]


def test_vectors_are_those_that_would_be_generated():
    assert generate.main(["--check"]) == 0


def test_every_rule_has_a_vector():
    folder = Path(generate.__file__).parent
    rules: set[str] = set()
    for readme in folder.glob("*/README.md"):
        for row in re.findall(r"^\| ([A-Z]\d+(?:, [A-Z]\d+)*) \|", readme.read_text(encoding="utf-8"), re.MULTILINE):
            rules |= set(row.split(", "))
    broken = {v["rule"] for file in generate.files() for v in file.vectors if "rule" in v}
    assert broken == rules - WITHOUT_VECTOR


def test_vector_names_are_unique_and_files_are_described():
    for file in generate.files():
        content = load(file.protocol, file.name)
        assert list(content)[:3] == ["protocol", "version", "description"]
        assert content["version"] == 1
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


def test_pairwise_masks_cancel():
    """The sum of the masked inputs is the sum of the inputs and of the self masks."""
    result = run({})
    s, session, bits = SCENARIO.specification, agreed.session(SCENARIO.specification), MODULUS.bit_length() - 1
    count = len(INPUTS[3])
    masks = [
        keys.mask(keys.self_mask_key(keys.self_mask_seed(SECRETS[c], session), session, c), count, bits)
        for c in s.cohort
    ]
    masked = [0] * count
    for sent in result.transcript:
        if sent.stage == 3 and sent.sender != SERVER:
            body = decode(sent.message, agreed.masked_input(s, sent.sender))
            string = sum(word << (64 * i) for i, word in enumerate(body.words))
            keys.add(masked, 1, [string >> (bits * i) & (MODULUS - 1) for i in range(count)])
    expected = [sum(column) for column in zip(total(s.cohort), *masks, strict=True)]
    assert [word % MODULUS for word in masked] == [word % MODULUS for word in expected]


@pytest.mark.parametrize("stages", list(itertools.product((None, 1, 2, 3, 4), repeat=4)))
def test_sum_is_exact_for_every_pattern_of_dropouts(stages):
    """n = 4, t = 3: with one dropout at most the sum is that of U3, with more the round is aborted."""
    dropouts = {client: stage for client, stage in zip(SCENARIO.cohort, stages, strict=True) if stage}
    result = run(dropouts)
    if len(dropouts) > 1:
        assert result.sum is None
        assert result.aborted_at == sorted(dropouts.values())[1]
    else:
        sent_an_input = tuple(c for c in SCENARIO.cohort if dropouts.get(c, 5) > 3)
        assert result.answered[2] == sent_an_input
        assert result.sum == total(sent_an_input)


def test_only_one_kind_of_share_is_released():
    """Over a whole round no client's seed and mask key can both be combined."""
    result = run({90: 3})
    s = SCENARIO.specification
    requests = [m.message for m in result.transcript if m.sender == SERVER and 3 in m.recipients]
    client = Client(3, SECRETS[3])
    shares = read_delivery(client, s, requests[1], requests[2])
    released = next(m.message for m in result.transcript if m.stage == 4 and m.sender == 3)
    for owner, (of_seed, of_key) in shares.items():
        assert (of_seed.to_bytes(33, "big") in released) == (owner != 90)
        assert (of_key.to_bytes(33, "big") in released) == (owner == 90)


def test_a_step_computed_again_gives_the_same_message():
    result = run({})
    offer, roster, delivery, _ = (m.message for m in result.transcript if m.sender == SERVER and 4 in m.recipients)
    sent = next(m.message for m in result.transcript if m.stage == 3 and m.sender == 4)
    assert masked_input(Client(4, SECRETS[4]), offer, roster, delivery, INPUTS[4]) == sent


def test_equal_rosters_are_what_masks_are_bound_to():
    """Another order of events gives the same roster; another roster gives other masks."""
    S = agreed.session(SCENARIO.specification)
    private, public = (keys.mask_private_key(SECRETS[c], S) for c in (3, 4))
    peer = keys.public_key(public)
    one = keys.pairwise_mask_key(private, peer, S, H(b"one roster"), 3, 4)
    assert one != keys.pairwise_mask_key(private, peer, S, H(b"another"), 3, 4)
    assert one == keys.pairwise_mask_key(public, keys.public_key(private), S, H(b"one roster"), 4, 3)
