"""A small round with fixed secrets, played honestly up to where a test wants to lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from securefed.aggregation import Adversary, ClientIdentity, Credentials, Policy, RoundSpec, SigningKey, Update
from securefed.encoding.layout import Layout, TensorSpec
from securefed.encoding.vector import VectorEncoding
from securefed.secagg.client import MaskingClient
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import STAGES, Stage
from securefed.wire.frame import Expected
from securefed.wire.header import SERVER, Suite

COHORT = (2, 3, 5, 8)
LAYOUT = Layout((TensorSpec("lora_A", (2, 3)), TensorSpec("lora_B", (4,), "float64")), ("loss",))
MALICIOUS = Adversary("malicious", corrupt=0.25, dropouts=0.25)
SEMI_HONEST = Adversary("semi-honest", corrupt=0.25, dropouts=0.25)
OPEN = Policy(
    frozenset({"masks", "plain"}), Adversary("semi-honest", 0.0, 0.0, security=1), least_cohort=1, least_sum=1
)
"""Takes part in everything: what a policy refuses has tests of its own."""

Drops = Mapping[int, Stage]
"""A client here answers neither this stage nor a later one."""


def seed(name: str) -> bytes:
    """32 bytes that look random and are the same everywhere."""
    return hashlib.sha256(name.encode()).digest()


MODEL = seed("model")


def signing_key(client: int) -> SigningKey:
    """The identity key of a client, the same in every test."""
    return SigningKey(seed(f"identity {client}"))


def identities(cohort: Iterable[int]) -> dict[int, bytes]:
    """The identity roster."""
    return {client: signing_key(client).public for client in cohort}


def spec_of(of: Layout = LAYOUT, /, **changes: Any) -> RoundSpec:
    """The specification of a round over `COHORT`, one corrupt and one lost, and what a test wants otherwise."""
    spec = RoundSpec(
        nonce=seed("nonce"),
        round=7,
        adversary=MALICIOUS,
        model=MODEL,
        layout=of.digest,
        values=of.size,
        scalars=len(of.scalars),
        bits=16,
        clip=0.5,
        greatest_weight=100,
        cohort=COHORT,
    )
    return replace(spec, **changes)


def identity_of(
    client: int, layout: Layout = LAYOUT, policy: Policy = OPEN, cohort: Iterable[int] = COHORT
) -> ClientIdentity:
    """A client with credentials among the cohort, and a record of its own."""
    credentials = Credentials(signing_key(client), identities({*cohort, client}))
    return ClientIdentity(client, layout, policy, seed(f"rounding {client}"), credentials)


def update_of(client: int, layout: Layout = LAYOUT) -> Update:
    """Another one for each client; a few values are beyond the clip."""
    rng = np.random.default_rng(client)
    tensors = {t.name: rng.normal(0, 0.4, t.shape).astype(t.dtype) for t in layout.tensors}
    metrics = {name: float(rng.normal()) for name in layout.metrics}
    return Update(tensors, MODEL, int(rng.integers(1, 101)), metrics)


def encoded(spec: RoundSpec, client: int, layout: Layout = LAYOUT) -> np.ndarray:
    """The ring words that the client's mask hides."""
    update = update_of(client, layout)
    pieces = VectorEncoding(layout, spec.numbers).encode(
        update.tensors, update.weight, update.metrics, identity_of(client, layout).rounding(spec.round)
    )
    return np.concatenate(list(pieces))


def plain_sum(spec: RoundSpec, clients: tuple[int, ...], layout: Layout = LAYOUT) -> list[int]:
    """The sum of ring words, in Python's integers."""
    columns = zip(*(encoded(spec, client, layout).tolist() for client in clients), strict=True)
    return [sum(column) % 2**spec.numbers.lanes.ring_bits for column in columns]


def context_of(spec: RoundSpec, sender: int = SERVER, suite: Suite = Suite.PAIRWISE_MASKS) -> Expected:
    return Expected(suite, spec.session, spec.round, sender)


class Round:
    """All parties of one masked round, and all that was sent."""

    def __init__(self, spec: RoundSpec | None = None, layout: Layout = LAYOUT) -> None:
        self.spec = spec or spec_of(layout)
        self.layout = layout
        cohort = self.spec.cohort
        self.server = MaskingServer(self.spec, layout, identities(cohort))
        self.clients = {
            client: MaskingClient(
                identity_of(client, layout, cohort=cohort), round_secret=seed(f"round secret {client}")
            )
            for client in cohort
        }
        self.requests: dict[Stage, dict[int, bytes]] = {}
        self.replies: dict[Stage, dict[int, bytes]] = {stage: {} for stage in STAGES}

    def ask(self, client: int, request: bytes | None = None) -> bytes:
        """The client's answer to its request of this stage, or to another one."""
        message = self.server.requests()[client] if request is None else request
        return self.clients[client].reply(message, lambda: update_of(client, self.layout))

    def play(self, absent: tuple[int, ...] = (), order: int = 1) -> None:
        """One whole stage; where the round is prepared, its model is named as soon as it can be."""
        self.answer(absent, order)
        self.server.advance()
        if self.spec.prepared and self.server.stage is Stage.INPUT:
            self.server.name_model(MODEL)

    def answer(self, absent: tuple[int, ...] = (), order: int = 1) -> None:
        """All answers of one stage, which stays open; `order` −1 for the last client first."""
        stage = self.server.stage
        self.requests[stage] = dict(self.server.requests())
        for client, request in list(self.requests[stage].items())[::order]:
            if client not in absent:
                self.replies[stage][client] = self.ask(client, request)
                self.server.receive(client, self.replies[stage][client])

    def until(self, stage: Stage, drops: Drops | None = None, order: int = 1) -> Round:
        """Played until this stage is open and nobody has answered it."""
        gone: tuple[int, ...] = ()
        while self.server.stage is not stage:
            gone += tuple(client for client, at in (drops or {}).items() if at is self.server.stage)
            self.play(gone, order)
        self.requests[stage] = dict(self.server.requests())
        return self
