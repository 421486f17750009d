"""securefed against the references of protocols/, with the same randomness: every message equal to the byte."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.encoding import layout as their_layout
from protocols.encoding import reference as encoding
from protocols.notation import RuleBroken
from protocols.pairwise_masking import reference as masking
from protocols.wire import reference as wire
from securefed.crypto.hashing import DIGEST_BYTES
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RemoteProtocolError, RoundAborted
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import Stage
from securefed.wire.header import HEADER_BYTES
from tests.differential.cases import NUMBERS, Case, cases
from tests.rounds import seed


@dataclass
class Played:
    """What happened among our parties: every message (stage, sender, recipients, bytes), and how it ended."""

    sent: list[tuple[int, int, tuple[int, ...], bytes]]
    server: MaskingServer
    refused: dict[int, tuple[int, str]]
    aborted_at: int | None = None


def ours(case: Case) -> Played:
    played = Played([], case.server(), {})
    server, sent = played.server, played.sent
    clients = {client: case.client(client) for client in case.spec.cohort}
    while server.stage is not Stage.DONE:
        name_model(case, server)
        number, requests = NUMBERS[server.stage], server.requests()
        recipients: dict[bytes, list[int]] = {}
        for client in sorted(requests):
            recipients.setdefault(requests[client], []).append(client)
        sent += [(number, 0, tuple(who), message) for message, who in recipients.items()]
        for client in sorted(requests):
            if case.dropouts.get(client, 9) <= number:
                continue
            try:
                reply = clients[client].reply(requests[client], lambda c=client: case.updates[c])
            except RemoteProtocolError as error:
                played.refused[client] = (number, error.rule)
                continue
            server.receive(client, reply)
            sent.append((number, client, (0,), reply))
        try:
            server.advance()
        except RoundAborted:
            played.aborted_at = number
            break
    return played


def name_model(case: Case, *servers: MaskingServer | masking.Server) -> None:
    """Where the round is prepared and its inputs are next."""
    for server in servers:
        if case.named_model is not None and server.stage in (Stage.INPUT, NUMBERS[Stage.INPUT]):
            server.name_model(case.named_model)


@settings(max_examples=3 * settings().max_examples)
@given(cases(prepared=True))
def test_a_round_is_the_same_in_both_writings(case: Case) -> None:
    assert case.spec.pack() == wire.encode_specification(case.their_spec)
    theirs = masking.run_round(
        case.their_spec,
        {client: seed(f"round secret {client}") for client in case.spec.cohort},
        {client: case.their_words(client) for client in case.spec.cohort},
        case.dropouts,
        case.their_keys,
        case.named_model,
    )
    played = ours(case)
    assert played.sent == [(m.stage, m.sender, m.recipients, m.message) for m in theirs.transcript]
    assert (played.refused, played.aborted_at) == (theirs.refused, theirs.aborted_at)
    server = played.server
    aggregate = server.aggregate
    if theirs.sum is None:
        assert aggregate is None
        return
    assert aggregate is not None
    assert aggregate.words is not None
    assert aggregate.words.tolist() == theirs.sum
    assert aggregate.survivors == theirs.answered[3]
    mean = encoding.decode_sum(theirs.sum, len(aggregate.survivors), case.their_layout, case.their_parameters)
    for tensor in mean.tensors:
        assert aggregate.tensors[tensor.name].ravel().tolist() == list(tensor.values)
        assert aggregate.tensors[tensor.name].shape == tensor.shape
    assert (aggregate.weight, dict(aggregate.metrics)) == (mean.weight, mean.metrics)


@settings(max_examples=3 * settings().max_examples)
@given(cases(prepared=True))
def test_an_update_encodes_to_the_same_words(case: Case) -> None:
    assert case.layout.digest == their_layout.layout_digest(case.their_layout)
    for client, update in case.updates.items():
        draw = case.identity(client).rounding(case.spec.round)
        pieces = VectorEncoding(case.layout, case.spec.numbers).encode(
            update.tensors, update.weight, update.metrics, draw
        )
        assert np.concatenate(list(pieces)).tolist() == case.their_words(client)


@settings(max_examples=8 * settings().max_examples)
@given(cases(prepared=True), st.data())
def test_a_mutated_request_meets_the_same_fate_in_both_writings(case: Case, data: st.DataObject) -> None:
    """Accepted with the same answer, or refused by the same rule, at whatever stage."""
    client = data.draw(st.sampled_from(case.spec.cohort))
    requests = [m for number, sender, who, m in ours(case).sent if sender == 0 and client in who]
    requests = requests[: data.draw(st.integers(1, len(requests)))]
    requests[-1] = mutated(requests[-1], data)
    theirs = masking.replies(case.their_client(client), case.their_words(client), requests)[-1]
    us = case.client(client)
    answer: Any = None
    for request in requests:
        # Trained from the model that the request names, whichever it is.
        model = request[HEADER_BYTES : HEADER_BYTES + DIGEST_BYTES] if case.spec.prepared else case.spec.model
        update = replace(case.updates[client], model=model)
        try:
            answer = us.reply(request, lambda update=update: update)
        except RemoteProtocolError as error:
            answer = error.rule
    assert answer == (theirs.rule if isinstance(theirs, RuleBroken) else theirs)


@settings(max_examples=6 * settings().max_examples)
@given(cases(prepared=True), st.data())
def test_a_mutated_answer_meets_the_same_fate_in_both_writings(case: Case, data: st.DataObject) -> None:
    """At the server, at whatever stage: taken by both, or refused by both by the same rule."""
    answers = [(stage, sender, message) for stage, sender, _, message in ours(case).sent if sender]
    if not answers:
        return
    last, sender, good = data.draw(st.sampled_from(answers))
    bad = mutated(good, data)
    us, them = case.server(), case.their_server()
    for stage in sorted({stage for stage, _, _ in answers if stage <= last}):
        name_model(case, us, them)
        for number, client, message in answers:
            if number == stage and (stage, client) < (last, sender):
                us.receive(client, message)
                them.receive(client, message)
        if stage < last:
            us.advance()
            them.advance()
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


def mutated(message: bytes, data: st.DataObject) -> bytes:
    """One change; often where headers, counts, ids and flags lie."""
    changed = bytearray(message)
    at = data.draw(st.one_of(st.integers(0, min(95, len(message) - 1)), st.integers(0, len(message) - 1)))
    match data.draw(st.sampled_from(["flip", "flip", "byte", "cut", "more"])):
        case "flip":
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        case "byte":
            changed[at] = data.draw(st.integers(0, 255))
        case "cut":
            del changed[at:]
        case _:
            changed += data.draw(st.binary(min_size=1, max_size=8))
    return bytes(changed)
