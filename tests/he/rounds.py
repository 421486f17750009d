"""A small homomorphic round with fixed secrets, played honestly up to where a test wants to lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securefed.aggregation import Adversary, ClientIdentity, RoundSpec, Update
from securefed.encoding.layout import Layout
from securefed.he import HomomorphicScheme, bfv, bfv_2048, ckks, ckks_compact
from securefed.he.client import HomomorphicClient
from securefed.he.keys import RoundContext, RoundKey, advertised, exchange_key, new_round_key
from securefed.he.stages import Stage
from securefed.wire.frame import Expected
from securefed.wire.header import SERVER
from securefed.wire.homomorphic import Ciphertexts, CiphertextSum, ExchangeKey, ExchangeKeys, SealedKey, SealedKeys
from tests.rounds import COHORT, LAYOUT, OPEN, identities, identity_of, seed, signing_key, spec_of, update_of
from tests.tenseal import needs_tenseal

MALICIOUS = Adversary("malicious", corrupt=0.0, dropouts=0.25)
SEMI_HONEST = Adversary("semi-honest", corrupt=0.0, dropouts=0.25)
ANY = replace(OPEN, schemes=frozenset({"bfv", "bfv-2048", "ckks", "ckks-compact", "masks", "plain"}))
"""Takes part in everything: what a policy refuses has tests of its own."""
HOLDER, VICTIM = 2, 3
"""Of `COHORT`: who is asked for the round's key first, and a client that is lied to."""
STAGES = tuple(stage for stage in Stage if stage is not Stage.DONE)
SCHEMES = (bfv(), bfv_2048())
APPROXIMATE = [pytest.param(scheme, id=scheme.name, marks=needs_tenseal) for scheme in (ckks(), ckks_compact())]

approximate_schemes = pytest.mark.parametrize("scheme", APPROXIMATE)
all_schemes = pytest.mark.parametrize("scheme", [pytest.param(s, id=s.name) for s in SCHEMES] + APPROXIMATE)
both_schemes = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
both_modes = pytest.mark.parametrize("adversary", [MALICIOUS, SEMI_HONEST], ids=["malicious", "semi-honest"])
every_stage = pytest.mark.parametrize("stage", STAGES)

Drops = Mapping[int, Stage]
"""A client here answers neither this stage nor a later one."""


def he_spec(of: Layout = LAYOUT, /, **changes: Any) -> RoundSpec:
    """As `tests.rounds.spec_of`, without corrupt clients."""
    return spec_of(of, **{"adversary": MALICIOUS, **changes})


def he_identity(client: int, layout: Layout = LAYOUT, cohort: tuple[int, ...] = COHORT) -> ClientIdentity:
    """With credentials and a record of its own."""
    return identity_of(client, layout, ANY, cohort)


def round_secret(client: int) -> bytes:
    return seed(f"round secret {client}")


class Round:
    """All parties of one homomorphic round, and all that was sent."""

    def __init__(
        self,
        spec: RoundSpec | None = None,
        layout: Layout = LAYOUT,
        scheme: HomomorphicScheme | None = None,
        update: Callable[[int], Update] | None = None,
    ) -> None:
        self.spec = spec or he_spec(layout)
        self.layout = layout
        self.scheme = scheme or bfv()
        self.update = update or (lambda client: update_of(client, layout))
        cohort = self.spec.cohort
        self.server = self.scheme.server(self.spec, layout, identities(cohort))
        self.identities = {client: he_identity(client, layout, cohort) for client in cohort}
        self.clients = {client: self.new_client(client) for client in cohort}
        self.requests: dict[Stage, dict[int, bytes]] = {}
        self.replies: dict[Stage, dict[int, bytes]] = {stage: {} for stage in STAGES}

    def new_client(self, client: int) -> HomomorphicClient:
        """As its program is when it is started."""
        return HomomorphicClient(
            self.scheme.parameters, self.identities[client], round_secret=round_secret(client)
        )  # fmt: skip

    def ask(self, client: int, request: bytes | None = None) -> bytes:
        """The client's answer to its request of this stage, or to another one."""
        message = self.server.requests()[client] if request is None else request
        return self.clients[client].reply(message, lambda: self.update(client))

    def answer(self, absent: tuple[int, ...] = (), order: int = 1) -> None:
        """All answers of one stage, which stays open; `order` −1 for the last client first."""
        stage = self.server.stage
        self.requests.setdefault(stage, {}).update(self.server.requests())
        for client in list(self.server.requests())[::order]:
            if client not in absent:
                self.replies[stage][client] = self.ask(client)
                self.server.receive(client, self.replies[stage][client])

    def until(self, stage: Stage, drops: Drops | None = None, order: int = 1) -> Round:
        """Played until this stage is open and nobody has answered it."""
        stages = list(Stage)
        while self.server.stage is not stage:
            now = stages.index(self.server.stage)
            self.answer(tuple(c for c, at in (drops or {}).items() if stages.index(at) <= now), order)
            self.server.advance()
        self.requests.setdefault(stage, {}).update(self.server.requests())
        return self

    def words(self) -> list[int]:
        """The sum that the server has in the end."""
        aggregate = self.until(Stage.DONE).server.aggregate
        assert aggregate is not None
        assert aggregate.words is not None
        found: list[int] = aggregate.words.tolist()
        return found

    # What a test that knows all secrets can compute, and messages with something changed.

    @property
    def context(self) -> RoundContext:
        return self.scheme.parameters.context(self.spec, self.server._encoding)

    def round_key(self, holder: int = HOLDER) -> RoundKey:
        return new_round_key(round_secret(holder), self.context)

    def expected(self, sender: int = SERVER) -> Expected:
        return self.scheme.parameters.expected_from(self.spec, sender)

    def entry(self, client: int, public: bytes | None = None, by: int | None = None) -> ExchangeKey:
        """An exchange key (its own by default), signed by the client or by another."""
        public = exchange_key(round_secret(client), self.spec.session).public if public is None else public
        signature = signing_key(by or client).sign(advertised(public, self.spec, client))
        return ExchangeKey(public, signature if self.spec.adversary.malicious else b"")

    def exchange_keys(self, changes: Mapping[int, ExchangeKey | None] | None = None) -> bytes:
        """EXCHANGE_KEYS with other entries, or without some (None)."""
        entries = {**{client: self.entry(client) for client in self.spec.cohort}, **(changes or {})}
        return ExchangeKeys({client: entry for client, entry in entries.items() if entry}).encode(self.expected())

    def sealed_keys(self, client: int = HOLDER, **changes: Any) -> bytes:
        """The holder's answer with something changed."""
        others = self.server._entries.keys() - {client}
        message = SealedKeys.decode(self.replies[Stage.KEYS][client], self.expected(client), others)
        return replace(message, **changes).encode(self.expected(client))

    def sealed_key(self, client: int = VICTIM, **changes: Any) -> bytes:
        """SEALED_KEY with something changed."""
        request, signed = self.requests[Stage.INPUT][client], self.spec.adversary.malicious
        return replace(SealedKey.decode(request, self.expected(), signed=signed), **changes).encode(self.expected())

    def ciphertexts(self, client: int = VICTIM, **changes: Any) -> bytes:
        """A client's input with something changed, and the digest that fits."""
        size = self.server._cipher.payload_bytes
        message = Ciphertexts.decode(self.replies[Stage.INPUT][client], self.expected(client), size)
        return replace(message, **changes).encode(self.expected(client))

    def payload(self, client: int) -> bytes:
        """Of its input."""
        size = self.server._cipher.payload_bytes
        return bytes(Ciphertexts.decode(self.replies[Stage.INPUT][client], self.expected(client), size).payload)

    def total(self, **changes: Any) -> bytes:
        """CIPHERTEXT_SUM with something changed, and the digest that fits."""
        (request,) = self.requests[Stage.OPEN].values()
        size, cohort = self.server._cipher.sum_bytes, self.spec.cohort
        message = CiphertextSum.decode(request, self.expected(), size, cohort, cohort)
        return replace(message, **changes).encode(self.expected(), cohort)

    def sum_of(self, *clients: int) -> bytes:
        """The payload of the sum of these clients' ciphertexts, each as often as it is named."""
        adder = self.server._cipher.adder()
        for client in clients:
            adder.add(self.payload(client))
        return bytes(adder.total())


def everyone(layout: Layout, value: float, weight: int, spec: RoundSpec) -> Update:
    """The same value everywhere."""
    tensors = {t.name: np.full(t.shape, value, t.dtype) for t in layout.tensors}
    return Update(tensors, spec.model, weight, dict.fromkeys(layout.metrics, 0.0))
