"""Rounds to be played by both writings: random specifications, updates and dropouts, in the types of either."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from protocols.encoding import layout as their_layout
from protocols.encoding import reference as encoding
from protocols.pairwise_masking import reference as masking
from protocols.wire import reference as wire
from securefed.aggregation import Adversary, ClientIdentity, RoundSpec, Update
from securefed.encoding.layout import Layout, TensorSpec
from securefed.secagg.client import MaskingClient
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import Stage
from securefed.wire.specification import NAMED_LATER
from tests.rounds import identities, identity_of, seed

Ids = st.lists(st.integers(1, 2**32 - 1), min_size=2, max_size=6, unique=True).map(sorted).map(tuple)
Names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NUMBERS = {Stage.ADVERTISE: 1, Stage.SHARE: 2, Stage.INPUT: 3, Stage.CONSENT: 4, Stage.RELEASE: 5}
SPARSE = {
    9: Adversary("malicious", 0.001, 0.0, security=1, correctness=1),
    18: Adversary("semi-honest", 0.1, 0.15, security=1, correctness=1),
    20: Adversary("malicious", 0.001, 0.05, security=3, correctness=1),
}
"""Small cohorts with a sparse graph."""


@dataclass(frozen=True)
class Case:
    """One round in both writings' types."""

    spec: RoundSpec
    layout: Layout
    updates: dict[int, Update]
    dropouts: dict[int, int]
    model: bytes = seed("model")

    @property
    def named_model(self) -> bytes | None:
        """The model, where it is named once all have shared."""
        return self.model if self.spec.prepared else None

    @property
    def their_spec(self) -> wire.Specification:
        fields = {name: getattr(self.spec, name) for name in wire.Specification.__dataclass_fields__}
        ours = self.spec.adversary
        corrupt, dropouts = round(1000 * ours.corrupt), round(1000 * ours.dropouts)
        theirs = wire.Adversary(int(ours.server), ours.security, ours.correctness, corrupt, dropouts)
        return wire.Specification(**(fields | {"adversary": theirs}))

    @property
    def their_keys(self) -> dict[int, bytes]:
        return {client: seed(f"identity {client}") for client in self.spec.cohort}

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
        return encoding.encode_update(update, self.their_layout, self.model, self.their_parameters, key, number)

    def identity(self, client: int) -> ClientIdentity:
        return identity_of(client, self.layout, cohort=self.spec.cohort)

    def client(self, client: int) -> MaskingClient:
        return MaskingClient(self.identity(client), round_secret=seed(f"round secret {client}"))

    def server(self) -> MaskingServer:
        return MaskingServer(self.spec, self.layout, identities(self.spec.cohort))

    def their_client(self, client: int) -> masking.Client:
        key, known = self.their_keys[client], identities(self.spec.cohort)
        return masking.Client(client, seed(f"round secret {client}"), key, known, layout=self.their_layout)

    def their_server(self) -> masking.Server:
        return masking.Server(self.their_spec, identities(self.spec.cohort))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
    tensors = st.builds(TensorSpec, Names, shapes, st.sampled_from(["float16", "float32", "float64"]))
    several = st.lists(tensors, min_size=1, max_size=4, unique_by=lambda tensor: tensor.name)
    metrics = st.lists(Names.filter(lambda name: name != "weight"), max_size=2, unique=True)
    return Layout(tuple(draw(several.filter(lambda ts: any(t.size for t in ts)))), tuple(draw(metrics)))


@st.composite
def adversaries(draw: st.DrawFn, n: int) -> Adversary:
    """One against which so many clients can be protected."""
    server, share = draw(st.sampled_from(["malicious", "semi-honest"])), st.integers(0, 400)
    bits = draw(st.integers(1, 128)), draw(st.integers(1, 64))
    adversary = Adversary(server, draw(share) / 1000, draw(share) / 1000, *bits)
    return Adversary(server, 0.0, 0.0, *bits) if adversary.infeasible(n) else adversary


@st.composite
def rounds_of(draw: st.DrawFn) -> tuple[tuple[int, ...], Adversary]:
    """Cohort and adversary: of three rounds one has a sparse graph."""
    if draw(st.integers(0, 2)) < 2:
        cohort = draw(Ids)
        return cohort, draw(adversaries(len(cohort)))
    n = draw(st.sampled_from(list(SPARSE)))
    first, step = draw(st.integers(1, 1000)), draw(st.integers(1, 2**27))
    return tuple(first + step * position for position in range(n)), SPARSE[n]


@st.composite
def cases(draw: st.DrawFn, *, prepared: bool = False) -> Case:
    """Where `prepared` is set, half of the rounds are; other schemes than pairwise masks have none."""
    layout, (cohort, adversary) = draw(layouts()), draw(rounds_of())
    clip = draw(st.sampled_from([1e-3, 0.07, 0.5, 1.0, 3.7]))
    greatest = draw(st.sampled_from([1, 2, 1000, 2**32 - 1]))
    spec = RoundSpec(
        nonce=draw(st.binary(min_size=32, max_size=32)),
        round=draw(st.integers(0, 2**32 - 1)),
        adversary=adversary,
        model=NAMED_LATER if prepared and draw(st.booleans()) else Case.model,
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
        updates[client] = Update(tensors, Case.model, weight, metrics)
    # Of many clients few drop out, or no round would come to its end.
    dropouts = draw(st.dictionaries(st.sampled_from(cohort), st.integers(1, 5), max_size=min(3, len(cohort))))
    return Case(spec, layout, updates, dropouts)
