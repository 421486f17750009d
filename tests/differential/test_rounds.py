"""securefed against the references of protocols/, with the same randomness: every message equal to the byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.encoding import layout as their_layout
from protocols.encoding import reference as encoding
from protocols.notation import RuleBroken
from protocols.pairwise_masking import reference as masking
from protocols.wire import reference as wire
from securefed.aggregation import ClientIdentity, RoundSpec, Update
from securefed.encoding.layout import Layout, TensorSpec
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RemoteProtocolError, RoundAborted
from securefed.secagg.client import MaskingClient
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import STAGES
from tests.rounds import OPEN, seed

Ids = st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=6, unique=True).map(sorted).map(tuple)
Names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@dataclass(frozen=True)
class Case:
    """One round in both writings' types."""

    spec: RoundSpec
    layout: Layout
    updates: dict[int, Update]
    dropouts: dict[int, int]

    @property
    def their_spec(self) -> wire.Specification:
        fields = {name: getattr(self.spec, name) for name in wire.Specification.__dataclass_fields__}
        return wire.Specification(**fields)

    @property
    def their_layout(self) -> their_layout.Layout:
        tensors = tuple(their_layout.TensorSpec(t.name, t.dtype, t.shape) for t in self.layout.tensors)
        return their_layout.Layout(tensors, self.layout.scalars)

    @property
    def their_parameters(self) -> encoding.Parameters:
        spec = self.spec
        return encoding.Parameters(len(spec.cohort), spec.bits, spec.clip, spec.greatest_weight)

    def their_words(self, client: int) -> list[int]:
        ours = self.updates[client]
        tensors = tuple(
            encoding.Tensor(t.name, t.dtype, t.shape, tuple(map(float, ours.tensors[t.name].ravel())))
            for t in self.layout.tensors
        )
        update = encoding.Update(ours.model, tensors, ours.weight, dict(ours.metrics))
        key, number = seed(f"rounding {client}"), self.spec.round
        return encoding.encode_update(update, self.their_layout, self.spec.model, self.their_parameters, key, number)

    def identity(self, client: int) -> ClientIdentity:
        return ClientIdentity(client, self.layout, OPEN, seed(f"rounding {client}"))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
    tensors = st.builds(TensorSpec, Names, shapes, st.sampled_from(["float16", "float32", "float64"]))
    several = st.lists(tensors, min_size=1, max_size=4, unique_by=lambda tensor: tensor.name)
    metrics = st.lists(Names.filter(lambda name: name != "weight"), max_size=2, unique=True)
    return Layout(tuple(draw(several.filter(lambda ts: any(t.size for t in ts)))), tuple(draw(metrics)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    layout, cohort = draw(layouts()), draw(Ids)
    clip = draw(st.sampled_from([1e-3, 0.07, 0.5, 1.0, 3.7]))
    greatest = draw(st.sampled_from([1, 2, 1000, 2**32 - 1]))
    spec = RoundSpec(
        nonce=draw(st.binary(min_size=32, max_size=32)),
        round=draw(st.integers(0, 2**32 - 1)),
        threshold=draw(st.integers(1, len(cohort))),
        model=seed("model"),
        layout=layout.digest,
        values=layout.size,
        scalars=len(layout.scalars),
        bits=draw(st.integers(2, 32)),
        clip=clip,
        greatest_weight=greatest,
        cohort=cohort,
    )
    updates = {}
    for client in cohort:
        weight = draw(st.integers(1, greatest))
        reach = min(1.2 * clip * greatest / weight, 60_000.0)
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        tensors = {}
        for tensor in layout.tensors:
            values = rng.uniform(-reach, reach, tensor.shape)
            special = rng.choice([0.0, -0.0, clip, -clip, reach, 5e-324], tensor.shape)
            tensors[tensor.name] = np.where(rng.random(tensor.shape) < 0.2, special, values).astype(tensor.dtype)
        metrics = {name: draw(st.floats(-30, 30)) for name in layout.metrics}
        updates[client] = Update(tensors, spec.model, weight, metrics)
    dropouts = draw(st.dictionaries(st.sampled_from(cohort), st.integers(1, 4), max_size=len(cohort)))
    return Case(spec, layout, updates, dropouts)


def ours(case: Case) -> tuple[list[tuple[int, int, tuple[int, ...], bytes]], MaskingServer, int | None]:
    """Every message (stage, sender, recipients, bytes), the server, and the stage in which it was aborted."""
    server = MaskingServer(case.spec, case.layout)
    clients = {
        client: MaskingClient(case.identity(client), round_secret=seed(f"round secret {client}"))
        for client in case.spec.cohort
    }
    sent = []
    for number, _ in enumerate(STAGES, start=1):
        requests = server.requests()
        recipients: dict[bytes, list[int]] = {}
        for client in sorted(requests):
            recipients.setdefault(requests[client], []).append(client)
        sent += [(number, 0, tuple(who), message) for message, who in recipients.items()]
        for client in sorted(requests):
            if case.dropouts.get(client, 9) > number:
                reply = clients[client].reply(requests[client], lambda c=client: case.updates[c])
                server.receive(client, reply)
                sent.append((number, client, (0,), reply))
        try:
            server.advance()
        except RoundAborted:
            return sent, server, number
    return sent, server, None


@settings(max_examples=3 * settings().max_examples)
@given(cases())
def test_a_round_is_the_same_in_both_writings(case: Case) -> None:
    assert case.spec.pack() == wire.encode_specification(case.their_spec)
    theirs = masking.run_round(
        case.their_spec,
        {client: seed(f"round secret {client}") for client in case.spec.cohort},
        {client: case.their_words(client) for client in case.spec.cohort},
        case.dropouts,
    )
    sent, server, aborted_at = ours(case)
    assert sent == [(m.stage, m.sender, m.recipients, m.message) for m in theirs.transcript]
    assert aborted_at == theirs.aborted_at
    aggregate = server.aggregate
    if theirs.sum is None:
        assert aggregate is None
        return
    assert aggregate is not None
    assert aggregate.words is not None
    assert aggregate.words.tolist() == theirs.sum
    assert aggregate.survivors == theirs.answered[2]
    mean = encoding.decode_sum(theirs.sum, len(aggregate.survivors), case.their_layout, case.their_parameters)
    for tensor in mean.tensors:
        assert aggregate.tensors[tensor.name].ravel().tolist() == list(tensor.values)
        assert aggregate.tensors[tensor.name].shape == tensor.shape
    assert (aggregate.weight, dict(aggregate.metrics)) == (mean.weight, mean.metrics)


@settings(max_examples=3 * settings().max_examples)
@given(cases())
def test_an_update_encodes_to_the_same_words(case: Case) -> None:
    assert case.layout.digest == their_layout.layout_digest(case.their_layout)
    for client, update in case.updates.items():
        draw = case.identity(client).rounding(case.spec.round)
        pieces = VectorEncoding(case.layout, case.spec.numbers).encode(
            update.tensors, update.weight, update.metrics, draw
        )
        assert np.concatenate(list(pieces)).tolist() == case.their_words(client)


@settings(max_examples=8 * settings().max_examples)
@given(cases(), st.data())
def test_a_mutated_request_meets_the_same_fate_in_both_writings(case: Case, data: st.DataObject) -> None:
    """Accepted with the same answer, or refused by the same rule, at whatever stage."""
    client = data.draw(st.sampled_from(case.spec.cohort))
    sent, _, _ = ours(case)
    requests = [m for number, sender, who, m in sent if sender == 0 and client in who]
    requests = requests[: data.draw(st.integers(1, len(requests)))]
    requests[-1] = mutated(requests[-1], data)
    layout = case.their_layout
    them = masking.Client(client, seed(f"round secret {client}"), masking.Policy(), layout)
    theirs = masking.replies(them, case.their_words(client), requests)[-1]
    us = MaskingClient(case.identity(client), round_secret=seed(f"round secret {client}"))
    answer: Any = None
    for request in requests:
        try:
            answer = us.reply(request, lambda: case.updates[client])
        except RemoteProtocolError as error:
            answer = error.rule
    assert answer == (theirs.rule if isinstance(theirs, RuleBroken) else theirs)


@settings(max_examples=6 * settings().max_examples)
@given(cases(), st.data())
def test_a_mutated_answer_meets_the_same_fate_in_both_writings(case: Case, data: st.DataObject) -> None:
    """At the server, at whatever stage: taken by both, or refused by both by the same rule."""
    sent, _, _ = ours(case)
    answers = [(stage, sender, message) for stage, sender, _, message in sent if sender]
    if not answers:
        return
    last, sender, good = data.draw(st.sampled_from(answers))
    bad = mutated(good, data)
    us, them = MaskingServer(case.spec, case.layout), masking.Server(case.their_spec)
    for stage in range(1, last + 1):
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
