"""What a lying server or client would send: good messages of a round with something changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from securefed.crypto.aead import seal
from securefed.crypto.hashing import digest
from securefed.crypto.shamir import FIELD, SHARE_BYTES
from securefed.crypto.x25519 import PrivateKey
from securefed.secagg.keys import ClientSecrets, PairContext
from securefed.secagg.stages import Stage
from securefed.wire.header import Suite
from securefed.wire.messages import Advertisement, Delivery, Keys, Offer, Release, Roster, Shares, Survivors
from tests.rounds import Round, context_of, seed

VICTIM = 3
"""The client that is lied to."""

SUITE = Suite.PAIRWISE_MASKS
STRANGER = 9
LOW_ORDER = (0).to_bytes(32, "little")
NOT_CANONICAL = (2**255 - 19 + 9).to_bytes(32, "little")


def flip(data: bytes, at: int, bit: int = 0) -> bytes:
    """One bit the other way."""
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def some_key(name: str) -> bytes:
    """A good public key of nobody."""
    return PrivateKey(seed(name)).public


def offer(round_: Round, **changes: Any) -> bytes:
    return Offer(replace(round_.spec, **changes)).encode(SUITE)


def keys_of(round_: Round, client: int) -> Keys:
    return Advertisement.decode(round_.replies[Stage.ADVERTISE][client], context_of(round_.spec, client)).keys


def roster(round_: Round, changes: dict[int, Keys | None], **spec: Any) -> bytes:
    """The good roster with entries changed, added or (None) taken out."""
    keys = {client: keys_of(round_, client) for client in round_.replies[Stage.ADVERTISE]} | changes
    context = context_of(replace(round_.spec, **spec))
    return Roster({client: both for client, both in keys.items() if both is not None}).encode(context)


def with_key(round_: Round, client: int, **changes: bytes) -> bytes:
    """The roster with one client's keys changed."""
    return roster(round_, {client: replace(keys_of(round_, client), **changes)})


def boxes(round_: Round, client: int = VICTIM) -> dict[int, bytes]:
    """The sealed shares that the client is delivered."""
    others = round_.spec.cohort
    message = round_.server.requests()[client]
    return Delivery.decode(message, context_of(round_.spec), others, len(others)).sealed


def delivery(round_: Round, changes: dict[int, bytes | None], **spec: Any) -> bytes:
    """The victim's good delivery with boxes changed, added or (None) taken out."""
    sealed = boxes(round_) | changes
    context = context_of(replace(round_.spec, **spec))
    return Delivery({client: box for client, box in sealed.items() if box is not None}).encode(context)


def survivors(round_: Round, changes: dict[int, bool | None]) -> bytes:
    """The good survivors with flags changed, added or (None) taken out."""
    message = round_.server.requests()[VICTIM]
    flags = Survivors.decode(message, context_of(round_.spec), (*round_.spec.cohort, STRANGER)).survived | changes
    return Survivors({c: flag for c, flag in flags.items() if flag is not None}).encode(context_of(round_.spec))


def secrets_of(round_: Round, client: int) -> ClientSecrets:
    return ClientSecrets(seed(f"round secret {client}"), round_.spec.session)


def roster_digest(round_: Round) -> bytes:
    return digest(next(iter(round_.requests[Stage.SHARE].values())))


def sealed_pair(round_: Round, sender: int, of_seed: int, of_key: int, *, roster: bytes = b"") -> bytes:
    """Any two shares for the victim, sealed by a client of the roster as it should."""
    pairs = PairContext(round_.spec.session, roster or roster_digest(round_))
    theirs = secrets_of(round_, VICTIM).channel.public
    key = pairs.channel_key(secrets_of(round_, sender).channel, theirs, sender, VICTIM)
    plaintext = of_seed.to_bytes(SHARE_BYTES, "big") + of_key.to_bytes(SHARE_BYTES, "big")
    header = Shares.header(context_of(round_.spec, sender), len(round_.replies[Stage.ADVERTISE]) - 1)
    return seal(key, plaintext, header + VICTIM.to_bytes(4, "big"))


def good_pair(round_: Round, sender: int, recipient: int = VICTIM) -> tuple[int, int]:
    """The shares that the sender made for the recipient."""
    ids = tuple(sorted(round_.replies[Stage.ADVERTISE]))
    pair = secrets_of(round_, sender).share_out(roster_digest(round_), ids, round_.spec.threshold)[recipient]
    return int.from_bytes(pair[:SHARE_BYTES], "big"), int.from_bytes(pair[SHARE_BYTES:], "big")


def shares_of(round_: Round, client: int) -> Shares:
    others = [other for other in round_.replies[Stage.ADVERTISE] if other != client]
    return Shares.decode(round_.replies[Stage.SHARE][client], context_of(round_.spec, client), others)


def release(round_: Round, client: int, changes: dict[int, int | bytes | None]) -> bytes:
    """The client's release with shares changed; an integer is added to the good one, None takes it out."""
    message = round_.ask(client)
    context = context_of(round_.spec, client)
    shares: dict[int, bytes] = dict(Release.decode(message, context, round_.replies[Stage.SHARE]).shares)
    for owner, change in changes.items():
        if change is None:
            del shares[owner]
        elif isinstance(change, bytes):
            shares[owner] = change
        else:
            shares[owner] = ((int.from_bytes(shares[owner], "big") + change) % FIELD).to_bytes(SHARE_BYTES, "big")
    return Release(shares).encode(context)
