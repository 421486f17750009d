"""The vectors of protocols/pairwise_masking, good and bad, through our state machines."""

from __future__ import annotations

from typing import Any

import pytest

from securefed.aggregation import Policy
from securefed.crypto import aead, shamir
from securefed.crypto.hashing import digest
from securefed.crypto.kdf import Label, derive
from securefed.crypto.keystream import Reader
from securefed.crypto.x25519 import PrivateKey
from securefed.encoding.layout import Layout
from securefed.errors import RoundAborted
from securefed.secagg.client import MaskingClient
from securefed.secagg.keys import ClientSecrets, PairContext, commitment, self_mask_key
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import STAGES
from securefed.wire.specification import RoundSpec
from tests.differential.reading import array_from, identity_from, layout_from, load, named, update_from
from tests.rounds import OPEN
from tests.rules import refused

PROTOCOL = "pairwise_masking"


def spec_from(vector: dict[str, Any]) -> RoundSpec:
    return RoundSpec.parse(memoryview(bytes.fromhex(vector["specification"])))


@pytest.mark.parametrize("vector", load(PROTOCOL, "derivations")["vectors"], ids=lambda vector: vector["function"])
def test_derivations(vector: dict[str, Any]) -> None:
    raw = {
        name: bytes.fromhex(value)
        for name, value in vector.items()
        if isinstance(value, str) and name not in ("function", "label")
    }
    match vector["function"]:
        case "KDF":
            assert derive(raw["secret"], Label(vector["label"]), raw["context"]) == raw["output"]
        case "client keys":
            secrets = ClientSecrets(raw["round_secret"], raw["session"])
            assert secrets.channel.public == raw["channel_public_key"]
            assert secrets.mask.public == raw["mask_public_key"]
            assert secrets.self_mask_seed == raw["self_mask_seed"]
            assert PrivateKey(raw["mask_private_key"]).public == secrets.mask.public
            assert self_mask_key(secrets.self_mask_seed, raw["session"], vector["client"]) == raw["self_mask_key"]
            assert commitment(secrets.self_mask_seed, raw["session"], vector["client"]) == raw["commitment"]
        case "share coefficients":
            context = raw["session"] + raw["roster_digest"] + bytes([vector["kind"]])
            made = shamir.coefficients(raw["round_secret"], vector["threshold"], context)
            assert [value.to_bytes(33, "big").hex() for value in made] == vector["coefficients"]
        case "channel key" | "pairwise mask key":
            pairs = PairContext(raw["session"], raw["roster_digest"])
            make = pairs.channel_key if vector["function"] == "channel key" else pairs.mask_key
            made = make(PrivateKey(raw["private_key"]), raw["public_key"], vector["sender"], vector["recipient"])
            assert made == raw["output"]
        case "seal":
            data = raw["shares_header"] + vector["recipient"].to_bytes(4, "big")
            assert aead.seal(raw["key"], raw["shares"], data) == raw["output"]
            assert aead.open_sealed(raw["key"], raw["output"], data) == raw["shares"]
        case function:
            pytest.fail(f"no replay for {function}")


@pytest.mark.parametrize("vector", load(PROTOCOL, "streams")["vectors"], ids=lambda v: f"{v['start']}+{v['length']}")
def test_streams(vector: dict[str, Any]) -> None:
    if vector["start"] > 2**30:
        pytest.skip("our stream is read from its front alone, and this piece lies 64 GiB behind it")
    reader = Reader(bytes.fromhex(vector["key"]))
    reader.take(vector["start"])
    data = reader.take(vector["length"]).tobytes()
    if "bytes" in vector:
        assert data.hex() == vector["bytes"]
    else:
        assert (digest(data).hex(), data[-32:].hex()) == (vector["sha256"], vector["last"])


@pytest.mark.parametrize("vector", named(PROTOCOL, "shamir"))
def test_shamir(vector: dict[str, Any]) -> None:
    threshold, indices = vector["threshold"], vector["indices"]
    if vector["operation"] == "share":
        secret = bytes.fromhex(vector["secret"])
        assert secret[0] == 0
        above = [int(value, 16) for value in vector["coefficients"]]
        assert [share.hex() for share in shamir.split(secret[1:], above, indices)] == vector["shares"]
        return
    shares = dict(zip(indices, map(bytes.fromhex, vector["shares"]), strict=True)) if indices else {}

    def combine() -> int:
        for share in shares.values():
            shamir.share_from_bytes(share)
        return shamir.Responders(indices, threshold).combine(shares)

    if "rule" in vector:
        with refused(vector["rule"]):
            combine()
    else:
        assert combine() == int(vector["secret"], 16)


@pytest.mark.parametrize("vector", named(PROTOCOL, "rounds"))
def test_rounds(vector: dict[str, Any]) -> None:
    """Every message to the byte, who answered, where it was aborted, the sum and its mean."""
    spec, layout = spec_from(vector), layout_from(vector["layout"])
    server = MaskingServer(spec, layout)
    clients = {client["id"]: client for client in vector["clients"]}
    sessions = {
        number: MaskingClient(
            identity_from(number, layout, client["rounding_key"]), round_secret=bytes.fromhex(client["round_secret"])
        )
        for number, client in clients.items()
    }
    sent = []
    answered = []
    aborted_at = None
    for number, _ in enumerate(STAGES, start=1):
        recipients: dict[bytes, list[int]] = {}
        for client, request in sorted(server.requests().items()):
            recipients.setdefault(request, []).append(client)
        sent += [(number, 0, who, message.hex()) for message, who in recipients.items()]
        present = []
        for client, request in sorted(server.requests().items()):
            if (clients[client]["drops_out_at"] or 9) > number:
                reply = sessions[client].reply(request, lambda c=client: update_from(clients[c]["update"]))
                server.receive(client, reply)
                sent.append((number, client, [0], reply.hex()))
                present.append(client)
        answered.append(present)
        try:
            server.advance()
        except RoundAborted:
            aborted_at = number
            break
    assert sent == [(m["stage"], m["from"], m["to"], m["message"]) for m in vector["messages"]]
    assert (answered, aborted_at) == (vector["answered"], vector["aborted_at"])
    if vector["sum"] is None:
        assert server.aggregate is None
        return
    assert server.aggregate is not None
    assert server.aggregate.words is not None
    assert server.aggregate.words.tolist() == vector["sum"]
    for tensor in vector["mean"]["tensors"]:
        assert server.aggregate.tensors[tensor["name"]].tolist() == array_from(tensor).tolist()
    assert server.aggregate.weight == vector["mean"]["weight"]
    assert server.aggregate.metrics == vector["mean"]["metrics"]


def client_of(file: dict[str, Any], layout: Layout) -> MaskingClient:
    """A policy's threshold is a share here and a number there."""
    theirs = file["policy"]
    policy = Policy(
        OPEN.schemes,
        least_cohort=theirs["least_cohort"],
        least_sum=1,
        least_threshold=(theirs["least_threshold"] - 0.5) / theirs["least_cohort"],
        greatest_clip=theirs["greatest_clip"],
        least_bits=theirs["least_bits"],
    )
    identity = identity_from(file["client"]["id"], layout, file["client"]["rounding_key"], policy)
    return MaskingClient(identity, round_secret=bytes.fromhex(file["client"]["round_secret"]))


@pytest.mark.parametrize("vector", named(PROTOCOL, "client_refuses"))
def test_what_a_client_refuses(vector: dict[str, Any]) -> None:
    file = load(PROTOCOL, "client_refuses")
    client = client_of(file, layout_from(file["layout"]))
    for request in vector["requests"]:
        message = bytes.fromhex(request["message"] if "message" in request else file["good_requests"][request["good"]])
        if "rule" in request:
            with refused(request["rule"]):
                client.reply(message, lambda: update_from(file["client"]["update"]))
        else:
            client.reply(message, lambda: update_from(file["client"]["update"]))
    assert vector["requests"][-1]["rule"] == vector["rule"]


@pytest.mark.parametrize("vector", named(PROTOCOL, "server_refuses"))
def test_what_a_server_refuses(vector: dict[str, Any]) -> None:
    file = load(PROTOCOL, "server_refuses")
    good = {(answer["client"], answer["stage"]): answer["message"] for answer in file["good_answers"]}
    server = MaskingServer(spec_from(file), layout_from(file["layout"]))
    for event in vector["events"]:
        if "client" in event:
            message = bytes.fromhex(event["message"] if "message" in event else good[event["client"], event["good"]])
            if "rule" in event:
                with refused(event["rule"], peer=event["client"]):
                    server.receive(event["client"], message)
            else:
                server.receive(event["client"], message)
        elif "rule" in event:
            with pytest.raises(RoundAborted, match=rf"\[{event['rule']}\]"):
                server.advance()
            assert server.aggregate is None
        elif "aborts" in event:
            with pytest.raises(RoundAborted):
                server.advance()
        else:
            server.advance()
