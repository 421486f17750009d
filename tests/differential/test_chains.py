"""Rounds that follow each other: what rides in the bundles is, to the byte, what the reference's rounds say."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.notation import RuleBroken
from protocols.pairwise_masking import reference as masking
from protocols.wire import bundle as their_bundle
from securefed.aggregation import Adversary, ClientIdentity, RoundSpec, Update
from securefed.chains import ClientChain, RoundPlan, ServerChain
from securefed.errors import RemoteProtocolError
from securefed.secagg.client import MaskingClient
from securefed.secagg.scheme import PairwiseMasks
from securefed.secagg.stages import Stage
from securefed.wire.bundle import is_bundle, parse_bundle
from securefed.wire.header import Header, MessageType
from tests.differential.cases import SPARSE, Case
from tests.rounds import LAYOUT, MALICIOUS, SEMI_HONEST, identities, identity_of, seed

FIVE = (2, 3, 5, 8, 13)
COHORTS = {
    "semi-honest": (FIVE, SEMI_HONEST),
    "malicious": (FIVE, MALICIOUS),
    "sparse": (tuple(range(4, 22)), SPARSE[18]),
    "sparse, malicious": (tuple(range(7, 16)), SPARSE[9]),
}
Line = tuple[int, int, bytes]
"""Sender, recipient, message."""


class Seeded(PairwiseMasks):
    """The n-th session of a client has its n-th round secret."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def client(self, identity: ClientIdentity) -> MaskingClient:
        self.begun[identity.id] += 1
        return MaskingClient(identity, round_secret=secret(identity.id, self.begun[identity.id]))


def secret(client: int, number: int) -> bytes:
    return seed(f"round secret {client} {number}")


@dataclass
class Wire:
    """Both sides of a job, and all that went between them, taken out of its bundles."""

    cohort: tuple[int, ...]
    adversary: Adversary
    lines: dict[bytes, list[Line]] = field(default_factory=lambda: defaultdict(list))
    offers: Counter[int] = field(default_factory=Counter)
    secrets: dict[bytes, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        self.server = ServerChain(PairwiseMasks(), identities(self.cohort))
        scheme = Seeded()
        self.clients = {i: ClientChain(scheme, identity_of(i, LAYOUT, cohort=self.cohort)) for i in self.cohort}

    def plan(self, number: int) -> RoundPlan:
        return RoundPlan(number, self.cohort, self.adversary, LAYOUT, bits=16, clip=0.5, greatest_weight=9)

    def update(self, client: int, number: int) -> Update:
        rng = np.random.default_rng([client, number])
        tensors = {t.name: rng.uniform(-0.6, 0.6, t.shape).astype(t.dtype) for t in LAYOUT.tensors}
        return Update(tensors, seed(f"model {number}"), 1 + client % 9, {"loss": float(number)})

    def read(self, sender: int, recipient: int, message: bytes, *, arrives: bool = True) -> None:
        """Write the messages down, each to its session."""
        for one in their_bundle.decode_bundle(message) if their_bundle.is_bundle(message) else (message,):
            header = Header.parse(one)
            self.lines[header.session].append((sender, recipient, one))
            if header.type is MessageType.OFFER and arrives:
                self.offers[recipient] += 1
                self.secrets[header.session][recipient] = secret(recipient, self.offers[recipient])

    def round(self, number: int, lost: dict[int, int]) -> tuple[RoundSpec, int]:
        """One round, of which that client answers no exchange from that one (from 1) on: its specification, and how
        many exchanges it had."""
        spec = self.server.begin(self.plan(number), seed(f"model {number}"), self.plan(number + 1))
        exchanges = 0
        while self.server.stage != Stage.DONE:
            exchanges += 1
            for client, request in sorted(self.server.requests().items()):
                present = lost.get(client, 9) > exchanges
                self.read(0, client, request, arrives=present)
                if not present:
                    continue
                answer = self.clients[client].reply(request, lambda c=client: self.update(c, number))
                self.read(client, 0, answer)
                self.server.receive(client, answer)
            self.server.advance()
        return spec, exchanges

    def check(self, spec: RoundSpec, number: int, lost: dict[int, int]) -> None:
        """The reference has the same messages and the same sum."""
        updates = {client: self.update(client, number) for client in self.cohort}
        case = Case(spec, LAYOUT, updates, lost, seed(f"model {number}"))
        theirs = masking.run_round(
            case.their_spec,
            {client: self.secrets[spec.session][client] for client in self.cohort},
            {client: case.their_words(client) for client in self.cohort},
            lost,
            case.their_keys,
            case.named_model,
        )
        expected = [(sent.sender, to, sent.message) for sent in theirs.transcript for to in sent.recipients]
        assert sorted(self.lines[spec.session]) == sorted(expected)
        assert theirs.sum is not None
        assert self.server.aggregate is not None
        assert self.server.aggregate.words is not None
        assert self.server.aggregate.words.tolist() == theirs.sum


@pytest.mark.parametrize("which", COHORTS)
def test_what_rides_is_the_next_rounds_set_up(which: str) -> None:
    """Three rounds: the set-up of the second and third comes in bundles, and two or three exchanges are left."""
    cohort, adversary = COHORTS[which]
    job, exchanges = Wire(cohort, adversary), []
    for number in (4, 5, 6):
        spec, count = job.round(number, {})
        exchanges.append(count)
        assert spec.prepared == (number > 4)
        job.check(spec, number, {})
    assert exchanges == ([5, 3, 3] if adversary.malicious else [4, 2, 2])


@pytest.mark.parametrize("which", ["semi-honest", "malicious"])
def test_where_one_is_lost_the_next_round_begins_anew(which: str) -> None:
    """Lost with its input, and so in the next round's set-up: that is dropped, and the client is in again."""
    cohort, adversary = COHORTS[which]
    job, gone = Wire(cohort, adversary), cohort[1]
    job.check(job.round(4, {})[0], 4, {})
    spec, _ = job.round(5, {gone: 1})
    assert spec.prepared
    job.check(spec, 5, {gone: 3})
    spec, exchanges = job.round(6, {})
    assert (spec.prepared, exchanges) == (False, 5 if adversary.malicious else 4)
    job.check(spec, 6, {})


@given(st.binary(max_size=40), st.binary(max_size=40), st.data())
def test_any_bytes_are_the_same_bundle_in_both_writings(rider: bytes, main: bytes, data: st.DataObject) -> None:
    """Or the same rule's breach."""
    changed = bytearray(their_bundle.encode_bundle(rider, main))
    for _ in range(data.draw(st.integers(0, 2))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    message = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    assert is_bundle(message) == their_bundle.is_bundle(message)
    verdicts: list[tuple[bytes, bytes] | str] = []
    try:
        first, second = parse_bundle(message)
        verdicts.append((first, bytes(second)))
    except RemoteProtocolError as error:
        verdicts.append(error.rule)
    try:
        verdicts.append(their_bundle.decode_bundle(message))
    except RuleBroken as broken:
        verdicts.append(broken.rule)
    assert verdicts[0] == verdicts[1]
