"""Mutations of a wire message that reach its body: the header says what was agreed, the count what the body holds."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random

from securefed.crypto.hashing import DIGEST_BYTES, digest
from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import Stage, expected_from
from securefed.wire.frame import set_bytes
from securefed.wire.from_client import SEALED_BYTES, entry_bytes
from securefed.wire.header import HEADER_BYTES, Header, MessageType
from securefed.wire.specification import RoundSpec
from tests.fuzz.mutation import interesting
from tests.fuzz.target import Havoc

__all__ = ["ASKED", "Shape", "mutate_specification", "told_in"]

ASKED = {Stage.ADVERTISE: MessageType.ADVERTISEMENT, Stage.SHARE: MessageType.SHARES, Stage.INPUT: MessageType.INPUT,
         Stage.CONSENT: MessageType.CONSENT, Stage.RELEASE: MessageType.RELEASE}  # fmt: skip


def told_in(spec: RoundSpec) -> dict[Stage, MessageType]:
    """What the server says in each stage of this round."""
    delivery = MessageType.NAMED_DELIVERY if spec.prepared else MessageType.DELIVERY
    first = {Stage.ADVERTISE: MessageType.OFFER, Stage.SHARE: MessageType.ROSTER, Stage.INPUT: delivery}
    if spec.adversary.malicious:
        return first | {Stage.CONSENT: MessageType.SURVIVORS, Stage.RELEASE: MessageType.AGREEMENT}
    return first | {Stage.RELEASE: MessageType.SURVIVORS}


# Fields of a specification up to its cohort: offset, length.
_FIELDS = ((0, 32), (32, 4), (36, 1), (37, 1), (38, 1), (39, 1), (40, 2), (42, 2), (44, 32), (76, 32), (108, 8),
           (116, 4), (120, 4), (124, 1), (125, 7), (132, 8), (140, 4))  # fmt: skip
_COHORT = 144
_CLIPS = (0.0, -0.0, 2.0**-512, 2.0**-513, 2.0**512, 2.0**513, float("inf"), float("nan"), -1.0, 5e-324)

# Fields of the header: offset, length.
_TYPE_AT, _SENDER_AT = 5, 44
_HEADER = ((0, 4), (4, 1), (5, 1), (6, 2), (8, 32), (40, 4), (44, 4), (48, 8), (56, 8))


@dataclass(frozen=True)
class Shape:
    """How a message of one type lies in its bytes, in one round.

    Attributes:
        sender: 0 for the server.
        tail: bytes of the body behind its list.
        sign: puts good signatures into a body, as corrupt clients would help to; by default none does.
    """

    kind: MessageType
    spec: RoundSpec
    sender: int
    tail: int = 0
    sign: Callable[[MessageType, int, bytes], bytes] | None = None

    @cached_property
    def fixed(self) -> int:
        """Bytes of the body before its list."""
        if self.kind is MessageType.SHARES:
            return 64
        if self.kind is MessageType.INPUT:
            attested = Parameters.of(len(self.spec.cohort), self.spec.adversary).attested
            return SIGNATURE_BYTES if attested else 0
        if self.kind is MessageType.NAMED_DELIVERY:
            return DIGEST_BYTES + set_bytes(self.spec.cohort)
        has_set = self.kind in (MessageType.DELIVERY, MessageType.SURVIVORS, MessageType.AGREEMENT)
        return set_bytes(self.spec.cohort) if has_set else 0

    @cached_property
    def listed(self) -> bool:
        """Whether ids come before the items."""
        kind = MessageType
        return self.kind in (kind.ROSTER, kind.SHARES, kind.DELIVERY, kind.NAMED_DELIVERY, kind.RELEASE)

    @cached_property
    def item(self) -> int:
        """Bytes of one item, without its id."""
        kind, entry = MessageType, entry_bytes(self.spec.adversary.malicious)
        return {
            kind.OFFER: 1, kind.ADVERTISEMENT: entry, kind.ROSTER: entry, kind.SHARES: SEALED_BYTES,
            kind.DELIVERY: 32 + SEALED_BYTES, kind.NAMED_DELIVERY: 32 + SEALED_BYTES,
            kind.INPUT: 8, kind.SURVIVORS: 0, kind.RELEASE: 33, kind.CONSENT: 64,
            kind.AGREEMENT: 64,
        }[self.kind]  # fmt: skip

    def framed(self, body: bytes) -> bytes:
        """The body behind the header that fits it as well as any."""
        count = len(self.spec.cohort)
        if self.item:
            count = max(0, len(body) - self.fixed - self.tail) // (self.item + 4 * self.listed)
        expected = expected_from(self.spec, self.sender)
        if self.kind is MessageType.OFFER:
            # An offer fixes session and round.
            round_ = int.from_bytes(body[32:36], "big")
            return Header(self.kind, expected.suite, digest(body), round_, self.sender, count).pack() + body
        return expected.header(self.kind, count).pack() + body

    def mutate(self, message: bytes, rng: Random, havoc: Havoc) -> bytes:
        """Half of the results have a header that fits, nine in ten a body of a length that it allows."""
        body = message[HEADER_BYTES:]
        match rng.randrange(10):
            case 0:
                return havoc(message)
            case 1:
                raw = bytearray(message.ljust(HEADER_BYTES, b"\0"))
                at, size = rng.choice(_HEADER)
                other = {_TYPE_AT: rng.choice(list(MessageType)), _SENDER_AT: rng.choice(self.spec.cohort)}.get(at)
                likely = other is not None and rng.randrange(2)
                raw[at : at + size] = other.to_bytes(size, "big") if likely else interesting(rng, size)
                return bytes(raw)
            case 2:
                return self.framed(havoc(body))
            case 3:
                return self.framed(self._whole(havoc(body)))
            case 4 if self.kind is not MessageType.OFFER:
                body = self._whole(havoc(body))
            case _:
                body = self._structured(body, rng, havoc)
        if self.sign is not None and rng.randrange(2):
            body = self.sign(self.kind, self.sender, body)
        return self.framed(body)

    def _whole(self, body: bytes) -> bytes:
        """Cut or filled to whole items."""
        each = self.item + 4 * self.listed
        rest = (len(body) - self.fixed) % each if each and len(body) >= self.fixed else 0
        return (
            body[: len(body) - rest].ljust(self.fixed, b"\0") if each else body[: self.fixed].ljust(self.fixed, b"\0")
        )

    def _structured(self, body: bytes, rng: Random, havoc: Havoc) -> bytes:
        if self.kind is MessageType.OFFER:
            return mutate_specification(body, rng, havoc)
        body = self._whole(body)
        end = max(self.fixed, len(body) - self.tail)
        front, rest, tail = bytearray(body[: self.fixed]), body[self.fixed : end], body[end:]
        count = len(rest) // (self.item + 4 * self.listed) if self.item else 0
        ids = list(struct.unpack(f">{count}I", rest[: 4 * count])) if self.listed else [0] * count
        start = 4 * count * self.listed
        items = [rest[start + at * self.item : start + (at + 1) * self.item] for at in range(count)]
        pairs = list(zip(ids, items, strict=True))
        for _ in range(rng.choice((1, 1, 2))):
            if tail and rng.randrange(3) == 0:
                tail = havoc(tail)[: len(tail)].ljust(len(tail), b"\0")
            elif front and rng.randrange(2):
                _change_front(front, rng, havoc)
            elif pairs:
                self._change_pair(pairs, rng, havoc)
        if rng.randrange(4):
            pairs = sorted(dict(pairs).items()) if self.listed else pairs
        ids_bytes = b"".join(client.to_bytes(4, "big") for client, _ in pairs) if self.listed else b""
        return bytes(front) + ids_bytes + b"".join(item for _, item in pairs) + tail

    def _change_pair(self, pairs: list[tuple[int, bytes]], rng: Random, havoc: Havoc) -> None:
        at, other = rng.randrange(len(pairs)), rng.randrange(len(pairs))
        client, item = pairs[at]
        match rng.randrange(8):
            case 0:
                del pairs[at]
            case 1:
                pairs.insert(other, pairs[at])
            case 2:
                pairs[at], pairs[other] = (client, pairs[other][1]), (pairs[other][0], item)
            case 3:
                pairs[at] = (rng.choice((0, 1, 2**32 - 1, client + 1 & 2**32 - 1, *self.spec.cohort)), item)
            case 4:
                pairs[at] = (client, rng.choice((b"\0", b"\xff", b"\1")) * self.item)
            case 5 if self.item >= 32:
                # One field of 32 bytes (a key, a promise, a share) as another item has it.
                place = rng.randrange(self.item // 32) * 32
                pairs[at] = (client, item[:place] + pairs[other][1][place : place + 32] + item[place + 32 :])
            case 6:
                place, size = rng.randrange(self.item), rng.choice((1, 4, 8))
                pairs[at] = (client, (item[:place] + interesting(rng, size) + item[place + size :])[: self.item])
            case _:
                pairs[at] = (client, havoc(item)[: self.item].ljust(self.item, b"\0"))


def _change_front(front: bytearray, rng: Random, havoc: Havoc) -> None:
    match rng.randrange(4):
        case 0:
            front[:] = rng.choice((b"\0", b"\xff")) * len(front)
        case 1:
            front[:] = havoc(bytes(front))[: len(front)].ljust(len(front), b"\0")
        case _:
            front[rng.randrange(len(front))] ^= 1 << rng.randrange(8)


def mutate_specification(body: bytes, rng: Random, havoc: Havoc) -> bytes:
    """Another specification, most often of the right length."""
    raw = bytearray(body.ljust(_COHORT, b"\0"))
    for _ in range(rng.choice((1, 1, 2, 3))):
        match rng.randrange(6):
            case 0 | 1:
                at, size = rng.choice(_FIELDS)
                raw[at : at + size] = interesting(rng, size)
            case 2:
                raw[132:140] = struct.pack(">d", rng.choice(_CLIPS))
            case 3:
                at = _COHORT + 4 * rng.randrange(max(1, (len(raw) - _COHORT) // 4))
                raw[at : at + 4] = rng.choice((b"", bytes(raw[at : at + 4]) * 2, interesting(rng, 4)))
            case 4:
                ids = sorted({rng.randrange(1, 2**32) for _ in range(rng.choice((1, 2, 3, 5, 30)))})
                raw[_COHORT:] = struct.pack(f">{len(ids)}I", *ids)
            case _:
                raw = bytearray(havoc(bytes(raw)))
    if rng.randrange(4) and len(raw) >= _COHORT:
        raw[140:144] = ((len(raw) - _COHORT) // 4).to_bytes(4, "big")
    return bytes(raw)
