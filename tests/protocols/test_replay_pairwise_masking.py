"""The pairwise-masking reference replays its vectors."""

from functools import partial
from typing import Any

import pytest

from protocols.encoding.layout import Layout, TensorSpec
from protocols.notation import KDF, H, RuleBroken, stream
from protocols.pairwise_masking import keys, shamir
from protocols.pairwise_masking.reference import Client, Policy, RoundAborted, Server, replies, run_round
from protocols.vector_files import load
from protocols.wire.reference import decode_specification

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
            names = ["channel_private_key", "channel_public_key", "mask_private_key", "mask_public_key"]
            assert derived == raw(vector, *names, "self_mask_seed", "self_mask_key", "commitment")
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
        case "seal":
            key, header, shares, output = raw(vector, "key", "shares_header", "shares", "output")
            assert keys.seal(key, shares, header, vector["recipient"]) == output
            assert keys.open_sealed(key, output, header, vector["recipient"]) == shares
        case function:
            pytest.fail(f"no replay for {function}")


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


@pytest.mark.parametrize("vector", vectors("rounds"))
def test_round(vector):
    specification = decode_specification(bytes.fromhex(vector["specification"]))
    clients = vector["clients"]
    result = run_round(
        specification,
        {c["id"]: bytes.fromhex(c["round_secret"]) for c in clients},
        {c["id"]: c["ring_words"] for c in clients},
        {c["id"]: c["drops_out_at"] for c in clients if c["drops_out_at"] is not None},
    )
    sent = [
        {"stage": s.stage, "from": s.sender, "to": list(s.recipients), "message": s.message.hex()}
        for s in result.transcript
    ]
    assert sent == vector["messages"]
    assert [list(who) for who in result.answered] == vector["answered"]
    assert (result.sum, result.aborted_at) == (vector["sum"], vector["aborted_at"])


@pytest.mark.parametrize("vector", vectors("client_refuses"))
def test_client_refuses(vector):
    file = load(PROTOCOL, "client_refuses")
    identity = file["client"]
    tensors = tuple(TensorSpec(t["name"], t["dtype"], tuple(t["shape"])) for t in file["layout"]["tensors"])
    layout = Layout(tensors, tuple(file["layout"]["scalars"]))
    client = Client(identity["id"], bytes.fromhex(identity["round_secret"]), Policy(**file["policy"]), layout)
    good = file["good_requests"]
    requests = [bytes.fromhex(r["message"] if "message" in r else good[r["good"]]) for r in vector["requests"]]
    outcomes = replies(client, identity["ring_words"], requests)
    rules = [outcome.rule if isinstance(outcome, RuleBroken) else None for outcome in outcomes]
    assert rules == [request.get("rule") for request in vector["requests"]]
    assert rules[-1] == vector["rule"]


@pytest.mark.parametrize("vector", vectors("server_refuses"))
def test_server_refuses(vector):
    file = load(PROTOCOL, "server_refuses")
    good = {(a["client"], a["stage"]): a["message"] for a in file["good_answers"]}
    server = Server(decode_specification(bytes.fromhex(file["specification"])))
    for event in vector["events"]:
        before = (server.stage, set(server.answered))
        if "client" in event:
            message = event["message"] if "message" in event else good[event["client"], event["good"]]
            step = partial(server.receive, event["client"], bytes.fromhex(message))
        else:
            step = server.advance
        if "rule" in event:
            with pytest.raises(RuleBroken) as broken:
                step()
            assert broken.value.rule == event["rule"]
            assert (server.stage, set(server.answered)) == before
        elif "aborts" in event:
            with pytest.raises(RoundAborted):
                step()
        else:
            step()
    assert vector["events"][-1]["rule"] == vector["rule"]
