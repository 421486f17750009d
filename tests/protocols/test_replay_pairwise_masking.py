"""The pairwise-masking reference replays its vectors."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from protocols.encoding.layout import Layout, TensorSpec
from protocols.notation import KDF, H, RuleBroken, stream
from protocols.pairwise_masking import agreed, graph, keys, shamir, signatures
from protocols.pairwise_masking.parameters import parameters_of
from protocols.pairwise_masking.received import read_delivery, read_offer
from protocols.pairwise_masking.reference import Client, Policy, RoundAborted, Server, replies, run_round
from protocols.vector_files import load
from protocols.wire.bodies import Entry
from protocols.wire.reference import Adversary, decode, decode_specification
from protocols.wire.specification import check_adversary, corrupt_clients, dropouts, least_survivors

PROTOCOL = "pairwise_masking"


def raw(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


def numbers(values: list[str]) -> list[int]:
    return [int(value, 16) for value in values]


def vectors(name: str) -> list[Any]:
    return [pytest.param(v, id=f"{v.get('rule', '')} {v['name']}".strip()) for v in load(PROTOCOL, name)["vectors"]]


@pytest.mark.parametrize("vector", load(PROTOCOL, "derivations")["vectors"], ids=lambda vector: vector["function"])
def test_derivation(vector):
    match vector["function"]:
        case "KDF":
            secret, context, output = raw(vector, "secret", "context", "output")
            assert KDF(secret, vector["label"], context) == output
        case "client keys":
            secret, S = raw(vector, "round_secret", "session")
            channel, mask = keys.channel_private_key(secret, S), keys.mask_private_key(secret, S)
            seed = keys.self_mask_seed(secret, S)
            derived = [channel, keys.public_key(channel), mask, keys.public_key(mask), seed]
            derived += [keys.self_mask_key(seed, S, vector["client"]), keys.commitment(S, vector["client"], seed)]
            pick = keys.pick_secret(secret, S)
            derived += [pick, keys.promise(S, vector["client"], pick), keys.sample_key(secret, S)]
            names = ["channel_private_key", "channel_public_key", "mask_private_key", "mask_public_key"]
            names += ["self_mask_seed", "self_mask_key", "commitment", "pick_secret", "promise", "sample_key"]
            assert derived == raw(vector, *names)
        case "advertisement signature":
            S, private, public, entry, digest, output = raw(
                vector, "session", "identity_key", "identity", "entry", "digest", "output"
            )
            entry = Entry(entry[:32], entry[32:64], entry[64:])
            assert signatures.advertisement_digest(S, vector["client"], entry) == digest
            check_signature(private, public, digest, output)
        case "attestation":
            S, P, private, public, U2, digest, output = raw(
                vector, "session", "roster_digest", "identity_key", "identity", "shared", "digest", "output"
            )
            assert signatures.input_digest(S, P, U2) == digest
            check_signature(private, public, digest, output)
        case "consent signature":
            S, P, private, public, U2, U3, digest, output = raw(
                vector, "session", "roster_digest", "identity_key", "identity", "shared", "survived", "digest", "output"
            )
            assert signatures.consent_digest(S, P, U2, U3) == digest
            check_signature(private, public, digest, output)
        case "share coefficients":
            secret, S, P = raw(vector, "round_secret", "session", "roster_digest")
            derived = shamir.coefficients(secret, S, P, vector["kind"], vector["threshold"])
            assert derived == numbers(vector["coefficients"])
        case "channel key" | "pairwise mask key":
            derive = keys.channel_key if vector["function"] == "channel key" else keys.pairwise_mask_key
            private, public, S, P, output = raw(
                vector, "private_key", "public_key", "session", "roster_digest", "output"
            )
            assert derive(private, public, S, P, vector["sender"], vector["recipient"]) == output
        case "named session":
            S, model, output = raw(vector, "session", "model", "output")
            assert keys.named_session(S, model) == output
            assert keys.named_session(S, None) == S
        case "seal":
            key, header, shares, output = raw(vector, "key", "shares_header", "shares", "output")
            assert keys.seal(key, shares, header, vector["recipient"]) == output
            assert keys.open_sealed(key, output, header, vector["recipient"]) == shares
        case function:
            pytest.fail(f"no replay for {function}")


def check_signature(private: bytes, public: bytes, digest: bytes, signature: bytes) -> None:
    assert signatures.identity(private) == public
    assert signatures.sign(private, digest) == signature
    assert signatures.holds(public, digest, signature)
    assert not signatures.holds(public, digest, bytes(64))


def test_parameters():
    for vector in load(PROTOCOL, "parameters")["vectors"]:
        n, adversary = vector["n"], Adversary(**vector["adversary"])
        check_adversary(n, adversary)
        assert [corrupt_clients(n, adversary), dropouts(n, adversary), least_survivors(n, adversary)] == [
            vector[name] for name in "CDL"
        ]
        p = parameters_of(n, adversary)
        found = (p.complete, p.neighbours, p.threshold, p.mask_neighbours, p.mask_survivors, p.sample, p.consents)
        assert (*found, p.inputs) == tuple(vector[name] for name in ("complete", "k", "t", "κ", "τ", "q", "θ", "ℓ"))


def test_picks():
    for vector in load(PROTOCOL, "picks")["vectors"]:
        cohort = tuple(vector["cohort"])
        if vector["function"] == "picks":
            S, pick_secret = raw(vector, "session", "pick_secret")
            drawn = graph.drawn_picks(S, cohort, vector["client"], pick_secret, vector["k"])
            assert list(drawn) == vector["picks"]
            assert vector["client"] not in drawn
        else:
            sample_key, digest = raw(vector, "sample_key", "agreement_digest")
            drawn = graph.drawn_consents(cohort, sample_key, digest, vector["q"])
            assert list(drawn) == vector["drawn"]
        assert len(set(drawn)) == len(drawn)


def test_streams():
    for vector in load(PROTOCOL, "streams")["vectors"]:
        data = stream(bytes.fromhex(vector["key"]), vector["length"], vector["start"])
        if "bytes" in vector:
            assert data.hex() == vector["bytes"]
        else:
            assert H(data).hex() == vector["sha256"]
            assert data[-32:].hex() == vector["last"]


def test_shamir():
    for vector in load(PROTOCOL, "shamir")["vectors"]:
        shares = list(zip(vector["indices"], numbers(vector["shares"]), strict=True))
        if "rule" in vector:
            with pytest.raises(RuleBroken) as broken:
                shamir.combine(shares, vector["threshold"])
            assert broken.value.rule == vector["rule"]
        elif vector["operation"] == "combine":
            assert shamir.combine(shares, vector["threshold"]) == int(vector["secret"], 16)
        else:
            polynomial = numbers(vector["coefficients"])
            assert [shamir.share(int(vector["secret"], 16), polynomial, i) for i, _ in shares] == [
                value for _, value in shares
            ]


FILES = ("rounds", "rounds_signed", "rounds_sparse", "rounds_sparse_signed", "rounds_prepared")
ROUNDS = [vector for name in FILES for vector in vectors(name)]


@pytest.mark.parametrize("vector", ROUNDS)
def test_round(vector):
    specification = decode_specification(bytes.fromhex(vector["specification"]))
    clients = vector["clients"]
    own_keys = {c["id"]: bytes.fromhex(c["identity_key"]) for c in clients if c["identity_key"]}
    assert {i: signatures.identity(key) for i, key in own_keys.items()} == identities_from(vector)
    result = run_round(
        specification,
        {c["id"]: bytes.fromhex(c["round_secret"]) for c in clients},
        {c["id"]: c["ring_words"] for c in clients},
        {c["id"]: c["drops_out_at"] for c in clients if c["drops_out_at"] is not None},
        own_keys,
        bytes.fromhex(vector["model"]) if "model" in vector else None,
    )
    sent = [
        {"stage": s.stage, "from": s.sender, "to": list(s.recipients), "message": s.message.hex()}
        for s in result.transcript
    ]
    assert sent == vector["messages"]
    assert [list(who) for who in result.answered.values()] == vector["answered"]
    assert result.refused == {r["client"]: (r["stage"], r["rule"]) for r in vector["refused"]}
    assert (result.sum, result.aborted_at, result.rule) == (vector["sum"], vector["aborted_at"], vector["aborted_by"])


def identities_from(vector: dict[str, Any]) -> dict[int, bytes]:
    return {entry["id"]: bytes.fromhex(entry["key"]) for entry in vector["identities"]}


def client_from(file: dict[str, Any]) -> Client:
    client = file["client"]
    tensors = tuple(TensorSpec(t["name"], t["dtype"], tuple(t["shape"])) for t in file["layout"]["tensors"])
    return Client(
        client["id"],
        bytes.fromhex(client["round_secret"]),
        client["identity_key"] and bytes.fromhex(client["identity_key"]),
        identities_from(file),
        Policy(**file["policy"]),
        Layout(tensors, tuple(file["layout"]["scalars"])),
        **file["record"],
    )


def with_record_of(client: Client, vector: dict[str, Any]) -> Client:
    """The client with the record that it has by the delivery, where the vector says one."""
    since = [request["last_input"] for request in vector["requests"] if "last_input" in request]
    return replace(client, last_input_since=since[0]) if since else client


def requests_from(file: dict[str, Any], vector: dict[str, Any]) -> list[bytes]:
    good = file["good_requests"]
    return [bytes.fromhex(r["message"] if "message" in r else good[r["good"]]) for r in vector["requests"]]


CLIENT_REFUSES = [f"client_refuses{which}" for which in ("", "_signed", "_sparse", "_prepared")]


@pytest.mark.parametrize("name", CLIENT_REFUSES)
def test_client_refuses(name):
    file = load(PROTOCOL, name)
    client = client_from(file)
    for vector in file["vectors"]:
        ours, requests = with_record_of(client, vector), requests_from(file, vector)
        outcomes = replies(ours, file["client"]["ring_words"], requests)
        rules = [outcome.rule if isinstance(outcome, RuleBroken) else None for outcome in outcomes]
        assert rules == [request.get("rule") for request in vector["requests"]], vector["name"]
        assert rules[-1] == vector["rule"]


@pytest.mark.parametrize("name", ["client_goes_on", "client_goes_on_signed", "client_goes_on_prepared"])
def test_client_goes_on(name):
    """Of whom a share did not open nothing is released."""
    file = load(PROTOCOL, name)
    client = client_from(file)
    for vector in file["vectors"]:
        requests = requests_from(file, vector)
        outcomes = replies(with_record_of(client, vector), file["client"]["ring_words"], requests)
        assert outcomes == [bytes.fromhex(answer) for answer in vector["answers"]], vector["name"]
        if vector["released"] is None:
            continue
        specification = read_offer(client, requests[0])
        body = decode(outcomes[-1], agreed.release(specification, client.id, specification.cohort))
        assert list(body.shares) == vector["released"]
        held = set(read_delivery(client, specification, requests[1], requests[2]).senders)
        assert (set(vector["released"]) < held | {client.id}) or "rule" not in vector


def replayed(file: dict[str, Any], vector: dict[str, Any]) -> Server:
    """The server after all events, each of which went as it says."""
    good = {(a["client"], a["stage"]): a["message"] for a in file["good_answers"]}
    server = Server(decode_specification(bytes.fromhex(file["specification"])), identities_from(file))
    for event in vector["events"]:
        before = (server.stage, set(server.answered))
        if "client" in event:
            message = event["message"] if "message" in event else good[event["client"], event["good"]]
            step = partial(server.receive, event["client"], bytes.fromhex(message))
        elif "name_model" in event:
            step = partial(server.name_model, bytes.fromhex(event["name_model"]))
        else:
            step = server.advance
        if "rule" in event:
            with pytest.raises(RuleBroken) as broken:
                step()
            assert broken.value.rule == event["rule"]
            assert (server.stage, set(server.answered)) == before
            assert f"client {event.get('seed_of', '')}" in broken.value.detail or "seed_of" not in event
        elif "aborts" in event:
            with pytest.raises(RoundAborted):
                step()
        else:
            step()
    return server


SERVER_FILES = ("server_refuses", "server_refuses_signed", "server_refuses_prepared")
SERVER_REFUSES = [(load(PROTOCOL, name), name) for name in SERVER_FILES]


@pytest.mark.parametrize(
    ("file", "vector"),
    [
        pytest.param(file, v, id=f"{name} {v['rule']} {v['name']}")
        for file, name in SERVER_REFUSES
        for v in file["vectors"]
    ],
)
def test_server_refuses(file, vector):
    replayed(file, vector)
    assert vector["events"][-1]["rule"] == vector["rule"]


@pytest.mark.parametrize("name", ["wrong_shares", "wrong_shares_signed"])
def test_wrong_shares_are_found(name):
    file = load(PROTOCOL, name)
    for vector in file["vectors"]:
        server = replayed(file, vector)
        assert server.sum == vector["sum"], vector["name"]
        assert sorted(server.wrong) == vector["wrong"], vector["name"]
        assert (vector.get("rule") == "S7") == bool(vector["wrong"])
