"""Clients and rounds that are weak by what they bring, where no check can be switched off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from securefed.aggregation import ClientIdentity, Credentials
from securefed.plain import PlainFloats
from securefed.secagg import parameters


@contextmanager
def sparse(*, least_masks: int = 3) -> Iterator[None]:
    """No switch: a sparse graph for 40 clients in the proportions of a large one, so that an attack on them is one on
    1000 (with 30% dropouts k = 414, t = 247, κ = 110). Of themselves small graphs have k = κ."""
    scaled = parameters.Parameters(
        complete=False, neighbours=16, threshold=10, masks=4, least_masks=least_masks,
        signatures=40, least_signatures=21, least_inputs=21,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters.Parameters, "of", staticmethod(lambda *_: scaled))
        yield


class ForgetfulRecord:
    """R10, R11: a client's record that is rolled back with its snapshots, or was never kept."""

    last_round = -1

    def claim(self, step: str, round_number: int, session: bytes) -> None:
        """Nothing is written down."""


def forgetful(identity: ClientIdentity) -> ClientIdentity:
    """The same client with a record that forgets (R10, R11)."""
    return replace(identity, record=ForgetfulRecord())


def identities_of_the_server(identity: ClientIdentity, others: Mapping[int, bytes]) -> ClientIdentity:
    """K6: the same client with an identity roster that came from the server, whoever is in it."""
    key = identity.credentials.key
    return replace(identity, credentials=Credentials(key, {**others, identity.id: key.public}))


def short_seed(value: int) -> bytes:
    """A round secret of sixteen bits, as of a generator that was seeded with a process number."""
    return value.to_bytes(2, "big") + bytes(30)


def float_mask(count: int, grid: float) -> np.ndarray:
    """Floats as masks: 32 random bits each, in steps of the grid."""
    return np.frombuffer(np.random.default_rng(2).bytes(4 * count), "<i4") * grid


def plain_floats(identity: ClientIdentity) -> ClientIdentity:
    """The same client where its policy allows the scheme that protects nothing."""
    return replace(identity, policy=replace(identity.policy, schemes=frozenset({PlainFloats.name})))
