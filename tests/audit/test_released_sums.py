"""The key recovery against what our homomorphic schemes release: exact sums, which have no error left in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'securefed[he]'")

from securefed import he
from securefed.aggregation import Adversary, ClientIdentity, Policy, RoundSpec, Update, new_round
from securefed.audit.ckks_key_recovery import Opened, RlweCiphertext, recover
from securefed.audit.seal_ciphertext import read_ciphertext
from securefed.crypto.keystream import Words
from securefed.encoding.layout import Layout
from securefed.encoding.vector import VectorEncoding
from securefed.he import HomomorphicScheme
from securefed.he.client import HomomorphicClient
from securefed.he.keys import new_round_key
from securefed.he.seal import CkksContext
from securefed.wire.header import SERVER
from securefed.wire.homomorphic import CiphertextSum

COHORT = (2, 3, 5, 8)
HOLDER = COHORT[0]
ADVERSARY = Adversary("semi-honest", corrupt=0.0, dropouts=0.0)
MODEL = bytes(31) + b"\1"
SECRET = bytes(range(32))
"""Of the key holder, so that the key is known to compare with."""


@dataclass(frozen=True)
class Released:
    """What the server of a finished round has, and the key that it is after.

    Attributes:
        request: the last one to the key holder: the sum's ciphertexts, which the server made itself.
        words: of the aggregate, which it was given.
        secret: of the round, coefficients −1, 0 and 1.
    """

    scheme: HomomorphicScheme
    spec: RoundSpec
    encoding: VectorEncoding
    request: bytes
    words: Any
    secret: Any

    @property
    def packing(self) -> Any:
        return self.scheme.parameters.packing(self.encoding)

    def lanes(self) -> Iterator[Words]:
        """The opened sum as what a client encrypts, the tags left out: they are not released."""
        yield self.encoding.numbers.lanes.unpack(self.words)[: self.encoding.lanes_used]

    def ciphertexts(self) -> Iterator[tuple[Any, RlweCiphertext]]:
        """The sum's, as the library and as the attack hold them."""
        cipher: Any = self.scheme.parameters.cipher(self.encoding)
        expected, cohort = self.scheme.parameters.expected_from(self.spec, SERVER), self.spec.cohort
        payload = CiphertextSum.decode(self.request, expected, cipher.sum_bytes, cohort, cohort).payload
        for held in cipher.parse_sum(payload):
            yield held, read_ciphertext(held, self.packing.ring.primes[0])

    def known(self) -> list[Opened]:
        """What the server can make of two ciphertexts, and of the exact sums that they hold, encoded again."""
        return [
            self._known(ciphertext, slots)
            for _, (_, ciphertext), slots in zip(
                range(2), self.ciphertexts(), self.packing.slots(self.lanes()), strict=False
            )
        ]

    def _known(self, ciphertext: RlweCiphertext, slots: Any) -> Opened:
        packing = self.packing  # each summand is centred, and here one was
        parts = slots.view(np.float64) if packing.parts == 2 else slots.real
        parts = parts - packing.centre * (len(self.spec.cohort) - 1)
        return Opened.from_slots(ciphertext, parts.view(np.complex128) if packing.parts == 2 else parts)


def played(scheme: HomomorphicScheme, parameters: int = 20_000) -> Released:
    """A round of real sessions. Updates are small, so that no digit of an opened float is lost: best for the attack."""
    rng = np.random.default_rng(5)
    updates = {client: {"w": rng.uniform(-2e-4, 2e-4, parameters)} for client in COHORT}
    layout = Layout.of(updates[HOLDER])
    spec = new_round(
        round_number=1, cohort=COHORT, adversary=ADVERSARY, model=MODEL, layout=layout, bits=16, clip=0.5
    )  # fmt: skip
    policy = Policy(frozenset({scheme.name}), ADVERSARY)
    sessions = {
        client: HomomorphicClient(
            scheme.parameters, ClientIdentity(client, layout, policy), round_secret=SECRET if client == HOLDER else None
        )
        for client in COHORT
    }
    server = scheme.server(spec, layout)
    request = b""
    while server.aggregate is None:
        for client, request in server.requests().items():
            update = Update(updates[client], MODEL)
            server.receive(client, sessions[client].reply(request, lambda update=update: update))
        server.advance()
    encoding = VectorEncoding(layout, spec.numbers)
    secret = new_round_key(SECRET, scheme.parameters.context(spec, encoding)).secret
    return Released(scheme, spec, encoding, request, server.aggregate.words, secret)


@pytest.fixture(scope="module", params=[he.ckks, he.ckks_compact], ids=lambda make: make().name)
def released(request: pytest.FixtureRequest) -> Released:
    make: Callable[[], HomomorphicScheme] = request.param
    return played(make())


def test_a_released_sum_gives_noise(released: Released) -> None:
    """All equations that the server can write down."""
    known = released.known()
    assert len(known) == 2
    found = recover(known)
    assert found.key is None
    assert found.determined == 1
    assert found.ternary < 0.02


def test_what_is_cut_off_would_give_the_key(released: Released) -> None:
    """With the error, which never leaves the key holder, the same ciphertexts give the real key."""
    centred = released.secret.astype(np.int64)
    held, ciphertext = next(released.ciphertexts())
    ring, packing = ciphertext.ring, released.packing
    context = CkksContext(packing.ring, ciphertext.scale)
    slots = context.decrypt(context.decryptor(released.secret), held)
    opened = Opened.from_slots(ciphertext, slots)
    as_known = opened if packing.parts == 2 else Opened.from_slots(ciphertext, slots.real)
    bound = 2 * len(COHORT) * 22
    # That the test above fails to find the key is for this and nothing else: but for the error it knows all.
    error = ring.polynomial(ring.transform(as_known.polynomial - released.known()[0].polynomial))
    assert 0 < np.abs(error).max() <= bound
    found = recover([opened])
    assert found.key is not None
    assert (found.key == centred).all()
