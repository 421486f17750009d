"""What each key of a homomorphic round is derived from. One file, so that the bindings can be read in one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securefed.crypto.hashing import digest_in_domain
from securefed.crypto.kdf import KEY_BYTES, Label, derive
from securefed.crypto.keystream import Reader
from securefed.crypto.signing import verifies
from securefed.crypto.x25519 import PrivateKey, check_public_keys
from securefed.errors import RemoteProtocolError
from securefed.he.cipher import Packing
from securefed.he.tags import TagKey
from securefed.wire.header import Suite
from securefed.wire.homomorphic import ExchangeKey
from securefed.wire.specification import RoundSpec

__all__ = ["RoundContext", "RoundKey", "advertised", "check_entry", "exchange_key", "new_round_key"]


@dataclass(frozen=True)
class RoundContext:
    """What every key of a round is bound to: the session, and the parameters that follow from it in one suite."""

    suite: Suite
    session: bytes
    packing: Packing

    def pack(self) -> bytes:
        """44 bytes."""
        return self.session + bytes([self.suite]) + self.packing.binding()

    def sealing_key(self, mine: PrivateKey, theirs: bytes, holder: int, recipient: int, recipients: int) -> bytes:
        """Seals the round key from its holder to one of so many recipients; either of them derives it.

        With their number it fixes all that is sealed under it: a holder that was started again seals the same again.

        Raises:
            RemoteProtocolError: K1 or K2.
        """
        context = self.pack() + b"".join(number.to_bytes(4, "big") for number in (holder, recipient, recipients))
        return derive(mine.agree(theirs), Label.SEALED_ROUND_KEY, context)


class RoundKey:
    """The 32 bytes that all clients of a round share, and what follows from them."""

    def __init__(self, key: bytes, context: RoundContext) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a round key has {KEY_BYTES} bytes, got {len(key)}")
        self._key = key
        self._context = context

    def __repr__(self) -> str:
        return "RoundKey(…)"

    @property
    def id(self) -> bytes:
        """Its name, 32 bytes: the key has 256 bits, so its digest tells nothing about it."""
        return digest_in_domain("round-key", self._context.pack(), self._key)

    @property
    def raw(self) -> bytes:
        """Its 32 bytes, to be sealed or stored by its owner and for nothing else."""
        return self._key

    @property
    def tags(self) -> TagKey:
        """Key of the tags."""
        return TagKey(self._key, self._context.pack())

    @property
    def secret(self) -> npt.NDArray[np.int8]:
        """The secret polynomial: coefficients uniform in {−1, 0, 1}, shape [N]."""
        degree = self._context.packing.ring.degree
        return _ternary(derive(self._key, Label.SECRET_POLYNOMIAL, self._context.pack()), degree)


def _ternary(key: bytes, degree: int) -> npt.NDArray[np.int8]:
    """A byte of the stream for each coefficient, modulo 3; the byte 255 is passed over, so each value is as likely."""
    stream = Reader(key)
    found = np.empty(0, np.uint8)
    while len(found) < degree:
        more = stream.take(degree)
        found = np.concatenate([found, more[more != 255]])
    return np.array([0, 1, -1], np.int8)[found[:degree] % 3]


def exchange_key(round_secret: bytes, session: bytes) -> PrivateKey:
    """A client's private key of one session."""
    return PrivateKey(derive(round_secret, Label.EXCHANGE_KEY, session))


def new_round_key(round_secret: bytes, context: RoundContext) -> RoundKey:
    """The key that a holder gives the round: from its own secret of this session, so computed again it is the same."""
    return RoundKey(derive(round_secret, Label.ROUND_KEY, context.pack()), context)


def advertised(public: bytes, spec: RoundSpec, client: int) -> bytes:
    """The digest that a client signs to advertise its exchange key in one session."""
    return digest_in_domain("exchange-key", spec.session, client.to_bytes(4, "big"), public)


def check_entry(entry: ExchangeKey, spec: RoundSpec, client: int, identity: bytes | None) -> None:
    """Refuse a key that no honest party sends, or that the client did not sign.

    Args:
        identity: the client's public identity key; None in a round that trusts the server with the keys.

    Raises:
        RemoteProtocolError: K2, K1 or K5.
    """
    check_public_keys(entry.public)
    if identity is not None and not verifies(identity, advertised(entry.public, spec, client), entry.signature):
        raise RemoteProtocolError("K5", f"the exchange key of client {client} is not signed by its identity key")
