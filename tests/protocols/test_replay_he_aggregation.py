"""The reference of homomorphic aggregation replays its vectors."""

from functools import partial
from typing import Any

import pytest

from protocols.encoding.layout import Layout, TensorSpec
from protocols.he_aggregation import agreed, bfv, ciphers, ckks, keys, packing, tags
from protocols.he_aggregation.bfv import Randomness
from protocols.he_aggregation.ckks import SlotRandomness
from protocols.he_aggregation.client import Contribution
from protocols.he_aggregation.message_answers import body_vector
from protocols.he_aggregation.messages import decode, encode
from protocols.he_aggregation.parameters import (
    RINGS,
    Ring,
    binding,
    binding_of,
    check_ring,
    greatest_plain_bits,
    packing_of,
    packing_of_round,
)
from protocols.he_aggregation.reference import Client, RoundAborted, Server, replies, run_round
from protocols.he_aggregation.scenario import repeated
from protocols.he_aggregation.slots import slots_of, to_lanes
from protocols.notation import H, RuleBroken
from protocols.pairwise_masking import signatures
from protocols.pairwise_masking.participant import Policy
from protocols.vector_files import load
from protocols.wire.specification import decode_specification
from tests.protocols.test_replay_wire import agreed_from

PROTOCOL = "he_aggregation"


def named(name: str) -> list[Any]:
    return [pytest.param(v, id=f"{v.get('rule', '')} {v['name']}".strip()) for v in load(PROTOCOL, name)["vectors"]]


def raw(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


@pytest.mark.parametrize("vector", named("parameters"))
def test_parameters(vector):
    if "degree" in vector:
        asked = partial(check_ring, Ring(vector["degree"], vector["modulus_bits"]))
    else:
        asked = partial(packing_of, RINGS[vector["suite"]], vector["n"], vector["bits"], vector["lanes"])
    if "rule" in vector:
        with pytest.raises(RuleBroken) as broken:
            asked()
        assert broken.value.rule == vector["rule"]
        return
    p = asked()
    if p is None:
        return
    found = (p.lane_bits, greatest_plain_bits(p.ring, vector["n"]), p.lanes, p.plain_bits, p.dropped, p.coefficients)
    found += (p.polynomials, bfv.payload_bytes(p), bfv.sum_bytes(p))
    names = ("w", "greatest_p", "k", "p", "r", "coefficients", "polynomials", "payload_bytes", "sum_bytes")
    assert found == tuple(vector[name] for name in names)


@pytest.mark.parametrize("vector", named("slots"))
def test_slots(vector):
    def asked():
        p = slots_of(vector["suite"], vector["n"], vector["bits"], vector["lanes"])
        return to_lanes(vector["opened"], vector["summands"], p) if "opened" in vector else p

    if "rule" in vector:
        with pytest.raises(RuleBroken) as broken:
            asked()
        assert broken.value.rule == vector["rule"]
        return
    found = asked()
    if "opened" in vector:
        assert found == vector["sums"]
        return
    lengths = (found.polynomials, ckks.payload_bytes(found), ckks.sum_bytes(found))
    numbers = (found.ring.degree, found.lane_bits, found.lanes, found.scale_bits, found.parts, found.centre, *lengths)
    names = ("N", "w", "g", "f", "parts", "c", "polynomials", "payload_bytes", "sum_bytes")
    assert numbers == tuple(vector[name] for name in names)


@pytest.mark.parametrize("vector", load(PROTOCOL, "derivations")["vectors"], ids=lambda vector: vector["function"])
def test_derivation(vector):
    match vector["function"]:
        case "binding":
            p = packing_of(RINGS[vector["suite"]], vector["n"], vector["bits"], vector["lanes"])
            S, output = raw(vector, "session", "output")
            assert binding_of(S, vector["suite"], p) == output
        case "exchange key":
            secret, S, private, public = raw(vector, "round_secret", "session", "private_key", "public_key")
            identity_key, digest, signature = raw(vector, "identity_key", "digest", "signature")
            assert keys.exchange_private_key(secret, S) == private
            assert keys.public_key(private) == public
            assert keys.entry_digest(S, vector["client"], public) == digest
            assert signatures.sign(identity_key, digest) == signature
        case "round key":
            secret, B, output, key_id = raw(vector, "round_secret", "binding", "output", "id")
            assert keys.round_key(secret, B) == output
            assert keys.key_id(B, output) == key_id
        case "secret polynomial":
            key, B, hashed = raw(vector, "round_key", "binding", "sha256")
            s = keys.secret_polynomial(key, B, Ring(vector["degree"], 2))
            assert (s[:64], H(bytes(x % 3 for x in s))) == (vector["first"], hashed)
        case "sealing key":
            B, private, public, output = raw(vector, "binding", "private_key", "public_key", "output")
            who = vector["holder"], vector["recipient"], vector["recipients"]
            assert keys.sealing_key(private, public, B, *who) == output
        case "seal":
            key, header, round_key, output = raw(vector, "key", "header", "round_key", "output")
            assert keys.seal(key, round_key, header, vector["recipient"]) == output
            assert keys.open_sealed(key, output, header, vector["recipient"]) == round_key
        case "tag coefficients":
            key, B = raw(vector, "round_key", "binding")
            assert tags.coefficients(key, B, vector["tag"], len(vector["output"])) == vector["output"]
        case "tag pads":
            key, B = raw(vector, "round_key", "binding")
            assert tags.pads(key, B, vector["client"]) == vector["output"]
        case function:
            pytest.fail(f"no replay for {function}")


@pytest.mark.parametrize("vector", named("packing"))
def test_packing(vector):
    p = packing_of(RINGS[vector["suite"]], vector["n"], vector["bits"], len(vector.get("lanes", [0])))
    if "lanes" in vector:
        (polynomial,) = packing.to_polynomials(vector["lanes"], p)
        assert polynomial[: p.coefficients] == vector["plain"]
        assert packing.to_lanes(polynomial, p) == vector["lanes"]
        return
    assert [packing.drop(x, p) for x in vector["coefficients"]] == vector["sent"]
    packed = bytes.fromhex(vector["packed"])
    assert packing.pack_bits(vector["sent"], p.sent_bits) == packed
    assert packing.unpack_bits(packed, len(vector["sent"]), p.sent_bits) == vector["sent"]


@pytest.mark.parametrize("vector", named("encryption"))
def test_encryption(vector):
    ring = RINGS[vector["suite"]]
    if "lanes" not in vector:
        count, both = 2 * ring.degree, "seed" in vector
        numbers = bfv.uniform_numbers(raw(vector, "seed")[0], count, ring.bits) if both else None
        numbers = numbers or bfv.errors(raw(vector, "error_key")[0], count)
        assert list(numbers[:8]) == vector["first"]
        assert H(b"".join((x % 2**64).to_bytes(8, "little") for x in numbers)).hex() == vector["sha256"]
        return
    p = packing_of(ring, vector["n"], vector["bits"], len(vector["lanes"]))
    key, B, payload = raw(vector, "round_key", "binding", "payload")
    s = keys.secret_polynomial(key, B, ring)
    assert bfv.encrypt(vector["lanes"], s, p, Randomness(*raw(vector, "seed", "error_key"))) == payload
    received = bfv.read_payload(payload, p)
    assert bfv.decrypt(received, s, p, 1) == vector["lanes"]
    assert max(map(abs, bfv.errors_of(received, vector["lanes"], s, p, 1))) <= 21 + 2 ** (p.dropped - 1)


@pytest.mark.parametrize("vector", named("tags"))
def test_tags(vector):
    key, B = raw(vector, "round_key", "binding")
    if "rule" in vector:
        with pytest.raises(RuleBroken, match=vector["rule"]):
            tags.check_sum(key, B, vector["clients"], vector["sums"], vector["bits"])
    elif "sums" in vector:
        assert tags.check_sum(key, B, vector["clients"], vector["sums"], vector["bits"]) == vector["values"]
    else:
        lanes = vector["lanes"]
        assert tags.tags(key, B, vector["client"], lanes) == vector["tags"]
        assert tags.with_tags(key, B, vector["client"], lanes, vector["bits"]) == lanes + vector["digits"]


@pytest.mark.parametrize("vector", named("messages"))
def test_message_decodes_to_its_body_and_back(vector):
    message, given = bytes.fromhex(vector["message"]), agreed_from(vector["agreed"])
    body = decode(message, given)
    assert body_vector(body) == vector["body"]
    round_ = int.from_bytes(message[40:44], "big")
    assert encode(body, given.suite, message[8:40], round_, given.sender, given.cohort or ()) == message


@pytest.mark.parametrize("vector", named("refused"))
def test_bad_message_breaks_its_rule(vector):
    with pytest.raises(RuleBroken) as broken:
        decode(bytes.fromhex(vector["message"]), agreed_from(vector["agreed"]))
    assert broken.value.rule == vector["rule"]


@pytest.mark.parametrize("vector", named("messages"))
def test_any_other_bytes_are_read_or_refused_by_a_rule(vector):
    message, given = bytes.fromhex(vector["message"]), agreed_from(vector["agreed"])
    others = [message[:length] for length in range(0, len(message), 7)]
    others += [message[:i] + bytes([message[i] ^ 0x81]) + message[i + 1 :] for i in range(0, len(message), 3)]
    for other in others:
        try:
            body = decode(other, given)
        except RuleBroken:
            continue
        round_ = int.from_bytes(other[40:44], "big")
        assert encode(body, given.suite, other[8:40], round_, given.sender, given.cohort or ()) == other


@pytest.mark.parametrize("vector", named("ciphertexts"))
def test_ciphertexts_of_the_library_add_up_and_open(vector):
    s, suite = decode_specification(bytes.fromhex(vector["specification"])), vector["suite"]
    p, B = packing_of_round(s, suite), binding(s, suite)
    key = keys.round_key(bytes.fromhex(vector["round_secret"]), B)
    secret = keys.secret_polynomial(key, B, p.ring)
    total, columns = None, []
    for client, message in zip(vector["clients"], vector["messages"], strict=True):
        body = decode(bytes.fromhex(message), agreed.ciphertexts(s, suite, client["id"]))
        received = ciphers.read_payload(body.payload, p)
        columns.append(ciphers.decrypt(received, secret, p, 1))
        assert columns[-1] == tags.with_tags(key, B, client["id"], client["lanes"], s.bits)
        total = received if total is None else ciphers.add(total, received, p)
    assert ciphers.sum_payload(total, p).hex() == vector["sum"]
    assert ciphers.read_sum(bytes.fromhex(vector["sum"]), p) == total
    assert ciphers.decrypt(total, secret, p, len(s.cohort)) == vector["sums"]
    assert [sum(column) for column in zip(*columns, strict=True)] == vector["sums"]
    assert tags.check_sum(key, B, s.cohort, vector["sums"], s.bits) == vector["values"]


def identities_from(vector: dict[str, Any]) -> dict[int, bytes]:
    return {entry["id"]: bytes.fromhex(entry["key"]) for entry in vector["identities"]}


def contribution_from(client: dict[str, Any], degree: int) -> Contribution:
    drawn = client["randomness"]
    if "seed" in drawn:
        return Contribution(client["lanes"], Randomness(*raw(drawn, "seed", "error_key")))
    errors = repeated(drawn["errors"], degree)
    return Contribution(client["lanes"], [SlotRandomness(bytes.fromhex(seed), errors) for seed in drawn["seeds"]])


@pytest.mark.parametrize("vector", named("rounds"))
def test_round(vector):
    s, suite = decode_specification(bytes.fromhex(vector["specification"])), vector["suite"]
    clients, degree = vector["clients"], packing_of_round(s, suite).ring.degree
    result = run_round(
        s,
        suite,
        {c["id"]: bytes.fromhex(c["round_secret"]) for c in clients},
        {c["id"]: contribution_from(c, degree) for c in clients},
        {c["id"]: c["drops_out_at"] for c in clients if c["drops_out_at"] is not None},
        {c["id"]: bytes.fromhex(c["identity_key"]) for c in clients if c["identity_key"]},
        frozenset((c["id"], c["away_at"]) for c in clients if c["away_at"] is not None),
    )
    sent = [(m["stage"], m["from"], m["to"], m["message"]) for m in vector["messages"]]
    assert [(m.stage, m.sender, list(m.recipients), m.message.hex()) for m in result.transcript] == sent
    answered = [(stage["stage"], tuple(stage["clients"])) for stage in vector["answered"]]
    assert (result.answered, result.holder) == (answered, vector["holder"])
    assert (result.aborted_at, result.refused) == (vector["aborted_at"], {})
    assert result.sum == vector["sum"]
    if result.sum is not None:
        words = [c["ring_words"] for c in clients if c["id"] in result.survived]
        assert [sum(column) for column in zip(*words, strict=True)] == result.sum


def layout_from(file: dict[str, Any]) -> Layout:
    tensors = tuple(TensorSpec(t["name"], t["dtype"], tuple(t["shape"])) for t in file["layout"]["tensors"])
    return Layout(tensors, tuple(file["layout"]["scalars"]))


def client_from(file: dict[str, Any]) -> Client:
    client = file["client"]
    return Client(
        client["id"],
        bytes.fromhex(client["round_secret"]),
        client["identity_key"] and bytes.fromhex(client["identity_key"]),
        identities_from(file),
        Policy(**file["policy"]),
        layout_from(file),
        **file["record"],
    )


def message_from(file: dict[str, Any], request: dict[str, Any]) -> bytes:
    if "message" in request:
        return bytes.fromhex(request["message"])
    message = bytearray.fromhex(file["good_requests"][request["good"]])
    for change in request.get("changes", []):
        new = bytes.fromhex(change["bytes"])
        message[change["at"] : change["at"] + len(new)] = new
    return bytes(message)


@pytest.mark.parametrize("name", ["client_refuses", "holder_refuses", "slots_holder_refuses"])
def test_client_refuses(name):
    file = load(PROTOCOL, name)
    client, brought = client_from(file), contribution_from(file["client"], 1024)
    for vector in file["vectors"]:
        requests = [message_from(file, request) for request in vector["requests"]]
        outcomes = replies(client, file["suite"], brought, requests)
        rules = [outcome.rule if isinstance(outcome, RuleBroken) else None for outcome in outcomes]
        assert rules == [request.get("rule") for request in vector["requests"]], vector["name"]
        assert rules[-1] == vector["rule"]


def test_server_refuses():
    file = load(PROTOCOL, "server_refuses")
    good = {(a["client"], a["stage"]): a["message"] for a in file["good_answers"]}
    specification = decode_specification(bytes.fromhex(file["specification"]))
    for vector in file["vectors"]:
        server = Server(specification, file["suite"], layout_from(file), identities_from(file))
        for event in vector["events"]:
            before = (server.stage, set(server.answered))
            step = server.advance
            if "client" in event:
                message = event["message"] if "message" in event else good[event["client"], event["good"]]
                step = partial(server.receive, event["client"], bytes.fromhex(message))
            if "rule" in event:
                with pytest.raises(RuleBroken) as broken:
                    step()
                assert (broken.value.rule, vector["name"]) == (event["rule"], vector["name"])
                assert (server.stage, set(server.answered)) == before
            elif "aborts" in event:
                with pytest.raises(RoundAborted):
                    step()
            else:
                step()
        assert vector["events"][-1]["rule"] == vector["rule"]
