"""Defences, each switched off alone: the tests' proof that an attack which fails does so because of the defence.

A switch takes one check, one binding or one rule of a state out of the running program and nothing else, for as long as
its `with` block lasts. They live here, in the test tree: the product has no such switches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import securefed.encoding.layout
import securefed.encoding.quantize
import securefed.participation
import securefed.secagg.client_input
import securefed.secagg.client_opening
import securefed.secagg.unmask
from securefed.aggregation import Adversary, Attendance, ClientIdentity, Policy, RoundSpec
from securefed.crypto.hashing import digest, digest_in_domain
from securefed.crypto.shamir import SHARE_BYTES
from securefed.crypto.x25519 import check_public_keys
from securefed.encoding.lanes import Lanes
from securefed.errors import RemoteProtocolError
from securefed.secagg import parameters
from securefed.secagg.client_input import Shared
from securefed.secagg.client_release import Consented, Held, Masked
from securefed.secagg.graph import Neighbourhood
from securefed.secagg.keys import PairContext
from securefed.wire.frame import Expected
from securefed.wire.from_client import Entry
from securefed.wire.from_server import Roster


@contextmanager
def _with(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for target, name, value in changes:
            patch.setattr(target, name, value)
        yield


def _nothing(*_: Any, **__: Any) -> None:
    """A check that lets everything pass."""


@contextmanager
def consent_unverified() -> Iterator[None]:
    """C1, C2: a client releases whatever signatures it is shown."""
    with _with((Consented, "_check", _nothing)):
        yield


@contextmanager
def half_the_cohort_is_enough() -> Iterator[None]:
    """L and, in a complete graph, t and θ: ⌊n/2⌋, so that two survivor sets need no client in common."""
    parameters._parameters.cache_clear()
    with _with((Adversary, "least_survivors", lambda _, cohort: cohort // 2)):
        yield
    parameters._parameters.cache_clear()


@contextmanager
def released_session_stays_open() -> Iterator[None]:
    """R4 after the last message: the state after a release is the one before it."""
    release = Held.release

    def and_again(held: Held, survived: tuple[int, ...]) -> tuple[bytes, Masked]:
        return release(held, survived)[0], Masked(held)

    with _with((Held, "release", and_again)):
        yield


@contextmanager
def model_outside_the_session() -> Iterator[None]:
    """The model's digest is not part of what names the session, so it is bound into no key."""

    def session(spec: RoundSpec) -> bytes:
        return digest(replace(spec, model=bytes(32)).pack())

    with _with((RoundSpec, "session", property(session))):
        yield


@contextmanager
def name_outside_the_session() -> Iterator[None]:
    """S*: the model that is named after a round's set-up is bound into no mask, attestation or consent."""
    with _with((securefed.secagg.client_input, "named_session", lambda spec, _: spec.session)):
        yield


@contextmanager
def model_of_the_update_unchecked() -> Iterator[None]:
    """V9: a client gives an update that was trained from another model than the round's."""
    with _with((ClientIdentity, "check_model", _nothing)):
        yield


@contextmanager
def policy_unchecked() -> Iterator[None]:
    """O1: the client takes part in whatever it is offered."""
    with _with((Policy, "check", _nothing), (Policy, "check_sums", _nothing)):
        yield


@contextmanager
def signatures_unverified() -> Iterator[None]:
    """K5: the keys of the roster are whoever's the server says."""

    def keys_alone(entry: Entry, *_: Any) -> None:
        for key in (entry.channel, entry.mask):
            check_public_keys(key)

    # Each module holds the function by its own name.
    with _with(
        (securefed.secagg.client_opening, "check_entry", keys_alone),
        (securefed.secagg.client_input, "check_entry", keys_alone),
    ):
        yield


@contextmanager
def one_key_for_two_ids() -> Iterator[None]:
    """K7: one identity key may stand for two clients of the identity roster."""
    with _with((securefed.participation, "check_identities", _nothing)):
        yield


@contextmanager
def own_entry_unchecked() -> Iterator[None]:
    """K3: a client takes any entry for its own (it is the one place where entries are compared)."""
    with _with((Entry, "__eq__", lambda *_: True)):
        yield


@contextmanager
def repeated_keys_allowed() -> Iterator[None]:
    """K4: a public key may occur twice in a roster."""
    with _with((Roster, "repeats_a_key", lambda _: False)):
        yield


@contextmanager
def pairs_without_ids() -> Iterator[None]:
    """A pairwise mask is bound to session and roster, not to the two clients that share it."""
    mask_key = PairContext.mask_key

    def of_nobody(pairs: PairContext, mine: Any, theirs: bytes, one: int, other: int) -> bytes:
        return mask_key(pairs, mine, theirs, 0, 0)

    with _with((PairContext, "mask_key", of_nobody)):
        yield


@contextmanager
def headers_unchecked() -> Iterator[None]:
    """R1, R2, W12: session, round and sender of a message are not compared with the ones agreed."""
    read = Expected.read

    def any_context(self: Expected, kind: Any, message: bytes, **lengths: Any) -> Any:
        as_agreed = message[:8] + self.header(kind, 0).pack()[8:48] + message[48:]
        return read(self, kind, as_agreed, **lengths)

    with _with((Expected, "read", any_context)):
        yield


@contextmanager
def consent_outside_the_session() -> Iterator[None]:
    """What survivors sign names the two sets, but neither session nor roster."""

    def sets_alone(_: PairContext, shared: bytes, survived: bytes) -> bytes:
        return digest_in_domain("consent", shared, survived)

    with _with((PairContext, "consent", sets_alone)):
        yield


@contextmanager
def survivors_unchecked() -> Iterator[None]:
    """G3: a client may be left with any mask peers, the server's alone among them."""
    with _with((Neighbourhood, "check_survivors", _nothing)):
        yield


@contextmanager
def attestations_unverified() -> Iterator[None]:
    """G4: a survivor may have masked within another U2 than the one that its holders consented to."""
    with _with((Held, "check_attestations", _nothing)):
        yield


@contextmanager
def promise_unchecked() -> Iterator[None]:
    """G1: a pick secret may be shown that was never promised."""
    with _with((securefed.secagg.client_input, "check_promise", _nothing)):
        yield


@contextmanager
def edges_unchecked() -> Iterator[None]:
    """G2: a sender counts as one although it did not pick the receiver."""
    check = Shared._check_sender

    def whoever(self: Shared, sender: int, pick_secret: bytes) -> Neighbourhood:
        try:
            return check(self, sender, pick_secret)
        except RemoteProtocolError as error:
            if error.rule != "G2":
                raise
        return Neighbourhood.of(self.spec, self._parameters, sender, pick_secret)

    with _with((Shared, "_check_sender", whoever)):
        yield


@contextmanager
def lanes_one_bit_short() -> Iterator[None]:
    """V8: the ring has less room than the sum of the cohort's greatest values needs."""
    with _with((Lanes, "width", property(lambda lanes: (lanes.clients * lanes.greatest).bit_length() - 1))):
        yield


@contextmanager
def values_unclipped() -> Iterator[None]:
    """An honest client's program does not clip its update."""

    class Unclipped:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        @staticmethod
        def clip(values: Any, low: float, high: float, out: Any) -> Any:
            return out

    with _with((securefed.encoding.quantize, "np", Unclipped())):
        yield


@contextmanager
def non_finite_values_pass() -> Iterator[None]:
    """V1: a NaN or an infinity is quantised as if it were a number."""

    class EverythingFinite:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        @staticmethod
        def isfinite(values: Any) -> Any:
            return np.ones(np.shape(values), bool)

    with _with((securefed.encoding.layout, "np", EverythingFinite())), np.errstate(invalid="ignore"):
        yield


@contextmanager
def combined_seeds_unchecked() -> Iterator[None]:
    """S5, S6, S7: what t shares combine to is taken for the seed."""

    def first_shares(opening: Any, client: int, fits: Any, rule: str, what: str) -> bytes:
        shares, threshold = opening._evidence.released[client], opening._evidence.threshold
        value = opening._set(tuple(sorted(shares)[:threshold])).combine(shares)
        return (value % 2**256).to_bytes(32, "big")

    with _with((securefed.secagg.unmask._Opening, "_open", first_shares)):
        yield


@contextmanager
def second_answers_count() -> Iterator[None]:
    """R3, R6: a server takes every answer that comes."""
    with _with((Attendance, "answer", lambda *_: nullcontext())):
        yield


@contextmanager
def rubbish_is_held() -> Iterator[None]:
    """S4: a client holds whatever a box that does not open gives."""
    opened = Shared._open

    def anything(self: Shared, sender: Neighbourhood, sealed: bytes) -> bytes:
        return opened(self, sender, sealed) or bytes(2 * SHARE_BYTES)

    with _with((Shared, "_open", anything)):
        yield
