"""Messages of homomorphic aggregation: good ones of known lengths, their decoders, and mutations that reach bodies.

Nothing here encrypts: the payloads are noise, which a decoder does not look into.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, Final

import numpy as np

from securefed.crypto.hashing import digest_in_domain
from securefed.wire.frame import Expected, set_bytes
from securefed.wire.header import HEADER_BYTES, SERVER, MessageType, Suite
from securefed.wire.homomorphic import (
    Ciphertexts,
    CiphertextSum,
    ExchangeKey,
    ExchangeKeys,
    Opened,
    SealedKey,
    SealedKeys,
)
from securefed.wire.specification import RoundSpec
from tests.fuzz.messages import Shape
from tests.fuzz.target import Finding, Havoc
from tests.rounds import spec_of

__all__ = ["KINDS", "AgreedHere", "HomomorphicShape", "agreed_here", "he_spec"]

KINDS: Final = (
    MessageType.EXCHANGE_KEY, MessageType.EXCHANGE_KEYS, MessageType.SEALED_KEYS, MessageType.SEALED_KEY,
    MessageType.CIPHERTEXTS, MessageType.CIPHERTEXT_SUM, MessageType.OPENED,
)  # fmt: skip
_DIGESTED: Final = (MessageType.CIPHERTEXTS, MessageType.CIPHERTEXT_SUM, MessageType.OPENED)
_PAYLOAD, _WORDS = 72, 5
_HOLDER, _VICTIM = 2, 3


def he_spec(server: str) -> RoundSpec:
    """As in `tests.rounds`, without corrupt clients."""
    spec = spec_of()
    return spec_of(adversary=type(spec.adversary)(server, 0.0, 0.25))


@dataclass(frozen=True)
class HomomorphicShape(Shape):
    """See `messages.Shape`: the same mutations; digests fit behind them, as anybody can make them fit."""

    suite: Suite = Suite.BFV_2048

    @property
    def expected(self) -> Expected:
        """What a header says."""
        return Expected(self.suite, self.spec.session, self.spec.round, self.sender)

    @cached_property
    def fixed(self) -> int:
        """Bytes of the body before its list."""
        kind = MessageType
        sizes = {kind.SEALED_KEYS: 32, kind.CIPHERTEXTS: 64, kind.OPENED: 32}
        if self.kind is kind.CIPHERTEXT_SUM:
            return 64 + set_bytes(self.spec.cohort)
        return sizes.get(self.kind, 0)

    @cached_property
    def listed(self) -> bool:
        """Whether ids come before the items."""
        return self.kind in (MessageType.EXCHANGE_KEYS, MessageType.SEALED_KEYS)

    @cached_property
    def item(self) -> int:
        """Bytes of one item; of payloads words, so that there are not too many."""
        entry = 96 if self.spec.adversary.malicious else 32
        kind = MessageType
        return {
            kind.EXCHANGE_KEY: entry, kind.EXCHANGE_KEYS: entry, kind.SEALED_KEYS: 48, kind.SEALED_KEY: 88 + entry,
        }.get(self.kind, 8)  # fmt: skip

    def framed(self, body: bytes) -> bytes:
        """The body behind the header that fits it as well as any, with the digest of both."""
        items = max(0, len(body) - self.fixed)
        payload = self.kind in (MessageType.CIPHERTEXTS, MessageType.CIPHERTEXT_SUM)
        count = items if payload else items // (self.item + 4 * self.listed)
        header = self.expected.header(self.kind, count).pack()
        if self.kind not in _DIGESTED or len(body) < self.fixed:
            return header + body
        at = 0 if self.kind is MessageType.OPENED else 32
        digest = digest_in_domain("envelope", header, body[:at], body[at + 32 :])
        return header + body[:at] + digest + body[at + 32 :]

    def mutate(self, message: bytes, rng: Random, havoc: Havoc) -> bytes:
        """A long payload is changed in a few places; it is not taken apart."""
        if self.kind not in _DIGESTED or len(message) <= HEADER_BYTES:
            return super().mutate(message, rng, havoc)
        raw = bytearray(message)
        if rng.randrange(6) == 0:
            # Changed on its way: no digest fits.
            raw[HEADER_BYTES + rng.randrange(len(raw) - HEADER_BYTES)] ^= 1 << rng.randrange(8)
            return bytes(raw)
        if self.kind is MessageType.CIPHERTEXT_SUM and rng.randrange(6) == 0:
            raw[HEADER_BYTES + 64 : HEADER_BYTES + 65] = bytes([rng.randrange(32)])
            return self.framed(bytes(raw[HEADER_BYTES:]))
        if len(message) < 2048 or rng.randrange(8) == 0:
            return super().mutate(message, rng, havoc)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = HEADER_BYTES + rng.randrange(len(raw) - HEADER_BYTES)
            raw[at : at + 8] = havoc(bytes(raw[at : at + 8]))[:8].ljust(len(raw[at : at + 8]), b"\0")
        return self.framed(bytes(raw[HEADER_BYTES:]))


@dataclass(frozen=True)
class AgreedHere:
    """As `decoders.Agreed`."""

    shape: HomomorphicShape
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    good: bytes


def agreed_here(kind: MessageType) -> list[AgreedHere]:
    """One type's messages in a round against either server."""
    return [_agreed(kind, he_spec(server)) for server in ("malicious", "semi-honest")]


def _agreed(kind: MessageType, spec: RoundSpec) -> AgreedHere:
    to_client = (MessageType.EXCHANGE_KEYS, MessageType.SEALED_KEY, MessageType.CIPHERTEXT_SUM)
    from_holder = (MessageType.SEALED_KEYS, MessageType.OPENED)
    sender = SERVER if kind in to_client else _HOLDER if kind in from_holder else _VICTIM
    shape, rng = HomomorphicShape(kind, spec, sender), np.random.default_rng(kind)
    context, cohort, signed = shape.expected, spec.cohort, spec.adversary.malicious
    others = frozenset(cohort) - {_HOLDER}

    def entry() -> ExchangeKey:
        return ExchangeKey(rng.bytes(32), rng.bytes(64) if signed else b"")

    def decode(message: bytes) -> Any:
        match kind:
            case MessageType.EXCHANGE_KEY:
                return ExchangeKey.decode(message, context, signed=signed)
            case MessageType.EXCHANGE_KEYS:
                return ExchangeKeys.decode(message, context, cohort, signed=signed)
            case MessageType.SEALED_KEYS:
                return SealedKeys.decode(message, context, others)
            case MessageType.SEALED_KEY:
                return SealedKey.decode(message, context, signed=signed)
            case MessageType.CIPHERTEXTS:
                return Ciphertexts.decode(message, context, _PAYLOAD)
            case MessageType.CIPHERTEXT_SUM:
                return CiphertextSum.decode(message, context, _PAYLOAD, cohort, cohort[:3])
            case MessageType.OPENED:
                return Opened.decode(message, context, _WORDS)
        raise Finding(f"no decoder of {kind.name}")

    def encode(value: Any) -> bytes:
        return value.encode(context, cohort) if isinstance(value, CiphertextSum) else value.encode(context)

    good: Any
    match kind:
        case MessageType.EXCHANGE_KEY:
            good = entry()
        case MessageType.EXCHANGE_KEYS:
            good = ExchangeKeys({client: entry() for client in cohort})
        case MessageType.SEALED_KEYS:
            good = SealedKeys(rng.bytes(32), {client: rng.bytes(48) for client in others})
        case MessageType.SEALED_KEY:
            good = SealedKey(_HOLDER, 3, entry(), rng.bytes(32), rng.bytes(48))
        case MessageType.CIPHERTEXTS:
            good = Ciphertexts(rng.bytes(32), rng.bytes(_PAYLOAD))
        case MessageType.CIPHERTEXT_SUM:
            good = CiphertextSum(cohort[:3], rng.bytes(32), rng.bytes(_PAYLOAD))
        case _:
            good = Opened(rng.integers(0, 2**64, _WORDS, dtype=np.uint64))
    return AgreedHere(shape, decode, encode, encode(good))
