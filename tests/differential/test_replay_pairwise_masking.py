"""The vectors of protocols/pairwise_masking, good and bad, through our state machines."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from securefed.aggregation import Record, Update
from securefed.errors import RemoteProtocolError, RoundAborted
from securefed.secagg.client import MaskingClient
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import Stage
from securefed.wire.specification import RoundSpec
from tests.differential.reading import (
    array_from,
    identities_from,
    layout_from,
    load,
    named,
    participant_from,
    policy_from,
    update_from,
)
from tests.rounds import seed
from tests.rules import refused

PROTOCOL = "pairwise_masking"
NUMBERS = {Stage.ADVERTISE: 1, Stage.SHARE: 2, Stage.INPUT: 3, Stage.CONSENT: 4, Stage.RELEASE: 5}
"""The stages as the text counts them."""


def spec_from(vector: dict[str, Any]) -> RoundSpec:
    return RoundSpec.parse(memoryview(bytes.fromhex(vector["specification"])))


KINDS = ("", "_signed", "_sparse", "_sparse_signed", "_prepared")
ROUNDS = [v for name in KINDS for v in named(PROTOCOL, f"rounds{name}")]


@pytest.mark.parametrize("vector", ROUNDS)
def test_rounds(vector: dict[str, Any]) -> None:
    """Every message to the byte, who answered, who refused, where it was aborted, the sum and its mean."""
    spec, layout, identities = spec_from(vector), layout_from(vector["layout"]), identities_from(vector)
    server = MaskingServer(spec, layout, identities)
    clients = {client["id"]: client for client in vector["clients"]}
    sessions = {
        number: MaskingClient(
            participant_from(client, layout, identities), round_secret=bytes.fromhex(client["round_secret"])
        )
        for number, client in clients.items()
    }
    sent, answered, refusals, aborted_at, because = [], [], [], None, ""
    while server.stage is not Stage.DONE and aborted_at is None:
        if spec.prepared and server.stage is Stage.INPUT:
            assert server.requests() == {}
            server.name_model(bytes.fromhex(vector["model"]))
        number = NUMBERS[server.stage]
        recipients: dict[bytes, list[int]] = {}
        for client, request in sorted(server.requests().items()):
            recipients.setdefault(request, []).append(client)
        sent += [(number, 0, who, message.hex()) for message, who in recipients.items()]
        present = []
        for client, request in sorted(server.requests().items()):
            if (clients[client]["drops_out_at"] or 9) <= number:
                continue
            try:
                reply = sessions[client].reply(request, lambda c=client: update_from(clients[c]["update"]))
            except RemoteProtocolError as error:
                refusals.append({"client": client, "stage": number, "rule": error.rule})
                continue
            server.receive(client, reply)
            sent.append((number, client, [0], reply.hex()))
            present.append(client)
        answered.append(present)
        try:
            server.advance()
        except RoundAborted as aborted:
            aborted_at, because = number, str(aborted)
    assert sent == [(m["stage"], m["from"], m["to"], m["message"]) for m in vector["messages"]]
    assert (answered, refusals, aborted_at) == (vector["answered"], vector["refused"], vector["aborted_at"])
    if vector["sum"] is None:
        assert server.aggregate is None
        assert ("[S3]" in because) == (vector["aborted_by"] == "S3")
        return
    assert server.aggregate is not None
    assert server.aggregate.words is not None
    assert server.aggregate.words.tolist() == vector["sum"]
    assert server.wrong_shares == ()
    for tensor in vector["mean"]["tensors"]:
        assert server.aggregate.tensors[tensor["name"]].tolist() == array_from(tensor).tolist()
    assert server.aggregate.weight == vector["mean"]["weight"]
    assert server.aggregate.metrics == vector["mean"]["metrics"]


def vectors_of(*names: str) -> list[Any]:
    """The vectors of several files, each with its file's name."""
    return [
        pytest.param(name, *vector.values, id=f"{name} {vector.id}", marks=vector.marks)
        for name in names
        for vector in named(PROTOCOL, name)
    ]


def client_of(file: dict[str, Any]) -> tuple[MaskingClient, Record]:
    """The client that a file is about, and its record."""
    identities, policy = identities_from(file), policy_from(file["policy"])
    client, layout = file["client"], layout_from(file["layout"])
    identity = participant_from(client, layout, identities, policy, file["record"]["last_input"])
    return MaskingClient(identity, round_secret=bytes.fromhex(client["round_secret"])), identity.record


def update_of(file: dict[str, Any], vector: dict[str, Any]) -> Update:
    """The client's update; of a prepared round it may come from another model than the good one."""
    update = update_from(file["client"]["update"])
    return replace(update, model=bytes.fromhex(vector["model"])) if "model" in vector else update


def message_of(file: dict[str, Any], request: dict[str, Any], record: Record) -> bytes:
    """A request, once the record holds what it holds by then."""
    if "last_input" in request:
        record.claim("input", request["last_input"], seed("another session"))
    return bytes.fromhex(request["message"] if "message" in request else file["good_requests"][request["good"]])


@pytest.mark.parametrize(
    ("name", "vector"),
    vectors_of("client_refuses", "client_refuses_signed", "client_refuses_sparse", "client_refuses_prepared"),
)
def test_what_a_client_refuses(name: str, vector: dict[str, Any]) -> None:
    file = load(PROTOCOL, name)
    client, record = client_of(file)
    for request in vector["requests"]:
        message = message_of(file, request, record)
        if "rule" in request:
            with refused(request["rule"]):
                client.reply(message, lambda: update_from(file["client"]["update"]))
        else:
            client.reply(message, lambda: update_from(file["client"]["update"]))
    assert vector["requests"][-1]["rule"] == vector["rule"]


@pytest.mark.parametrize(
    ("name", "vector"), vectors_of("client_goes_on", "client_goes_on_signed", "client_goes_on_prepared")
)
def test_what_a_client_answers_although(name: str, vector: dict[str, Any]) -> None:
    """The same answers: a share that does not open is not held, and nothing is released for it."""
    file = load(PROTOCOL, name)
    client, record = client_of(file)
    answers = [
        client.reply(message_of(file, request, record), lambda: update_of(file, vector))
        for request in vector["requests"]
    ]
    assert [answer.hex() for answer in answers] == vector["answers"]


def played(file: dict[str, Any], vector: dict[str, Any]) -> MaskingServer:
    """The server after all events, each of which went as it says."""
    good = {(answer["client"], answer["stage"]): answer["message"] for answer in file["good_answers"]}
    server = MaskingServer(spec_from(file), layout_from(file["layout"]), identities_from(file))
    for event in vector["events"]:
        if "client" in event:
            message = bytes.fromhex(event["message"] if "message" in event else good[event["client"], event["good"]])
            if "rule" in event:
                with refused(event["rule"], peer=event["client"]):
                    server.receive(event["client"], message)
            else:
                server.receive(event["client"], message)
        elif "name_model" in event or event.get("rule") == "R12":
            model = event.get("name_model")
            step = partial(server.name_model, bytes.fromhex(model)) if model else server.advance
            with refused("R12") if "rule" in event else nullcontext():
                step()
        elif "rule" in event:
            with pytest.raises(RoundAborted, match=rf"client {event['seed_of']}: \[{event['rule']}\]"):
                server.advance()
            assert server.aggregate is None
        elif "aborts" in event:
            with pytest.raises(RoundAborted):
                server.advance()
        else:
            server.advance()
    return server


@pytest.mark.parametrize(
    ("name", "vector"), vectors_of("server_refuses", "server_refuses_signed", "server_refuses_prepared")
)
def test_what_a_server_refuses(name: str, vector: dict[str, Any]) -> None:
    played(load(PROTOCOL, name), vector)
    assert vector["events"][-1]["rule"] == vector["rule"]


@pytest.mark.parametrize(("name", "vector"), vectors_of("wrong_shares", "wrong_shares_signed"))
def test_wrong_shares_are_located(name: str, vector: dict[str, Any]) -> None:
    """The sum is right, and their senders are named."""
    server = played(load(PROTOCOL, name), vector)
    assert {error.peer for error in server.wrong_shares} == set(vector["wrong"])
    assert {error.rule for error in server.wrong_shares} <= {"S7"}
    if vector["sum"] is None:
        assert server.aggregate is None
        return
    assert server.aggregate is not None
    assert server.aggregate.words is not None
    assert server.aggregate.words.tolist() == vector["sum"]


@pytest.mark.rule("V9")
@pytest.mark.parametrize("model", [bytes(32), seed("another model")])
def test_a_prepared_rounds_update_is_of_the_model_that_was_named(model: bytes) -> None:
    """Not of another, nor of the zeros that its specification has for one."""
    file = load(PROTOCOL, "client_goes_on_prepared")
    client, record = client_of(file)
    offer, roster, delivery = file["vectors"][0]["requests"][:3]
    for request in (offer, roster):
        client.reply(message_of(file, request, record), lambda: update_from(file["client"]["update"]))
    with refused("V9"):
        client.reply(
            message_of(file, delivery, record), lambda: replace(update_from(file["client"]["update"]), model=model)
        )
