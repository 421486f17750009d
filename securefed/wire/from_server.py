"""What the server sends: a frozen dataclass a message, with `encode` and `decode`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from securefed.crypto.hashing import DIGEST_BYTES
from securefed.crypto.kdf import KEY_BYTES
from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.crypto.x25519 import PUBLIC_KEY_BYTES
from securefed.errors import RemoteProtocolError
from securefed.wire.frame import Expected, cut, pack_list, pack_set, read_ids, read_set, set_bytes
from securefed.wire.from_client import SEALED_BYTES, Entry, entry_bytes
from securefed.wire.header import SERVER, Header, MessageType, Suite
from securefed.wire.specification import GREATEST_SPECIFICATION, RoundSpec

__all__ = ["Agreement", "Delivered", "Delivery", "NamedDelivery", "Offer", "Roster", "Survivors"]

_SENDER_BYTES: Final = 4 + KEY_BYTES + SEALED_BYTES
"""Of a delivery, for each sender: its id, its pick secret, a sealed pair of shares."""


@dataclass(frozen=True)
class Offer:
    """Stage 1: the specification of the round."""

    spec: RoundSpec

    def encode(self, suite: Suite) -> bytes:
        """Header and body."""
        body = self.spec.pack()
        header = Header(MessageType.OFFER, suite, self.spec.session, self.spec.round, SERVER, len(body))
        return header.pack() + body

    @classmethod
    def decode(cls, message: bytes, suite: Suite) -> Self:
        """An offer fixes session and round, so these are checked against its own body."""
        header = Header.parse(message)
        expected = Expected(suite, header.session, header.round, SERVER)
        _, body = expected.read(MessageType.OFFER, message, at_most=GREATEST_SPECIFICATION, item_bytes=1)
        spec = RoundSpec.parse(body)
        if spec.session != header.session:
            raise RemoteProtocolError("R1", "the session is not the digest of the specification")
        if spec.round != header.round:
            raise RemoteProtocolError("R2", "header and specification name two rounds")
        return cls(spec)


class Roster(Mapping[int, Entry]):
    """Stage 2: the entries of all that advertised, by id.

    Entries are parsed when they are asked for: of a large cohort a client needs its neighbours' alone.

    Attributes:
        ids: who advertised.
    """

    def __init__(self, ids: Sequence[int], entries: memoryview) -> None:
        self._at = dict(zip(ids, range(len(ids)), strict=True))
        self._entries = entries
        self._size = len(entries) // len(ids) if ids else 0
        self.ids = frozenset(ids)

    @classmethod
    def of(cls, entries: Mapping[int, Entry]) -> Self:
        """From entries by id."""
        ids = sorted(entries)
        return cls(ids, memoryview(b"".join(entries[client].pack() for client in ids)))

    def __getitem__(self, client: int) -> Entry:
        at = self._at[client] * self._size
        return Entry.parse(bytes(self._entries[at : at + self._size]))

    def __iter__(self) -> Iterator[int]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)

    def repeats_a_key(self) -> bool:
        """Whether a public key occurs twice among all keys, whichever the columns (K4)."""
        entries = np.frombuffer(self._entries, np.uint8).reshape(len(self), self._size)
        keys = np.ascontiguousarray(entries[:, : 2 * PUBLIC_KEY_BYTES]).reshape(-1, PUBLIC_KEY_BYTES)
        # Of keys of honest making even the first 8 bytes differ: only where some do not, whole keys are compared.
        if len(np.unique(keys[:, :8].copy().view("<u8"))) == len(keys):
            return False
        return len({key.tobytes() for key in keys}) != len(keys)

    def encode(self, context: Expected) -> bytes:
        """Header and body."""
        header = context.header(MessageType.ROSTER, len(self)).pack()
        return header + b"".join(client.to_bytes(4, "big") for client in self) + self._entries

    @classmethod
    def decode(cls, message: bytes, expected: Expected, cohort: Collection[int], *, signed: bool) -> Self:
        """W, R1, R2 and R4 rules; ids must be of the cohort (W10)."""
        count, body = expected.read(
            MessageType.ROSTER, message, at_most=len(cohort), item_bytes=4 + entry_bytes(signed)
        )
        return cls(read_ids(body, count, cohort), body[4 * count :])


@dataclass(frozen=True, repr=False)
class Delivered:
    """One sender's part of a delivery: its pick secret (32 bytes) and the sealed pair of shares (82 bytes)."""

    pick_secret: bytes
    sealed: bytes

    def pack(self) -> bytes:
        """114 bytes."""
        return self.pick_secret + self.sealed


@dataclass(frozen=True, repr=False)
class Delivery:
    """Stage 3: who shared (U2), and what they made for the receiver, by sender."""

    shared: tuple[int, ...]
    senders: dict[int, Delivered]

    def encode(self, context: Expected, cohort: Sequence[int], packed: bytes | None = None) -> bytes:
        """Header and body; `packed` is the set where the caller has it: it is the same in all deliveries of a round."""
        header = context.header(MessageType.DELIVERY, len(self.senders)).pack()
        return header + self.pack(cohort, packed)

    def pack(self, cohort: Sequence[int], packed: bytes | None = None) -> bytes:
        """The body alone."""
        items = {sender: delivered.pack() for sender, delivered in self.senders.items()}
        return (packed or pack_set(self.shared, cohort)) + pack_list(items)

    @classmethod
    def decode(
        cls,
        message: bytes,
        expected: Expected,
        cohort: Sequence[int],
        roster: Collection[int],
        receiver: int,
    ) -> Self:
        """W, R1, R2 and R4 rules; set and senders of the roster (W10), at most as many as the cohort (W7)."""
        count, body = expected.read(
            MessageType.DELIVERY, message,
            at_most=len(cohort), item_bytes=_SENDER_BYTES, fixed_bytes=set_bytes(cohort),
        )  # fmt: skip
        return cls.parse(body, count, cohort, roster, receiver)

    @classmethod
    def parse(cls, body: memoryview, count: int, cohort: Sequence[int], roster: Collection[int], receiver: int) -> Self:
        """From a body of the right length.

        Raises:
            RemoteProtocolError: W9, W10, W14.
        """
        shared = read_set(body, cohort, roster)
        body = body[set_bytes(cohort) :]
        ids = read_ids(body, count, set(roster) - {receiver})
        items = cut(body[4 * count :], KEY_BYTES + SEALED_BYTES)
        parts = [Delivered(raw[:KEY_BYTES], raw[KEY_BYTES:]) for raw in items]
        return cls(shared, dict(zip(ids, parts, strict=True)))


@dataclass(frozen=True, repr=False)
class NamedDelivery:
    """Stage 3 of a prepared round: the digest of the model that it is of now (32 bytes), and the delivery."""

    model: bytes
    delivery: Delivery

    def encode(self, context: Expected, cohort: Sequence[int], packed: bytes | None = None) -> bytes:
        """Header and body; `packed` as of `Delivery.encode`."""
        header = context.header(MessageType.NAMED_DELIVERY, len(self.delivery.senders)).pack()
        return header + self.model + self.delivery.pack(cohort, packed)

    @classmethod
    def decode(
        cls,
        message: bytes,
        expected: Expected,
        cohort: Sequence[int],
        roster: Collection[int],
        receiver: int,
    ) -> Self:
        """As `Delivery.decode`; whether the model is one is not the codec's question (R12)."""
        fixed = DIGEST_BYTES + set_bytes(cohort)
        count, body = expected.read(
            MessageType.NAMED_DELIVERY, message, at_most=len(cohort), item_bytes=_SENDER_BYTES, fixed_bytes=fixed
        )
        delivery = Delivery.parse(body[DIGEST_BYTES:], count, cohort, roster, receiver)
        return cls(bytes(body[:DIGEST_BYTES]), delivery)


@dataclass(frozen=True)
class Survivors:
    """Stage 4, or 5 where the server is semi-honest: whose inputs arrived (U3)."""

    survived: tuple[int, ...]

    def encode(self, context: Expected, cohort: Sequence[int]) -> bytes:
        """Header and body."""
        return context.header(MessageType.SURVIVORS, len(cohort)).pack() + pack_set(self.survived, cohort)

    @classmethod
    def decode(cls, message: bytes, expected: Expected, cohort: Sequence[int]) -> Self:
        """W, R1, R2 and R4 rules."""
        # A count of clients, and a body of bits: the length is fixed, whatever is counted.
        _, body = expected.read(
            MessageType.SURVIVORS, message, exactly=len(cohort), item_bytes=0, fixed_bytes=set_bytes(cohort)
        )
        return cls(read_set(body, cohort))


@dataclass(frozen=True)
class Agreement:
    """Stage 5 under a malicious server: the signatures of all that consented (U4), by id.

    Attributes:
        signatures: 64 bytes each.
        attestations: in a sparse graph, of the survivors whose shares were delivered to the receiver, 64 bytes each.
    """

    signatures: dict[int, bytes]
    attestations: dict[int, bytes] = field(default_factory=dict)

    def encode(self, context: Expected, cohort: Sequence[int], packed: bytes | None = None) -> bytes:
        """Header and body; `packed` is set and signatures where the caller has them: they are the same for all."""
        header = context.header(MessageType.AGREEMENT, len(self.signatures)).pack()
        return header + (packed or self.pack(cohort)) + b"".join(s for _, s in sorted(self.attestations.items()))

    def pack(self, cohort: Sequence[int]) -> bytes:
        """The part that is the same for all: the set and the signatures."""
        return pack_set(self.signatures, cohort) + b"".join(s for _, s in sorted(self.signatures.items()))

    @classmethod
    def decode(
        cls,
        message: bytes,
        expected: Expected,
        cohort: Sequence[int],
        survived: Collection[int],
        attesting: Sequence[int] = (),
    ) -> Self:
        """W, R1, R2 and R4 rules; signers must have survived (W10), as many as the set says (W11).

        Args:
            attesting: whose attestations must be there, ascending.
        """
        count, body = expected.read(
            MessageType.AGREEMENT,
            message,
            at_most=len(cohort),
            item_bytes=SIGNATURE_BYTES,
            fixed_bytes=set_bytes(cohort) + SIGNATURE_BYTES * len(attesting),
        )
        signers = read_set(body, cohort, survived)
        if len(signers) != count:
            raise RemoteProtocolError("W11", f"{count} signatures of {len(signers)} signers")
        signatures = cut(body[set_bytes(cohort) :], SIGNATURE_BYTES)
        return cls(
            dict(zip(signers, signatures[:count], strict=True)), dict(zip(attesting, signatures[count:], strict=True))
        )
