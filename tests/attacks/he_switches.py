"""Defences of homomorphic aggregation, each switched off alone: see `switches`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import securefed.he.client_states
import securefed.he.opening
from securefed.aggregation import Adversary
from securefed.crypto.aead import open_sealed, seal
from securefed.crypto.x25519 import check_public_keys
from securefed.errors import RemoteProtocolError
from securefed.he.client_states import Advertised
from securefed.he.keys import RoundContext, exchange_key
from securefed.wire.homomorphic import ExchangeKey, SealedKey


@contextmanager
def _with(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for target, name, value in changes:
            patch.setattr(target, name, value)
        yield


@contextmanager
def tags_unchecked() -> Iterator[None]:
    """H5: the holder gives out whatever a ciphertext opens to (modulo 1 every tag fits)."""
    with _with((securefed.he.opening, "PRIME", 1)):
        yield


@contextmanager
def exchange_keys_unverified() -> Iterator[None]:
    """K5: an exchange key is whoever's the server says."""

    def key_alone(entry: ExchangeKey, *_: Any) -> None:
        check_public_keys(entry.public)

    with _with((securefed.he.client_states, "check_entry", key_alone)):
        yield


@contextmanager
def half_the_cohort_may_be_summed() -> Iterator[None]:
    """L: ⌊n/2⌋, so that the clients of two sums need not have one in common."""
    with _with((Adversary, "least_survivors", lambda _, cohort: cohort // 2)):
        yield


@contextmanager
def second_holder_unnoticed() -> Iterator[None]:
    """H8: a client that sealed a round key takes another's."""
    round_key = Advertised._round_key

    def as_told(state: Advertised, message: SealedKey) -> Any:
        me = state.identity.id
        return round_key(replace(state, recipients=(me,) if message.holder == me else ()), message)

    with _with((Advertised, "_round_key", as_told)):
        yield


@contextmanager
def round_keys_outside_the_session() -> Iterator[None]:
    """The key of a round, and all that follows from it, is bound to its parameters and not to its session."""
    pack = RoundContext.pack
    with _with((RoundContext, "pack", lambda context: pack(replace(context, session=bytes(32))))):
        yield


@contextmanager
def sealed_keys_outside_the_session() -> Iterator[None]:
    """Nor are exchange keys, their signatures (which nobody looks at), and what a round key is sealed with."""

    def without(associated: bytes) -> bytes:
        # Session and round of the header.
        return associated[:8] + bytes(36) + associated[44:]

    def of_no_session(round_secret: bytes, _: bytes) -> Any:
        return exchange_key(round_secret, bytes(32))

    states = securefed.he.client_states
    with (
        round_keys_outside_the_session(),
        exchange_keys_unverified(),
        _with(
            (states, "exchange_key", of_no_session),
            (states, "seal", lambda key, raw, associated: seal(key, raw, without(associated))),
            (states, "open_sealed", lambda key, sealed, associated: open_sealed(key, sealed, without(associated))),
        ),
    ):
        yield


@contextmanager
def bounds_spoken_of() -> Iterator[None]:
    """H5: the holder of an approximate sum says of a value that leaves its bounds that it does."""
    from securefed.he.approximate import Ckks

    decrypt = Ckks.decrypt

    def checked(cipher: Ckks, *arguments: Any) -> Iterator[Any]:
        clip = np.clip

        def bounded(values: Any, least: float, greatest: float) -> Any:
            if values.min() < least or values.max() > greatest:
                raise RemoteProtocolError("H5", "a value leaves its bounds")
            return clip(values, least, greatest)

        with _with((np, "clip", bounded)):
            return iter(list(decrypt(cipher, *arguments)))

    with _with((Ckks, "decrypt", checked)):
        yield
